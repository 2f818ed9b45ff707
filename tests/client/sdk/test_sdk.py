"""The SDK against a real gateway and against the engine in this process."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from parsing_rcnn.analyzer import Options
from parsing_rcnn.codecs import npz
from parsing_rcnn.errors import (
    BrokenModel,
    EngineUnavailable,
    ImageTooLarge,
    InvalidImage,
    InvalidOptions,
    UnsupportedImage,
)
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.taxonomy import CIHP
from parsing_rcnn_client import (
    AsyncClient,
    AsyncGateway,
    Busy,
    Client,
    DeadlineExceeded,
    Gateway,
    GatewayError,
    ModelMissing,
)
from parsing_rcnn_client.sdk.wire import encode_image

ROOT = Path(__file__).resolve().parents[3]


def same(one: People, other: People) -> bool:
    return (
        np.allclose(one.boxes, other.boxes, atol=1e-3)
        and np.array_equal(one.parts, other.parts)  # type: ignore[arg-type]
        and np.array_equal(one.iuv, other.iuv)  # type: ignore[arg-type]
    )


def test_answers_are_those_of_the_engine(gateway_url: str, pipeline: Pipeline, photo_jpeg: bytes) -> None:
    with Client.connect(gateway_url) as client:
        assert client.info.classes == pipeline.info.classes
        people = client.analyze(photo_jpeg)
        assert len(people) >= 1
        assert same(people, pipeline.analyze(photo_jpeg))
        assert people.timings["detector"] > 0
        only = client.analyze(photo_jpeg, Options(tasks=frozenset({"parsing"}), max_people=1))
        assert only.iuv is None
        assert len(only) == 1


def test_arrays_travel_without_loss_or_as_jpeg(gateway_url: str, pipeline: Pipeline) -> None:
    image = pytest.importorskip("skimage.data").astronaut()
    with Client.connect(gateway_url) as client:
        assert same(client.analyze(image), pipeline.analyze(image))
    with Client.connect(gateway_url, jpeg_quality=95) as client:
        sent = encode_image(image, 95)
        assert sent.startswith(b"\xff\xd8\xff")
        assert len(sent) < image.nbytes / 5
        assert same(client.analyze(image), pipeline.analyze(sent))
        with pytest.raises(ImageTooLarge, match="at most 65500 a side"):
            client.analyze(np.zeros((1, 70000, 3), np.uint8))


def test_errors_are_typed_and_never_tried_again(gateway_url: str, photo_jpeg: bytes) -> None:
    client = Client.connect(gateway_url)
    started = time.monotonic()
    for picture, options, kind in (
        (photo_jpeg[:3000], Options(), InvalidImage),
        (b"no picture", Options(), UnsupportedImage),
        (photo_jpeg, Options(confidence=2), InvalidOptions),
        (photo_jpeg, Options(part_probs=True), InvalidOptions),
        (np.zeros((4, 4), np.uint8), Options(), InvalidImage),
    ):
        with pytest.raises(kind):
            client.analyze(picture, options)
    assert time.monotonic() - started < 20
    client.close()
    client.close()


def test_a_client_that_was_closed_says_so(gateway_url: str, photo_jpeg: bytes) -> None:
    client = Client.connect(gateway_url)
    assert len(client.analyze(photo_jpeg)) >= 1
    client.close()
    for ask in (lambda: client.analyze(photo_jpeg), lambda: next(client.stream([photo_jpeg]))):
        started = time.monotonic()
        with pytest.raises(EngineUnavailable, match=rf"^{gateway_url}: this client was closed; make a new one$"):
            ask()
        assert time.monotonic() - started < 20  # it is not tried again


@pytest.mark.parametrize("engine", ["gateway", "embedded"])
def test_an_asyncio_client_that_was_closed_says_so(engine: str, gateway_url: str, photo_jpeg: bytes) -> None:
    async def ask() -> None:
        client = AsyncClient.connect(gateway_url) if engine == "gateway" else AsyncClient.embedded(threads=1)
        assert (await client.info()).classes
        await client.close()
        await client.close()
        for ask in (client.info, lambda: client.analyze(photo_jpeg, tasks="parsing")):
            with pytest.raises(EngineUnavailable, match="this client was closed; make a new one"):
                await ask()

    asyncio.run(ask())


def test_an_asyncio_client_serves_one_event_loop_after_the_other(gateway_url: str, photo_jpeg: bytes) -> None:
    client = AsyncClient.connect(gateway_url, in_flight=1)

    async def ask() -> list[People]:
        return await asyncio.gather(*(client.analyze(photo_jpeg) for _ in range(3)))  # two of which wait

    async def end() -> list[People]:
        async with client:
            return await ask()

    answers = [*asyncio.run(ask()), *asyncio.run(ask()), *asyncio.run(end())]
    assert len(answers) == 9
    assert all(same(answer, answers[0]) for answer in answers)


def test_a_deadline_holds_and_nobody_there_is_said() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(EngineUnavailable, match="is the gateway running"):
            Gateway(url, timeout=2).analyze(b"x")
        free.listen()  # accepts, never answers
        with pytest.raises(DeadlineExceeded, match="in time"):
            Gateway(url, timeout=0.3).analyze(b"x")


class Trickle:
    """A peer that is never silent: takes or sends a little, again and again."""

    HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n"

    def __init__(self, takes: bool) -> None:
        self._takes, self._gone = takes, threading.Event()
        self.moved = 0  # bytes
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        peer, _ = self._listener.accept()
        with contextlib.suppress(OSError), peer:
            peer.recv(100)
            if not self._takes:
                peer.sendall(self.HEAD)
            while not self._gone.wait(0.02 if self._takes else 0.05):
                if self._takes:
                    self.moved += len(peer.recv(65536))
                else:
                    peer.sendall(b" ")
                    self.moved += 1

    def close(self) -> None:
        self._gone.set()
        self._thread.join(20)
        self._listener.close()


@pytest.mark.parametrize("takes", [False, True], ids=["answer", "upload"])
@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_a_deadline_holds_for_a_peer_that_trickles(
    gateway_url: str, monkeypatch: pytest.MonkeyPatch, takes: bool, kind: str
) -> None:
    peer, picture = Trickle(takes), b"\xff\xd8\xff" + bytes(40_000_000)

    def by_threads() -> None:
        client = Gateway(peer.url, timeout=1)
        if not takes:
            _ = client.info
        client._info = Gateway(gateway_url).info
        client.analyze(picture)

    async def by_asyncio() -> None:
        client = AsyncGateway(peer.url, timeout=1)
        if not takes:
            await client.info()
        client._info = await AsyncGateway(gateway_url).info()
        await client.analyze(picture)

    try:
        with pytest.raises(DeadlineExceeded, match="allow more with `timeout`"):
            by_threads() if kind == "threads" else asyncio.run(by_asyncio())
        assert peer.moved < (len(picture) if takes else 300) / 2  # the whole would take 12 s and more
    finally:
        peer.close()


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_a_picture_is_sent_with_its_length(serve_app: Any, kind: str) -> None:
    seen: list[dict[bytes, bytes]] = []
    sizes: list[int] = []

    async def listening(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] == "POST":
            seen.append(dict(scope["headers"]))
        more, size = True, 0
        while more:
            message = await receive()
            more, size = message.get("more_body", False), size + len(message.get("body", b""))
        models = b'[{"name":"a","version":"1","runtime":"r","tasks":{},"classes":%s,"canvases":[],"card":{}}]'
        if scope["method"] == "POST":
            sizes.append(size)
        body = models % json.dumps(CIHP.classes).encode()
        await send({"type": "http.response.start", "status": 200 if scope["method"] == "GET" else 422})
        await send({"type": "http.response.body", "body": body})

    picture = b"\xff\xd8\xff" + bytes(200_000)

    def ask(url: str) -> None:
        if kind == "threads":
            Gateway(url, timeout=10).analyze(picture)
        else:
            asyncio.run(AsyncGateway(url, timeout=10).analyze(picture))

    with serve_app(listening) as url, pytest.raises(GatewayError, match="422"):
        ask(url)
    assert sizes == [len(picture)]
    assert seen[0][b"content-length"] == b"200003"
    assert b"transfer-encoding" not in seen[0]


def test_a_busy_server_is_asked_again_when_it_wants(serve_app: Any) -> None:
    asked: list[float] = []
    allowed: list[int] = []

    async def busy_once(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        asked.append(time.monotonic())
        allowed.append(int(dict(scope["headers"])[b"x-timeout-ms"]))
        status = 503 if len(asked) == 1 else 404
        headers = [(b"retry-after", b"0.3")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"<html>"})

    with serve_app(busy_once) as url, pytest.raises(GatewayError, match="is this a Parsing R-CNN gateway") as caught:
        _ = Gateway(url, timeout=10).info
    assert caught.value.status == 404
    assert len(asked) == 2
    assert 9000 < allowed[0] <= 10_000
    assert allowed[1] <= allowed[0] - 250  # the wait was of its time
    assert asked[1] - asked[0] >= 0.29


def test_asking_again_writes_nothing(serve_app: Any) -> None:
    asked = 0

    async def busy_once(scope: dict[str, Any], receive: Any, send: Any) -> None:
        nonlocal asked
        if scope["type"] != "http":
            return
        asked += 1
        status = 503 if asked % 2 else 404
        await send({"type": "http.response.start", "status": status, "headers": [(b"retry-after", b"0.1")]})
        await send({"type": "http.response.body", "body": b"{}"})

    script = """
