"""`Client.stream` and `AsyncClient.stream`: the newest frame, its people or its error, and the end."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from websockets.sync.client import connect

from parsing_rcnn.codecs.picture import Picture
from parsing_rcnn.errors import ImageTooLarge, InvalidImage, InvalidOptions, ParsingRCNNError, UnsupportedImage
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.taxonomy import CIHP
from parsing_rcnn_client import AsyncClient, Busy, Client, Streamed
from parsing_rcnn_client.sdk import latest_frame
from parsing_rcnn_client.sdk.wire import frame_message, is_of, read_streamed
from server import admission
from server.settings import Settings
from tests.client.streams import Ask, Patient, Told, both, by_threads, one_by_one
from tests.server.conftest import Live

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def url(pipeline: Pipeline) -> Iterator[str]:
    with Live(Settings(max_bytes=4_000_000), lambda: pipeline) as live:
        yield f"http://{live.address}"


def same(one: People, other: People) -> bool:
    names = ("boxes", "scores", "parts", "part_scores", "iuv", "iuv_scores")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names if name in vars(one))


@both
def test_a_frame_is_answered_as_by_analyze(url: str, photo_jpeg: bytes, ask: Ask) -> None:
    array = pytest.importorskip("skimage.data").astronaut()
    with Client.connect(url) as client:
        for frame, options in (
            (photo_jpeg, {}),
            (array, {}),
            (photo_jpeg, {"tasks": "densepose", "confidence": 0.1, "max_people": 1, "max_side": 256}),
            (photo_jpeg, {"tasks": "", "confidence": 0.1, "region": (0, 0, 300, 512), "tiles": 2}),
        ):
            (answer,) = ask(url, [frame], options)
            number, picture, people, dropped = answer
            assert (number, dropped) == (0, 0)
            assert picture is frame or np.array_equal(picture, frame)  # type: ignore[arg-type]
            assert repr(answer) == f"Streamed(0: {people!r}, 0 dropped)"  # and not the picture
            assert isinstance(people, People)
            assert len(people) >= 1
            assert same(people, client.analyze(frame, **options))  # type: ignore[arg-type]


def test_frames_beyond_the_32_bits_of_a_number_have_their_answers(url: str) -> None:
    with connect(f"{url.replace('http', 'ws')}/v1/stream?format=npz") as socket:
        for number in (2**32 - 1, 2**32, 2**33 + 5):
            socket.send(frame_message(number, b"no picture"))
            sent, refused = read_streamed(socket.recv(timeout=30), CIHP, url)
            assert isinstance(refused, UnsupportedImage)
            assert is_of(sent, number)
            assert not is_of(sent, number + 1)


def test_frames_may_be_asynchronous(url: str, photo_jpeg: bytes) -> None:
    async def ask() -> list[Streamed]:
        answered = asyncio.Event()

        async def camera() -> AsyncIterator[bytes]:
            yield photo_jpeg
            await answered.wait()
            for _ in range(1000):
                yield photo_jpeg

        found = []
        async with AsyncClient.connect(url) as client:
            async for answer in client.stream(camera(), tasks=()):
                found.append(answer)
                answered.set()
        return found

    found = asyncio.run(ask())
    assert all(isinstance(answer.people, People) for answer in found)
    assert (found[0].number, found[-1].number, found[-1].dropped) == (0, 1000, 1001 - len(found))
    assert found[-1].dropped > 0


@both
def test_the_newest_frame_waits_and_older_ones_are_dropped(photo: Path, ask: Ask) -> None:
    engine, second = Patient(), Told(photo)

    def camera() -> Iterator[Picture]:
        yield photo
        assert engine.begun.acquire(timeout=60)
        yield second
        assert second.read.wait(60)  # both places are taken
        yield from itertools.repeat(photo, 4)
        engine.gate.set()

    with Live(Settings(), lambda: engine) as live:
        found = list(ask(f"http://{live.address}", camera(), {}))
    assert [(answer.number, answer.dropped) for answer in found] == [(0, 0), (1, 0), (5, 3)]


def test_who_is_slow_to_take_answers_has_few_frames_analysed(photo_jpeg: bytes) -> None:
    engine, ended = Patient(opened=True), threading.Event()

    def camera() -> Iterator[bytes]:
        yield from itertools.repeat(photo_jpeg, 50)
        ended.set()
        yield photo_jpeg

    with Live(Settings(), lambda: engine) as live, Client.connect(f"http://{live.address}") as client:
        answers = client.stream(camera())
        first = next(answers)
        assert ended.wait(60)
        time.sleep(0.3)
        assert engine.count <= 3  # the one that was taken, and two
        found = [first, *answers]
    assert found[-1].number == 50
    assert found[-1].dropped == 51 - len(found)


@both
def test_frames_of_opencv_are_answered_as_their_pictures(url: str, photo_jpeg: bytes, ask: Ask) -> None:
    array = pytest.importorskip("skimage.data").astronaut()
    frame = np.ascontiguousarray(array[..., ::-1])
    (answer,) = ask(url, [frame], {"bgr": True})
    np.testing.assert_array_equal(answer.picture, frame)  # type: ignore[arg-type]
    assert isinstance(answer.people, People)
    with Client.connect(url) as client:
        assert same(answer.people, client.analyze(array))
    (answer,) = ask(url, [photo_jpeg], {"bgr": True})
    assert isinstance(answer.people, InvalidOptions)


@both
def test_errors_belong_to_their_frame(url: str, photo_jpeg: bytes, photo: Path, ask: Ask) -> None:
    bad = [b"no picture", photo_jpeg[:3000], b"", np.zeros((4, 4), np.uint8), photo.parent / "nothing.jpg"]
    found = one_by_one(ask, url, [photo_jpeg, *bad, photo])
    kinds = [People, UnsupportedImage, InvalidImage, InvalidImage, InvalidImage, InvalidImage, People]
    assert [type(answer.people) for answer in found] == kinds
    assert [answer.dropped for answer in found] == [0] * len(found)
    with Client.connect(url) as client:
        for frame, answer in zip(bad[:2] + bad[3:], found[1:3] + found[4:6], strict=True):
            with pytest.raises(ParsingRCNNError) as by_http:
                client.analyze(frame)  # type: ignore[arg-type]
            assert str(answer.people) == str(by_http.value)


def test_a_frame_beyond_the_limit_is_said_and_the_stream_goes_on(photo_jpeg: bytes) -> None:
    small = pytest.importorskip("skimage.data").astronaut()[::8, ::8]
    engine = Patient(opened=True)
    with Live(Settings(max_bytes=20_000), lambda: engine) as live:
        found = one_by_one(by_threads, f"http://{live.address}", [small, photo_jpeg, photo_jpeg, small])
    assert [type(answer.people) for answer in found] == [People, ImageTooLarge, ImageTooLarge, People]
    assert f"a frame of {len(photo_jpeg)} bytes is beyond the limit" in str(found[1].people)


def test_a_busy_gateway_is_left_alone_for_as_long_as_it_wants(
    photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock goes on when it has refused a frame; ours is real."""
    engine, clock, answered = Patient(opened=True), SimpleNamespace(now=0.0), threading.Semaphore(0)
    monkeypatch.setattr(admission, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def camera() -> Iterator[bytes]:
        for _ in range(3):
            yield photo_jpeg
            assert answered.acquire(timeout=60)

    with Live(Settings(rate=1, burst=1), lambda: engine) as live:
        begin, found = time.monotonic(), []
        for answer in by_threads(f"http://{live.address}", camera(), {}):
            found.append(answer)
            clock.now += isinstance(answer.people, Busy)
            answered.release()
    assert [type(answer.people) for answer in found] == [People, Busy, People]
    assert found[1].people.retry_after == 1  # type: ignore[union-attr]
    assert time.monotonic() - begin >= 1


def test_what_may_not_open_is_raised(url: str, photo_jpeg: bytes) -> None:
    with Client.connect(url) as client:
        with pytest.raises(InvalidOptions, match="confidence"):
            list(client.stream([photo_jpeg], confidence=7))
        with pytest.raises(InvalidOptions, match="do not travel"):
            client.stream([photo_jpeg], part_probs=True)
        with pytest.raises(InvalidOptions, match="colour"):
            client.stream([photo_jpeg], colour=True)
    with Client(Patient()) as client, pytest.raises(TypeError, match=r"Client.connect\(url\)"):
        client.stream([photo_jpeg])


@both
def test_what_the_frames_raise_comes_after_their_answers(url: str, photo_jpeg: bytes, ask: Ask) -> None:
    def camera() -> Iterator[bytes]:
        yield photo_jpeg
        raise RuntimeError("the camera is gone")

    answers = ask(url, camera(), {})
    assert isinstance(next(answers).people, People)
    with pytest.raises(RuntimeError, match="the camera is gone"):
        next(answers)


@both
def test_frames_that_end_the_program_end_the_stream(url: str, photo_jpeg: bytes, ask: Ask) -> None:
    def camera() -> Iterator[bytes]:
        yield photo_jpeg
        sys.exit("the camera is gone")

    answers = ask(url, camera(), {})
    assert isinstance(next(answers).people, People)
    with pytest.raises(RuntimeError, match=r"SystemExit\('the camera is gone'\)") as raised:
        next(answers)
    assert isinstance(raised.value.__cause__, SystemExit)


def test_frames_that_wait_for_what_is_cancelled_end_the_stream(url: str, photo_jpeg: bytes) -> None:
    async def ask() -> None:
        async def camera() -> AsyncIterator[bytes]:
            yield photo_jpeg
            reader = asyncio.create_task(asyncio.sleep(60))
            reader.cancel()
            await reader

        async with AsyncClient.connect(url) as client:
            answers = client.stream(camera(), tasks=())
            assert isinstance((await anext(answers)).people, People)
            with pytest.raises(RuntimeError, match="was cancelled"):
                await anext(answers)

    asyncio.run(asyncio.wait_for(ask(), 60))


def test_leaving_the_loop_ends_the_stream(url: str, photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latest_frame, "_PATIENCE", 60.0)
    running = set(threading.enumerate())
    with Client.connect(url) as client:
        for answer in client.stream(itertools.repeat(photo_jpeg), tasks=()):
            assert isinstance(answer.people, People)
            break
        began = [thread.name for thread in threading.enumerate() if thread not in running]
        assert not {"stream", "frames"} & set(began)

        async def leave() -> set[str]:
            async with AsyncClient.connect(url) as client:
                async for _ in client.stream(itertools.repeat(photo_jpeg), tasks=()):
                    break
                await asyncio.sleep(0.1)
                tasks = asyncio.all_tasks() - {asyncio.current_task()}
                await asyncio.wait_for(asyncio.gather(*tasks), 60)
                return {thread.name for thread in threading.enumerate() if thread not in running}

        assert "frames" not in asyncio.run(leave())


def test_a_stream_that_is_forgotten_ends_whoever_collects_it(url: str, photo_jpeg: bytes) -> None:
    running = set(threading.enumerate())
    for collect in (gc.collect, lambda: threading.Thread(target=gc.collect).start()):
        with Client.connect(url) as client:
            answers = client.stream(itertools.repeat(photo_jpeg), tasks=())
            next(answers)
            cycle: list[Any] = [answers]
            cycle.append(cycle)
            del answers, cycle
            collect()
        end = time.monotonic() + 60
        while {thread.name for thread in threading.enumerate() if thread not in running} & {"stream", "frames"}:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_without_the_package_the_extra_is_named() -> None:
    script = """
import asyncio, sys
sys.modules["websockets"] = None
from parsing_rcnn_client import AsyncClient, Client, Streamed
try:
    Client.connect(sys.argv[1]).stream([])
except Exception as error:
    print(type(error).__name__, error)
async def ask():
    async for _ in AsyncClient.connect(sys.argv[1]).stream([]): pass
try:
    asyncio.run(ask())
except Exception as error:
    print(type(error).__name__, error)
"""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client'}"}
    command = [sys.executable, "-c", script, "http://127.0.0.1:9"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.stderr == ""
    said = "EngineUnavailable http://127.0.0.1:9: live streams need the package websockets: "
    assert done.stdout.splitlines() == [f"{said}pip install 'parsing-rcnn-client[stream]'"] * 2


def test_a_program_may_end_in_the_middle(url: str) -> None:
    script = """
import itertools, sys
from parsing_rcnn_client import Client
answers = Client.connect(sys.argv[1]).stream(itertools.repeat(b"no picture"))
print(type(next(answers).people).__name__)
"""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client'}"}
    command = [sys.executable, "-c", script, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "UnsupportedImage\n", "")


def test_the_snippet_of_the_readme_runs(url: str, photo_jpeg: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "client" / "README.md").read_text()
    (snippet,) = (text for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if ".stream(" in text)
    exec(snippet.replace("http://127.0.0.1:8080", url), {"camera": [photo_jpeg]})
    with Client.connect(url) as client:
        count = len(client.analyze(photo_jpeg))
    assert f"People({count} in 512x512" in capsys.readouterr().out
