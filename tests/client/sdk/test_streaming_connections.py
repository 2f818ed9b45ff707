"""The connection of a live stream: keys, refusals, gateways that go, come back, close, drop or say nothing."""

from __future__ import annotations

import itertools
import json
import shlex
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from parsing_rcnn.codecs import npz
from parsing_rcnn.codecs.picture import Picture
from parsing_rcnn.errors import DeadlineExceeded, EngineUnavailable
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP
from parsing_rcnn_client import Busy, Client, GatewayError
from server.keys import add_key
from server.settings import Settings
from tests.client.streams import Ask, Clock, Patient, Told, both, by_threads
from tests.server.conftest import Live


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


@both
def test_a_gateway_that_is_started_again_goes_on_with_the_newest_frame(
    photo_jpeg: bytes, ask: Ask, kept_port: int
) -> None:
    before, after = Patient(opened=True), Patient(opened=True)
    frames: SimpleQueue[bytes | None] = SimpleQueue()
    with Live(Settings(drain_seconds=1), lambda: before, port=kept_port) as live:
        answers = ask(f"http://{live.address}", iter(frames.get, None), {}, timeout=60)
        frames.put(photo_jpeg)
        assert isinstance(next(answers).people, People)
        before.gate.clear()
        assert before.begun.acquire(timeout=60)
        frames.put(photo_jpeg)
        assert before.begun.acquire(timeout=60)
        live.server.should_exit = True
        lost = next(answers)
        before.gate.set()
    assert isinstance(lost.people, EngineUnavailable)
    assert "the connection was lost" in str(lost.people)
    for _ in range(3):
        frames.put(photo_jpeg)
    while not frames.empty():  # the newest of them waits
        time.sleep(0.01)
    with Live(Settings(), lambda: after, port=kept_port):
        found = next(answers)
        frames.put(None)
        assert isinstance(found.people, People)
        assert list(answers) == []
    assert (lost.number, lost.dropped, found.number, found.dropped) == (1, 0, 4, 2)


