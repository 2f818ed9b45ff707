"""`analyze_many(in_flight=...)` of both clients, without a server."""

from __future__ import annotations

import asyncio
import io
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from parsing_rcnn.analyzer import ModelInfo, Options
from parsing_rcnn.errors import InvalidImage, InvalidOptions
from parsing_rcnn.people import People
from parsing_rcnn_client import AsyncClient, Client
from parsing_rcnn_client.sdk.engines import Threaded
from tests.server.conftest import INFO

PICTURES = [np.zeros((4, 4, 3), np.uint8)] * 12
NOBODY = People(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), (4, 4))


class Counting:
    """An `AsyncAnalyzer` that knows how many pictures were on their way at most.

    Args:
        least: as many are waited for before the first one is answered.
    """

    def __init__(self, least: int) -> None:
        self.now = self.most = 0
        self._least, self._there = least, asyncio.Event()

    async def info(self) -> ModelInfo:
        return INFO

    async def analyze(self, image: Any, options: Options = Options()) -> People:  # noqa: B008
        self.now += 1
        self.most = max(self.most, self.now)
        if self.now >= self._least:
            self._there.set()
        await asyncio.wait_for(self._there.wait(), 60)
        await asyncio.sleep(0.01)  # others, if they may come, come now
        self.now -= 1
        return NOBODY

    async def close(self) -> None: ...


def most(*, own: int, least: int = 1, **keywords: Any) -> int:
    """Pictures that were on their way at once, of which `least` are waited for."""

    async def ask() -> int:
        engine = Counting(least)
        async with AsyncClient(engine, own) as client:
            answers = [answer async for answer in client.analyze_many(PICTURES, **keywords)]
        assert len(answers) == len(PICTURES)
        return engine.most

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("own", "given", "wanted"), [(8, {"in_flight": 2}, 2), (3, {"in_flight": 8}, 3), (4, {}, 4), (8, {"tasks": ()}, 8)]
)
def test_asyncio_takes_it_too(own: int, given: dict[str, Any], wanted: int) -> None:
    assert most(own=own, least=wanted, **given) == wanted


def test_none_in_flight_is_refused_by_both() -> None:
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"in_flight is {wrong}: at least one"):
            most(own=4, in_flight=wrong)
        with pytest.raises(ValueError, match=f"in_flight is {wrong}: at least one"):
            list(Client(None).analyze_many(PICTURES, in_flight=wrong))  # type: ignore[arg-type]


def test_other_keywords_are_still_options() -> None:
    with pytest.raises(InvalidOptions, match="inflight"):
        most(own=4, inflight=2)


class Level:
    """An `Analyzer` whose people are as high as the picture is bright: the score tells which picture it was."""

    info = INFO

    def analyze(self, image: Any, options: Options = Options()) -> People:  # noqa: B008
        level = float(image.mean()) / 255
        return People(np.array([[0, 0, 4, 4]], np.float32), np.array([level], np.float32), (4, 4))

    def close(self) -> None: ...


def both(pictures: Callable[[], Any], **keywords: Any) -> list[list[Any]]:
    """The answers of both clients."""

    async def ask() -> list[Any]:
        async with AsyncClient(Threaded(Level(), 2)) as client:
            return [answer async for answer in client.analyze_many(pictures(), tasks=(), **keywords)]

    return [list(Client(Level()).analyze_many(pictures(), tasks=(), **keywords)), asyncio.run(ask())]


def levels(answers: Iterable[Any]) -> list[int]:
    return [round(255 * float(people.scores[0])) for people in answers]


def test_one_buffer_that_is_filled_again_gives_each_picture_its_own_answer() -> None:
    buffer = np.zeros((4, 4, 3), np.uint8)

    def camera() -> Iterator[Any]:
        for number in range(40):
            buffer[:] = number
            yield buffer

    for answers in both(camera):
        assert levels(answers) == list(range(40))


def test_asynchronous_pictures_are_taken_and_no_answer_waits_for_the_next_one() -> None:
    async def ask() -> list[Any]:
        answered = asyncio.Event()

        async def camera() -> AsyncIterator[Any]:
            for number in range(5):
                yield np.full((4, 4, 3), number, np.uint8)
                await answered.wait()  # nothing more before the answer
                answered.clear()

        answers = []
        async with AsyncClient(Threaded(Level(), 2)) as client, asyncio.timeout(60):
            async for people in client.analyze_many(camera(), tasks=()):
                answers.append(people)
                answered.set()
        return answers

    assert levels(asyncio.run(ask())) == list(range(5))


