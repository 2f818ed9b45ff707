"""`Client.stream` and `AsyncClient.stream` against real gateways: the newest frame, its errors, lost connections."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from parsing_rcnn.codecs import npz
from parsing_rcnn.codecs.picture import Picture
from parsing_rcnn.errors import (
    DeadlineExceeded,
    EngineUnavailable,
    ImageTooLarge,
    InvalidImage,
    InvalidOptions,
    ParsingRCNNError,
    UnsupportedImage,
)
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.taxonomy import CIHP
from parsing_rcnn_client import AsyncClient, Busy, Client, GatewayError, Streamed
from server.keys import add_key
from server.settings import Settings
from tests.server.conftest import INFO, Live, Slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def url(pipeline: Pipeline) -> Iterator[str]:
    with Live(Settings(max_bytes=4_000_000), lambda: pipeline) as live:
        yield f"http://{live.address}"


class Patient(Slow):
    """`Slow`, of a taxonomy that clients know. Counts what it began."""

    info = replace(INFO, classes=CIHP.classes)

    def __init__(self, *, opened: bool = False) -> None:
        super().__init__()
        self.count = 0
        if opened:
            self.gate.set()

    def analyze(self, image: Any, *options: Any) -> People:
        self.count += isinstance(image, bytes)
        return super().analyze(image, *options)


class Told(os.PathLike[str]):
    """The path of a frame that says when it is read, which is when it is sent."""

    def __init__(self, path: Path) -> None:
        self.path, self.read = path, threading.Event()

    def __fspath__(self) -> str:
        self.read.set()
        return str(self.path)


def by_threads(url: str, frames: Iterable[Picture], options: dict[str, Any], **given: Any) -> Iterator[Streamed]:
    with Client.connect(url, **given) as client:
        yield from client.stream(frames, **options)


def by_asyncio(url: str, frames: Iterable[Picture], options: dict[str, Any], **given: Any) -> Iterator[Streamed]:
    """From a loop that runs in another thread, as an application of its own."""
    answers: SimpleQueue[Streamed | Exception | None] = SimpleQueue()

    async def ask() -> None:
        try:
            async with AsyncClient.connect(url, **given) as client:
                async for answer in client.stream(frames, **options):
                    answers.put(answer)
        except Exception as error:
            answers.put(error)
        answers.put(None)

    thread = threading.Thread(target=asyncio.run, args=(ask(),))
    thread.start()
    while (answer := answers.get(timeout=60)) is not None:
        if isinstance(answer, Exception):
            raise answer
        yield answer
    thread.join(30)


Ask = Callable[..., Iterator[Streamed]]
both = pytest.mark.parametrize("ask", [by_threads, by_asyncio])


def one_by_one(ask: Ask, url: str, frames: Iterable[Picture], **given: Any) -> list[Streamed]:
    """Answers to all frames: each comes when the one before is answered."""
    room: SimpleQueue[None] = SimpleQueue()
    room.put(None)

    def source() -> Iterator[Picture]:
        for frame in frames:
            room.get(timeout=60)
            yield frame

    found = []
    for answer in ask(url, source(), {}, **given):
        found.append(answer)
        room.put(None)
    return found


def same(one: People, other: People) -> bool:
    names = ("boxes", "scores", "parts", "part_scores", "iuv")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names if name in vars(one))


@both
def test_a_frame_is_answered_as_by_analyze(url: str, photo_jpeg: bytes, ask: Ask) -> None:
    array = pytest.importorskip("skimage.data").astronaut()
    with Client.connect(url) as client:
        for frame, options in (
            (photo_jpeg, {}),
            (array, {}),
            (photo_jpeg, {"tasks": "densepose", "confidence": 0.1, "max_people": 1, "max_side": 256}),
        ):
            (answer,) = ask(url, [frame], options)
            number, picture, people, dropped = answer
            assert (number, dropped) == (0, 0)
            assert picture is frame
            assert isinstance(people, People)
            assert len(people) >= 1
            assert same(people, client.analyze(frame, **options))  # type: ignore[arg-type]


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
        assert engine.begun.acquire(timeout=30)
        yield second
        assert second.read.wait(30)  # both places are taken
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
        assert ended.wait(30)
        time.sleep(0.3)
        assert engine.count <= 3  # the one that was taken, and two
        found = [first, *answers]
    assert found[-1].number == 50
    assert found[-1].dropped == 51 - len(found)


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


def test_a_busy_gateway_is_left_alone_for_as_long_as_it_wants(photo_jpeg: bytes) -> None:
    engine = Patient(opened=True)
    with Live(Settings(rate=1, burst=1), lambda: engine) as live:
        begin = time.monotonic()
        found = one_by_one(by_threads, f"http://{live.address}", [photo_jpeg] * 3)
    assert [type(answer.people) for answer in found] == [People, Busy, People]
    assert found[1].people.retry_after == 1  # type: ignore[union-attr]
    assert time.monotonic() - begin >= 1


@both
def test_keys(photo_jpeg: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    monkeypatch.delenv("PARSING_RCNN_API_KEY", raising=False)
    keys, engine = tmp_path / "keys.txt", Patient(opened=True)
    key = add_key(keys, "alice")
    add_key(keys, "bob")
    with Live(Settings(keys=keys), lambda: engine) as live:
        url = f"http://{live.address}"
        with pytest.raises(GatewayError, match=r"not known here.*PARSING_RCNN_API_KEY") as refused:
            list(ask(url, [photo_jpeg], {}, api_key="prcnn_secret"))
        assert refused.value.status == 401
        assert "secret" not in str(refused.value)
        (answer,) = ask(url, [photo_jpeg], {}, api_key=key)
        assert isinstance(answer.people, People)
        monkeypatch.setenv("PARSING_RCNN_API_KEY", key)
        answers = ask(url, itertools.repeat(photo_jpeg), {})
        assert isinstance(next(answers).people, People)
        keys.write_text("\n".join(line for line in keys.read_text().splitlines() if not line.startswith("alice")))
        with pytest.raises(GatewayError, match="not known here") as refused:
            list(answers)
        assert refused.value.status == 401


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
def test_a_gateway_that_is_started_again_goes_on_with_the_newest_frame(photo_jpeg: bytes, ask: Ask) -> None:
    before, after = Patient(opened=True), Patient(opened=True)
    frames: SimpleQueue[bytes | None] = SimpleQueue()
    with Live(Settings(drain_seconds=1), lambda: before) as live:
        answers = ask(f"http://{live.address}", iter(frames.get, None), {}, timeout=60)
        frames.put(photo_jpeg)
        assert isinstance(next(answers).people, People)
        before.gate.clear()
        assert before.begun.acquire(timeout=30)
        frames.put(photo_jpeg)
        assert before.begun.acquire(timeout=30)
        live.server.should_exit = True
        lost = next(answers)
        before.gate.set()
    assert isinstance(lost.people, EngineUnavailable)
    assert "the connection was lost" in str(lost.people)
    for _ in range(3):
        frames.put(photo_jpeg)
    with Live(Settings(), lambda: after, port=live.port):
        found = next(answers)
        frames.put(None)
        assert isinstance(found.people, People)
        assert list(answers) == []
    assert (lost.number, lost.dropped, found.number, found.dropped) == (1, 0, 4, 2)


@both
@pytest.mark.parametrize("given", [{"timeout": 0.5}, {"timeout": 60, "retry": False}])
def test_a_gateway_that_stays_away_ends_the_stream(photo_jpeg: bytes, ask: Ask, given: dict[str, Any]) -> None:
    engine, frames = Patient(opened=True), SimpleQueue[bytes]()
    with Live(Settings(), lambda: engine) as live:
        answers = ask(f"http://{live.address}", iter(frames.get, b"end"), {}, **given)
        frames.put(photo_jpeg)
        assert isinstance(next(answers).people, People)
    with pytest.raises(EngineUnavailable, match=r"no answer|connection was lost"):
        next(answers)
    frames.put(b"end")


def test_a_frame_has_its_deadline_and_the_stream_goes_on(photo_jpeg: bytes) -> None:
    engine, frames = Patient(), SimpleQueue[bytes | None]()
    with (
        Live(Settings(drain_seconds=1), lambda: engine) as live,
        Client.connect(f"http://{live.address}", timeout=0.5) as client,
    ):
        answers = client.stream(iter(frames.get, None))
        frames.put(photo_jpeg)
        assert isinstance(next(answers).people, DeadlineExceeded)
        engine.gate.set()
        frames.put(photo_jpeg)
        frames.put(None)
        assert [type(answer.people) for answer in answers] == [People]


def test_too_many_streams_wait_for_a_place(photo_jpeg: bytes) -> None:
    engine = Patient(opened=True)
    with Live(Settings(max_streams=1), lambda: engine) as live:
        url, frames = f"http://{live.address}", SimpleQueue[bytes | None]()
        with Client.connect(url) as client, Client.connect(url, timeout=0.5) as hurried:
            answers = client.stream(iter(frames.get, None))
            frames.put(photo_jpeg)
            next(answers)
            with pytest.raises(Busy, match="1 streams are open") as refused:
                next(hurried.stream([photo_jpeg]))
            assert refused.value.retry_after >= 1
            waiting = client.stream([photo_jpeg])
            threading.Timer(0.3, frames.put, [None]).start()
            assert list(answers) == []  # the place is free again
            assert isinstance(next(waiting).people, People)


@both
def test_what_the_frames_raise_comes_after_their_answers(url: str, photo_jpeg: bytes, ask: Ask) -> None:
    def camera() -> Iterator[bytes]:
        yield photo_jpeg
        raise RuntimeError("the camera is gone")

    answers = ask(url, camera(), {})
    assert isinstance(next(answers).people, People)
    with pytest.raises(RuntimeError, match="the camera is gone"):
        next(answers)


def test_leaving_the_loop_ends_the_stream(url: str, photo_jpeg: bytes) -> None:
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
                await asyncio.wait_for(asyncio.gather(*tasks), 10)
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
        end = time.monotonic() + 30
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
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.stderr == ""
    said = "EngineUnavailable http://127.0.0.1:9: live streams need the package websockets: "
    assert done.stdout.splitlines() == [f"{said}pip install 'parsing-rcnn-client[stream]'"] * 2


class Recorder:
    """An application that names a model, and answers whoever opens a stream with a redirect."""

    def __init__(self, location: str) -> None:
        self.location = location
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        self.asked.append(scope)
        names = ("name", "version", "runtime")
        model = {**dict.fromkeys(names, "x"), "tasks": {}, "classes": CIHP.classes, "canvases": [], "card": {}}
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": json.dumps([model]).encode()})
            return
        headers = [(b"location", self.location.encode())]
        await send({"type": "websocket.http.response.start", "status": 302, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b""})


def test_a_stream_goes_where_pictures_go_with_the_same_key(serve_app: Any) -> None:
    elsewhere = Recorder("")
    with serve_app(elsewhere) as other:
        for person, expected in (
            ("", {b"authorization": b"Bearer secret"}),
            ("me:pass%40word@", {b"authorization": b"Basic bWU6cGFzc0B3b3Jk", b"x-api-key": b"secret"}),
        ):
            gateway = Recorder(other.replace("http", "ws"))
            with serve_app(gateway) as url:
                client = Client.connect(f"{url.replace('//', f'//{person}')}/behind/a proxy/", api_key="secret")
                with pytest.raises(GatewayError, match="HTTP 302") as refused:
                    list(client.stream([b"x"], tasks="parsing", max_people=3))
            assert (refused.value.status, "secret" in str(refused.value), "word" in str(refused.value)) == (302, 0, 0)
            stream = gateway.asked[-1]
            assert stream["path"] == "/behind/a proxy/v1/stream"
            assert {"tasks=parsing", "max_people=3", "format=npz"} <= set(stream["query_string"].decode().split("&"))
            assert expected.items() <= dict(stream["headers"]).items()
    assert elsewhere.asked == []  # the key is for no other host


Part = Callable[[Any, Any], Any]


class Scripted:
    """An application that names a model and plays its parts, one for each stream that is opened, the last for ever."""

    def __init__(self, *parts: Part) -> None:
        self.parts, self.opened = parts, 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await Recorder("")(scope, receive, send)
        elif scope["type"] == "websocket":
            part = self.parts[min(self.opened, len(self.parts) - 1)]
            self.opened += 1
            await receive()
            await part(receive, send)


async def away(receive: Any, send: Any) -> None:
    """What a proxy says."""
    await send({"type": "websocket.http.response.start", "status": 502, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b"<html>Bad Gateway"})


def closing(code: int, said: str | None = None) -> Part:
    async def close(receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        if said is not None:
            await receive()
            await send({"type": "websocket.send", "text": said})
        await send({"type": "websocket.close", "code": code, "reason": "for a reason"})

    return close


async def second_alone(receive: Any, send: Any) -> None:
    """Two frames come, and the newer one takes the place of the other."""
    await send({"type": "websocket.accept"})
    frames = [(await receive())["bytes"] for _ in range(2)]
    await send({"type": "websocket.send", "bytes": frames[1][:8] + npz.encode(People.empty((4, 4)))})
    await receive()


async def good(receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    while (frame := (await receive()).get("bytes")) is not None:
        await send({"type": "websocket.send", "bytes": frame[:8] + npz.encode(People.empty((4, 4)))})


@both
def test_a_gateway_that_comes_and_goes_is_asked_again(serve_app: Any, photo_jpeg: bytes, ask: Ask) -> None:
    gateway = Scripted(away, closing(1013), away, good)
    with serve_app(gateway) as url:
        (answer,) = ask(url, [photo_jpeg], {})
    if isinstance(answer.people, People):
        assert gateway.opened == 4
    else:  # it went into the connection that was closed, and nothing was left to ask for
        assert "the connection was lost (1013 for a reason)" in str(answer.people)
        assert gateway.opened == 2


def test_what_a_gateway_drops_is_counted_too(serve_app: Any, photo: Path) -> None:
    first = Told(photo)

    def camera() -> Iterator[Picture]:
        yield first
        assert first.read.wait(30)
        yield photo

    with serve_app(Scripted(second_alone)) as url:
        found = list(by_threads(url, camera(), {}))
    assert [(answer.number, answer.dropped) for answer in found] == [(1, 1)]


def test_a_gateway_that_closes_at_once_is_not_asked_for_ever(serve_app: Any, photo_jpeg: bytes) -> None:
    gateway = Scripted(closing(1001))
    with serve_app(gateway) as url:
        answers = by_threads(url, itertools.repeat(photo_jpeg), {}, timeout=2)
        with pytest.raises(EngineUnavailable, match=r"the connection was lost \(1001|no answer"):
            assert all(isinstance(answer.people, EngineUnavailable) for answer in answers)
    assert 2 <= gateway.opened < 20


def test_who_is_not_welcome_or_not_understood_does_not_come_back(serve_app: Any, photo_jpeg: bytes) -> None:
    refusal = {"status": 401, "type": "urn:parsing-rcnn:unauthorized", "detail": "your key is gone"}
    for part, code, word in (
        (closing(1008), "closed", "1008 for a reason"),
        (closing(1008, json.dumps({"frame_id": 0, "problem": refusal})), "unauthorized", "your key is gone"),
        (closing(1000, "words"), "bad-answer", "is this a Parsing R-CNN gateway"),
        (closing(1000, json.dumps({"frame_id": 7, "problem": {**refusal, "status": 400}})), "bad-answer", "not sent"),
    ):
        gateway = Scripted(part)
        with serve_app(gateway) as url, pytest.raises(GatewayError, match=word) as refused:
            list(by_threads(url, [photo_jpeg], {}))
        assert (refused.value.code, gateway.opened) == (code, 1)


def test_a_program_may_end_in_the_middle(url: str) -> None:
    script = """