import asyncio, sys
from parsing_rcnn_client import AsyncGateway, Gateway, GatewayError
try:
    Gateway(sys.argv[1]).info
except GatewayError as error:
    print(error.status)
try:
    asyncio.run(AsyncGateway(sys.argv[1]).info())
except GatewayError as error:
    print(error.status)
"""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client'}"}
    with serve_app(busy_once) as url:
        command = [sys.executable, "-c", script, url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert (done.stdout, done.stderr) == ("404\n404\n", "")
    assert asked == 4


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address that refuses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{free.getsockname()[1]}"


def test_a_picture_s_own_timeout_holds_from_the_first_one_on(nobody: str) -> None:
    started = time.monotonic()
    with pytest.raises(EngineUnavailable, match="is the gateway running"):
        Gateway(nobody, timeout=60).analyze(b"x", timeout=0.3)

    async def ask() -> None:
        await AsyncGateway(nobody, timeout=60).analyze(b"x", timeout=0.3)

    with pytest.raises(EngineUnavailable, match="is the gateway running"):
        asyncio.run(ask())
    assert time.monotonic() - started < 20
    with pytest.raises(DeadlineExceeded):
        Gateway(nobody, timeout=60).analyze(b"x", timeout=0)


def test_pictures_in_flight_wait_for_no_other_s_deadline(nobody: str) -> None:
    started = time.monotonic()
    with Client.connect(nobody, timeout=8) as client:
        answers = list(client.analyze_many([b"x"] * 12, in_flight=12))
    # one after the other they took 96 seconds
    assert time.monotonic() - started < 20
    for answer in answers:
        assert isinstance(answer, EngineUnavailable)
        assert not isinstance(answer, DeadlineExceeded)  # nobody is there, which says more


def test_that_nobody_answers_is_told_once_however_many_wait(nobody: str, caplog: pytest.LogCaptureFixture) -> None:
    with Client.connect(nobody, timeout=8) as client:
        list(client.analyze_many([b"x"] * 8, in_flight=8))

    async def ask() -> None:
        async with AsyncClient.connect(nobody, timeout=8) as client:
            await asyncio.gather(*(client.analyze(b"x") for _ in range(8)), return_exceptions=True)

    asyncio.run(ask())
    told = [record.getMessage() for record in caplog.records if record.name == "parsing_rcnn_client"]
    assert len(told) == 2  # of each client
    assert all(f"{nobody}: no answer" in said and "trying for" in said for said in told)


def test_after_an_answer_the_next_outage_is_told_too(
    serve_app: Any, caplog: pytest.LogCaptureFixture, kept_port: int
) -> None:
    about = {
        "name": "n",
        "version": "1",
        "runtime": "r",
        "tasks": {},
        "classes": CIHP.classes,
        "canvases": [],
        "card": {},
    }
    answers: dict[str, bytes | int] = {
        "/v1/models": json.dumps([about]).encode(),
        "/v1/analyze": npz.encode(People.empty((8, 8))),
    }

    async def nobody_in_it(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            said = answers[scope["path"]]
            status, body = (said, b"") if isinstance(said, int) else (200, said)
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": body})

    def tell() -> int:
        for _ in range(2):
            with pytest.raises(EngineUnavailable):
                client.analyze(b"x", timeout=1)
        return len([record for record in caplog.records if record.name == "parsing_rcnn_client"])

    with serve_app(nobody_in_it, kept_port) as url:
        client = Gateway(url, timeout=60)
        assert len(client.analyze(b"x")) == 0
    assert tell() == 1
    with serve_app(nobody_in_it, kept_port):
        assert len(client.analyze(b"x")) == 0
    assert tell() == 2
    for status, told in ((400, 3), (502, 3)):  # a refusal is an answer; a proxy's word is none of the gateway
        answers["/v1/analyze"] = status
        with serve_app(nobody_in_it, kept_port), pytest.raises(GatewayError, match=f"HTTP {status}"):
            client.analyze(b"x")
        assert tell() == told


def test_a_server_that_is_busy_for_longer_than_the_deadline_is_not_waited_for(serve_app: Any) -> None:
    asked = 0

    async def busy(scope: dict[str, Any], receive: Any, send: Any) -> None:
        nonlocal asked
        if scope["type"] != "http":
            return
        asked += 1
        await send({"type": "http.response.start", "status": 503, "headers": [(b"retry-after", b"30")]})
        await send({"type": "http.response.body", "body": b"{}"})

    async def ask(url: str) -> None:
        await AsyncGateway(url, timeout=20).info()

    started = time.monotonic()
    with serve_app(busy) as url:
        with pytest.raises(Busy):
            _ = Gateway(url, timeout=20).info
        with pytest.raises(Busy):
            asyncio.run(ask(url))
    assert asked == 2
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("proxy", [False, True])
def test_a_share_that_no_time_heals_is_not_asked_about_again(serve_app: Any, proxy: bool) -> None:
    """The gateway's own refusal without Retry-After is for good; a proxy's, which says nothing, is tried again."""
    asked = 0
    problem = b'{"detail": "4 at once, your share is 3", "type": "urn:parsing-rcnn:rate-limited"}'

    async def refuse(scope: dict[str, Any], receive: Any, send: Any) -> None:
        nonlocal asked
        if scope["type"] != "http":
            return
        asked += 1
        status = 404 if proxy and asked > 1 else 429
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"<html>" if proxy else problem})

    with serve_app(refuse) as url, pytest.raises(GatewayError, match="is this a" if proxy else "your share is 3") as no:
        _ = Gateway(url, timeout=20).info
    assert (no.value.status, asked) == ((404, 2) if proxy else (429, 1))


@pytest.mark.parametrize(("after", "seconds"), [(b"0.1", 0.1), (b"3600", 60)])  # nobody is sent away for an hour
def test_without_retries_a_picture_is_asked_about_once(serve_app: Any, after: bytes, seconds: float) -> None:
    asked = 0

    async def busy(scope: dict[str, Any], receive: Any, send: Any) -> None:
        nonlocal asked
        if scope["type"] != "http":
            return
        asked += 1
        await send({"type": "http.response.start", "status": 503, "headers": [(b"retry-after", after)]})
        await send({"type": "http.response.body", "body": b"{}"})

    with serve_app(busy) as url, pytest.raises(Busy) as refused:
        Gateway(url, timeout=20, retry=False).analyze(b"x")
    assert (asked, refused.value.retry_after) == (1, seconds)


def test_a_model_that_cannot_be_run_is_no_busy_server(serve_app: Any) -> None:
    """What no later request heals is said at once, though it is a 503."""
    asked = 0
    broken = BrokenModel("parsing/1/model.onnx", "Protobuf parsing failed")

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        nonlocal asked
        if scope["type"] != "http":
            return
        asked += 1
        body = json.dumps({"type": f"urn:parsing-rcnn:{broken.code}", "detail": broken.detail}).encode()
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": body})

    with serve_app(app) as url, pytest.raises(ModelMissing, match="copy it again"):
        Gateway(url, timeout=20).analyze(b"x")
    assert asked == 1


def test_many_pictures_in_order_one_bad_among_them(gateway_url: str, photo_jpeg: bytes, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo_jpeg)
    taken = []

    def pictures() -> Any:
        for picture in (photo_jpeg, b"bad", path, tmp_path / "missing.jpg", photo_jpeg):
            taken.append(picture)
            yield picture

    with Client.connect(gateway_url) as client:
        results = client.analyze_many(pictures(), in_flight=2)
        first = next(results)
        assert len(taken) == 2  # not taken before there is room
        rest = list(results)
    assert [type(r).__name__ for r in (first, *rest)] == [
        "People", "UnsupportedImage", "People", "InvalidImage", "People",
    ]  # fmt: skip


def test_asyncio_gives_the_same(gateway_url: str, pipeline: Pipeline, photo_jpeg: bytes) -> None:
    async def ask() -> list[People | Exception]:
        async with AsyncClient.connect(gateway_url, in_flight=2) as client:
            assert (await client.info()).name == pipeline.info.name
            return [r async for r in client.analyze_many([photo_jpeg, b"bad", photo_jpeg])]

    first, bad, last = asyncio.run(ask())
    assert isinstance(bad, UnsupportedImage)
    assert isinstance(first, People)
    assert isinstance(last, People)
    assert same(first, last)
    assert same(first, pipeline.analyze(photo_jpeg))


async def _ask(client: AsyncClient, picture: Any) -> People:
    try:
        return await client.analyze(picture)
    finally:
        await client.close()


@pytest.fixture(params=["gateway", "embedded", "asyncio", "pipeline", "bare gateway"])
def analyze(request: pytest.FixtureRequest, gateway_url: str, pipeline: Pipeline) -> Callable[[Any], People]:
    """Each of the front doors that take a picture."""
    return {
        "gateway": lambda picture: Client.connect(gateway_url).analyze(picture),
        "embedded": lambda picture: Client(pipeline).analyze(picture),
        "asyncio": lambda picture: asyncio.run(_ask(AsyncClient.connect(gateway_url), picture)),
        "pipeline": pipeline.analyze,
        "bare gateway": lambda picture: Gateway(gateway_url).analyze(picture),
    }[request.param]


def test_a_path_is_as_good_as_its_bytes(
    analyze: Callable[[Any], People], pipeline: Pipeline, photo_jpeg: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo_jpeg)
    expected = pipeline.analyze(photo_jpeg)
    (entry,) = os.scandir(tmp_path)
    for given in (str(path), path, entry):
        assert same(analyze(given), expected)


def test_what_is_no_picture_is_said_in_one_line(analyze: Callable[[Any], People], tmp_path: Path) -> None:
    for given, says in (
        (str(tmp_path / "gone.jpg"), rf"^{tmp_path}/gone\.jpg: no such file$"),
        (tmp_path, rf"^{tmp_path}: no file that can be read \(Is a directory\)$"),
        ("/9j/4AAQ" * 1000, r"^/9j/4AAQ.{0,250}\.\.\.: no file that can be read \(File name too long\)$"),
        ("a\0b", "no file that can be read"),
        (
            None,
            r"^NoneType is no picture: give bytes, a path, an open file, a uint8 \[H,W,3\] RGB array or",
        ),  # of cv2.imread
        ([1, 2], r"^list is no picture: .*; several pictures go to analyze_many$"),
        (np.zeros((4, 4, 3)), r"^an image array is uint8 .* this one is float64"),
    ):
        with pytest.raises(InvalidImage, match=says):
            analyze(given)


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_an_address_in_an_engines_place_is_refused(client: type[Client] | type[AsyncClient]) -> None:
    with pytest.raises(TypeError, match=rf"{client.__name__}\('http://host:8080'\).*{client.__name__}\.connect\(\)"):
        client("http://host:8080")  # type: ignore[arg-type]


@pytest.fixture(params=["gateway", "embedded", "asyncio", "pipeline", "bare gateway", "bare asyncio"])
def ask(request: pytest.FixtureRequest, gateway_url: str, pipeline: Pipeline) -> Callable[..., People]:
    """Each of the front doors that take options."""

    async def through(client: AsyncClient | AsyncGateway, *given: Any, **keywords: Any) -> People:
        try:
            return await client.analyze(*given, **keywords)
        finally:
            await client.close()

    return {
        "gateway": Client.connect(gateway_url).analyze,
        "embedded": Client(pipeline).analyze,
        "asyncio": lambda *a, **k: asyncio.run(through(AsyncClient.connect(gateway_url), *a, **k)),
        "pipeline": pipeline.analyze,
        "bare gateway": Gateway(gateway_url).analyze,
        "bare asyncio": lambda *a, **k: asyncio.run(through(AsyncGateway(gateway_url), *a, **k)),
    }[request.param]


def test_options_are_an_object_or_keywords(ask: Callable[..., People], pipeline: Pipeline, photo_jpeg: bytes) -> None:
    expected = pipeline.analyze(photo_jpeg, Options(frozenset({"parsing"}), confidence=0.3))
    for found in (
        ask(photo_jpeg, tasks="parsing", confidence=0.3),
        ask(photo_jpeg, Options(frozenset({"parsing"}), confidence=0.3)),
        ask(photo_jpeg, options=Options(tasks="parsing", confidence=0.3)),  # type: ignore[arg-type]
    ):
        assert found.iuv is None
        np.testing.assert_array_equal(found.parts, expected.parts)  # type: ignore[arg-type]
    boxes = ask(photo_jpeg, tasks=(), confidence=0.3)
    assert (len(boxes), boxes.parts, boxes.iuv) == (len(expected), None, None)


def test_a_frame_of_opencv_is_answered_as_its_picture(ask: Callable[..., People], pipeline: Pipeline) -> None:
    image = pytest.importorskip("skimage.data").astronaut()
    expected = pipeline.analyze(image, confidence=0.3)
    assert same(ask(np.ascontiguousarray(image[..., ::-1]), bgr=True, confidence=0.3), expected)
    assert not same(ask(image, bgr=True, confidence=0.3), expected)


def test_bgr_is_refused_where_the_picture_is_no_array(
    ask: Callable[..., People], photo_jpeg: bytes, photo: Path
) -> None:
    for given in (photo_jpeg, photo):
        with pytest.raises(InvalidOptions, match=r"^bgr: says how the channels of an array lie"):
            ask(given, bgr=True)


def test_a_picture_of_pillow_is_as_good_as_its_file(
    ask: Callable[..., People], pipeline: Pipeline, photo_jpeg: bytes
) -> None:
    image = Image.open(io.BytesIO(photo_jpeg)).crop((0, 0, 400, 512))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    buffer = io.BytesIO()
    image.transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=exif)
    found = ask(Image.open(buffer))
    assert found.image_size == (512, 400)
    assert same(found, pipeline.analyze(buffer.getvalue()))


def test_wrong_options_are_named(ask: Callable[..., People], photo_jpeg: bytes) -> None:
    with pytest.raises(InvalidOptions, match=r"confidense: unknown; the options are tasks, confidence"):
        ask(photo_jpeg, confidense=0.3)
    with pytest.raises(InvalidOptions, match="confidence"):
        ask(photo_jpeg, confidence="high")
    with pytest.raises(TypeError, match="confidence: given beside options"):
        ask(photo_jpeg, Options(), confidence=0.3)
    with pytest.raises(TypeError, match=r"expected Options, got dict; write Options\(confidence=0\.3\)"):
        ask(photo_jpeg, {"confidence": 0.3})


def test_many_pictures_take_options_as_one_does(gateway_url: str, photo_jpeg: bytes) -> None:
    async def ask() -> list[People | Exception]:
        async with AsyncClient.connect(gateway_url) as client:
            return [r async for r in client.analyze_many([photo_jpeg], tasks="densepose")]

    with Client.connect(gateway_url) as client:
        (found,) = client.analyze_many([photo_jpeg], in_flight=1, tasks="densepose")
        assert isinstance(found, People)
        assert found.parts is None
        with pytest.raises(InvalidOptions, match="in_fligth: unknown"):  # of the call, not of each picture
            list(client.analyze_many([photo_jpeg], in_fligth=1))
    (found,) = asyncio.run(ask())
    assert isinstance(found, People)
    assert found.parts is None


def test_many_frames_of_opencv(gateway_url: str, pipeline: Pipeline) -> None:
    image = pytest.importorskip("skimage.data").astronaut()
    frames = [np.ascontiguousarray(image[..., ::-1])]

    async def ask() -> list[People | Exception]:
        async with AsyncClient.connect(gateway_url) as client:
            return [r async for r in client.analyze_many(frames, bgr=True)]

    with Client.connect(gateway_url) as client:
        for found in (*client.analyze_many(frames, bgr=True), *asyncio.run(ask())):
            assert isinstance(found, People)
            assert same(found, pipeline.analyze(image))


def test_an_array_of_pictures_is_several(gateway_url: str, photo: Path) -> None:
    batch = np.zeros((2, 48, 64, 3), np.uint8)
    with Client.connect(gateway_url) as client:
        for pictures in (batch, np.array([str(photo), str(photo)])):
            assert [type(found) for found in client.analyze_many(pictures)] == [People, People]
        assert all(isinstance(answer.people, People) for answer in client.stream(batch))


JPEG = b"\xff\xd8\xff"
SINGLE = [
    "video.mp4",
    Path("photo.jpg"),
    JPEG,
    bytearray(JPEG),
    memoryview(JPEG),
    np.zeros((8, 6, 3), np.uint8),
    Image.new("RGB", (8, 6)),
    cv2.VideoCapture(),
]


@pytest.mark.parametrize("one", SINGLE, ids=lambda one: type(one).__name__)
def test_one_picture_is_not_several(gateway_url: str, one: Any) -> None:
    async def ask() -> None:
        async with AsyncClient.connect(gateway_url) as client:
            with pytest.raises(TypeError, match=r"stream\(\) takes .* of a video, give its frames"):
                client.stream(one)
            with pytest.raises(TypeError, match=r"analyze_many\(\) takes"):
                await anext(client.analyze_many(one))

    asyncio.run(ask())
    with Client.connect(gateway_url) as client:
        with pytest.raises(TypeError, match=r"stream\(\) takes .* this is one"):
            client.stream(one)
        with pytest.raises(TypeError, match=r"analyze_many\(\) takes"):
            next(client.analyze_many(one))