def test_a_finished_answer_waits_for_one_further_picture_at_most() -> None:
    """And not until as many have come as may be in flight, which never happens here."""
    client, answers = Client(Level()), []

    def camera() -> Iterator[Any]:
        while not answers:
            time.sleep(0.01)
            yield PICTURES[0]

    for answer in client.analyze_many(camera(), tasks=(), in_flight=10**6):
        answers.append(answer)  # `camera` looks at them
    assert levels(answers) == [0] * len(answers)


def test_what_the_pictures_raise_comes_after_the_answers_before_it() -> None:
    def disk() -> Iterator[Any]:
        yield from PICTURES[:6]
        raise OSError("the disk is gone")

    async def network() -> AsyncIterator[Any]:
        for picture in PICTURES[:6]:
            yield picture
        raise OSError("the disk is gone")

    async def ask(pictures: Any) -> list[Any]:
        async with AsyncClient(Threaded(Level(), 2)) as client:
            answers: list[Any] = []
            try:
                async for answer in client.analyze_many(pictures, tasks=()):
                    answers.append(answer)
            except OSError as error:
                answers.append(str(error))
            return answers

    answers: list[Any] = []
    with pytest.raises(OSError, match="the disk is gone") as raised:
        answers.extend(Client(Level()).analyze_many(disk(), tasks=()))
    for found in ([*answers, str(raised.value)], asyncio.run(ask(disk())), asyncio.run(ask(network()))):
        assert levels(found[:-1]) == [0] * 6
        assert found[-1] == "the disk is gone"


class Huge(np.ndarray):
    """An array that finds no memory for its copy."""

    def copy(self, order: Any = "C") -> Any:
        raise MemoryError("no room")


def test_a_picture_that_fails_is_a_result_like_the_others() -> None:
    picture, buffer = PICTURES[0], io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("damaged.jpg", b"a picture")
    damaged = buffer.getvalue().replace(b"a picture", b"b picture")

    def pictures() -> Iterator[Any]:
        yield picture
        with zipfile.ZipFile(io.BytesIO(damaged)) as archive, archive.open("damaged.jpg") as member:
            yield member
        yield picture.view(Huge)
        yield picture

    for answers in both(pictures):
        assert levels([answers[0], answers[3]]) == [0, 0]
        assert isinstance(answers[1], InvalidImage)
        assert "cannot be read (Bad CRC-32" in str(answers[1])
        assert isinstance(answers[2], MemoryError)


def test_whoever_leaves_the_loop_leaves_no_task_behind() -> None:
    closed = []

    async def camera() -> AsyncIterator[Any]:
        try:
            while True:
                yield PICTURES[0]
                await asyncio.sleep(0.001)
        finally:
            closed.append(True)

    async def ask() -> None:
        async with AsyncClient(Threaded(Level(), 2)) as client, asyncio.timeout(60):
            answers = client.analyze_many(camera(), tasks=(), in_flight=2)
            assert levels([await anext(answers)]) == [0]
            await answers.aclose()  # type: ignore[attr-defined]
            while len(asyncio.all_tasks()) > 1:  # those that were cancelled end in the next turns of the loop
                await asyncio.sleep(0.01)

    asyncio.run(ask())
    assert closed == [True]


@pytest.mark.parametrize("client", [Client(Level()), AsyncClient(Threaded(Level()))], ids=["by threads", "by asyncio"])
def test_what_is_wrong_is_said_at_the_call(client: Client | AsyncClient) -> None:
    with pytest.raises(InvalidOptions, match="confidnce: unknown"):
        client.analyze_many(PICTURES, confidnce=3)  # type: ignore[call-arg]
    for tasks in ({"tasks": ()}, {}):
        with pytest.raises(InvalidOptions, match=r"confidence: 3 is outside 0\.\.1"):
            client.analyze_many(PICTURES, confidence=3, **tasks)  # type: ignore[arg-type]
    for one in ("photo.jpg", b"photo", io.BytesIO(b"photo"), PICTURES[0]):
        with pytest.raises(TypeError, match="takes pictures one after the other"):
            client.analyze_many(one)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="in_flight is 0"):
        client.analyze_many(PICTURES, in_flight=0)