import itertools, sys
from parsing_rcnn_client import Client
answers = Client.connect(sys.argv[1]).stream(itertools.repeat(b"no picture"))
print(type(next(answers).people).__name__)
"""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client'}"}
    command = [sys.executable, "-c", script, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "UnsupportedImage\n", "")


def test_https_is_wss(photo_jpeg: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*shlex.split(command), *files], check=True, capture_output=True)
    live = Live(Settings(), lambda: Patient(opened=True))
    live.server.config.ssl_certfile, live.server.config.ssl_keyfile = str(certificate), str(key)
    with live:
        url = f"https://{live.address}"
        with pytest.raises(EngineUnavailable, match="certificate"):
            list(by_threads(url, [photo_jpeg], {}, timeout=0.3))
        trusted = SimpleNamespace(openssl_cafile=str(certificate), openssl_capath="")
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: trusted)  # as if the system trusted it
        (answer,) = by_threads(url, [photo_jpeg], {})
    assert isinstance(answer.people, People)


def test_the_snippet_of_the_readme_runs(url: str, photo_jpeg: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "client" / "README.md").read_text()
    (snippet,) = (text for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if ".stream(" in text)
    exec(snippet.replace("http://127.0.0.1:8080", url), {"camera": [photo_jpeg]})
    assert "People(1 in 512x512" in capsys.readouterr().out