@both
@pytest.mark.parametrize("given", [{"timeout": 20}, {"timeout": 60, "retry": False}])
def test_a_gateway_that_stays_away_ends_the_stream(
    photo_jpeg: bytes, ask: Ask, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, engine, frames = Clock(monkeypatch), Patient(opened=True), SimpleQueue[bytes]()
    with Live(Settings(), lambda: engine) as live:
        answers = ask(f"http://{live.address}", iter(frames.get, b"end"), {}, **given)
        frames.put(photo_jpeg)
        assert isinstance(next(answers).people, People)
    late = threading.Timer(0.5, clock.jump, (20,))  # in no hurry: without it this takes that long
    late.start()
    with pytest.raises(EngineUnavailable, match=r"no answer|connection was lost"):
        next(answers)
    late.join()
    frames.put(b"end")


@both
def test_an_outage_is_told_to_who_follows_a_stream(
    serve_app: Any, photo_jpeg: bytes, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, however often it is tried; and the next one again, where there was an answer meanwhile."""
    left = threading.Event()

    def camera() -> Iterator[bytes]:
        while not left.is_set():
            yield photo_jpeg

    with serve_app(Scripted(away, away, away, one, away, away, one)) as url:
        answers = ask(url, camera(), {})
        answered = (answer for answer in answers if isinstance(answer.people, People))
        assert next(answered).number < next(answered).number
        left.set()
        list(answers)
        told = [record.getMessage() for record in caplog.records if record.name == "parsing_rcnn_client"]
    assert len(told) == 2
    assert all(f"{url}: no answer" in said and "trying for" in said for said in told)


def test_a_frame_has_its_deadline_and_the_stream_goes_on(photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, engine, frames = Clock(monkeypatch), Patient(), SimpleQueue[bytes | None]()
    with (
        Live(Settings(drain_seconds=1), lambda: engine) as live,
        Client.connect(f"http://{live.address}", timeout=15) as client,
    ):
        answers = client.stream(iter(frames.get, None))
        frames.put(photo_jpeg)
        threading.Thread(target=late, args=(clock, engine)).start()
        assert isinstance(next(answers).people, DeadlineExceeded)
        engine.gate.set()
        frames.put(photo_jpeg)
        frames.put(None)
        assert [type(answer.people) for answer in answers] == [People]


def late(clock: Clock, engine: Patient) -> None:
    """The deadline of a frame passes while the engine has it."""
    assert engine.begun.acquire(timeout=60)
    clock.jump(16)


@both
def test_a_frame_that_waits_for_another_one_has_its_own_time(
    serve_app: Any, photo: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def camera() -> Iterator[Picture]:
        for _ in range(4):
            frame = Told(photo)
            yield frame
            assert frame.read.wait(60)

    gateway = Scripted(slow(Clock(monkeypatch), 12))
    with serve_app(gateway) as url:
        found = [(answer.number, type(answer.people)) for answer in ask(url, camera(), {}, timeout=18)]
    assert found == [(number, People) for number in range(4)]
    assert gateway.opened == 1


def test_too_many_streams_wait_for_a_place(photo_jpeg: bytes) -> None:
    engine = Patient(opened=True)
    with Live(Settings(max_streams=1), lambda: engine) as live:
        url, frames = f"http://{live.address}", SimpleQueue[bytes | None]()
        with Client.connect(url) as client, Client.connect(url, retry=False) as hurried:
            answers = client.stream(iter(frames.get, None))
            frames.put(photo_jpeg)
            next(answers)
            with pytest.raises(Busy, match="1 stream is open") as refused:
                next(hurried.stream([photo_jpeg]))
            assert refused.value.retry_after >= 1
            waiting = client.stream([photo_jpeg])
            threading.Timer(0.3, frames.put, [None]).start()
            assert list(answers) == []  # the place is free again
            assert isinstance(next(waiting).people, People)


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


def slow(clock: Clock, seconds: float) -> Part:
    """One of four frames is in work for so long, and the next one waits for it. The last one takes no time."""

    async def work(receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        waiting = [(await receive())["bytes"] for _ in range(2)]
        for number in range(4):
            clock.jump(seconds if number < 3 else 0)
            frame = waiting.pop(0)
            await send({"type": "websocket.send", "bytes": frame[:8] + npz.encode(People.empty((4, 4)))})
            if number < 2:  # it comes when the answer is there
                waiting.append((await receive())["bytes"])
        await receive()

    return work


async def one(receive: Any, send: Any) -> None:
    """A frame is answered, and the gateway ends."""
    await send({"type": "websocket.accept"})
    frame = (await receive())["bytes"]
    await send({"type": "websocket.send", "bytes": frame[:8] + npz.encode(People.empty((4, 4)))})
    await send({"type": "websocket.close", "code": 1012})


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
        assert first.read.wait(60)
        yield photo

    with serve_app(Scripted(second_alone)) as url:
        found = list(by_threads(url, camera(), {}))
    assert [(answer.number, answer.dropped) for answer in found] == [(1, 1)]


def test_a_gateway_that_closes_at_once_is_not_asked_for_ever(
    serve_app: Any, photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, gateway, over = Clock(monkeypatch), Scripted(closing(1001)), threading.Event()

    def two_seconds() -> None:
        end = time.monotonic() + 2
        while time.monotonic() < end or gateway.opened < 2:
            time.sleep(0.05)
        while not over.wait(0.2):  # its time may begin behind a jump
            clock.jump(60)

    threading.Thread(target=two_seconds, daemon=True).start()
    with serve_app(gateway) as url:
        answers = by_threads(url, itertools.repeat(photo_jpeg), {}, timeout=60)
        with pytest.raises(EngineUnavailable, match=r"the connection was lost \(1001|no answer"):
            assert all(isinstance(answer.people, EngineUnavailable) for answer in answers)
        over.set()
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
            list(by_threads(url, [photo_jpeg], {}, retry=False))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        (answer,) = by_threads(url, [photo_jpeg], {})
        assert isinstance(answer.people, People)
        monkeypatch.delenv("SSL_CERT_FILE")
        with Client.connect(url, verify=ssl.create_default_context(cafile=certificate)) as client:
            (answer,) = client.stream([photo_jpeg])
    assert isinstance(answer.people, People)
