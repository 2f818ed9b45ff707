"""Large answers to batches are sent picture by picture, and hold no place of the queue while nobody reads them."""

from __future__ import annotations

import io
import json
import socket
import threading
import zipfile
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.analyzer import Options
from parsing_rcnn.people import People
from server.responses import answers, pieces
from server.settings import Settings
from tests.server.conftest import Live, Slow
from tests.server.helpers import answered, metric, until

URL = "/v1/analyze/batch"
LARGE = 2**25  # bytes: more than the system's buffers of a connection hold
CANCELLED = 'parsing_rcnn_requests_total{outcome="cancelled",route="batch"}'


class SecondWaits(Slow):
    """Finds nobody, and from the second picture on waits for a signal."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        self.count += isinstance(image, bytes)
        self.begun.release()
        assert self.count < 2 or self.gate.wait(120)
        return People(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), (512, 512))


@pytest.fixture
def waiting() -> Iterator[SecondWaits]:
    made = SecondWaits()
    yield made
    made.gate.set()


def files(photo: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", (f"{name}.jpg", photo)) for name in "abc"]


def send(live: Live, photo: bytes, accept: str, version: str = "1.1") -> socket.socket:
    """A connection over which a batch of three was sent."""
    built = httpx.Request("POST", f"http://{live.address}{URL}", files=files(photo))
    body = built.read()
    head = f"POST {URL} HTTP/{version}\r\nHost: localhost\r\nAccept: {accept}\r\nContent-Length: {len(body)}\r\n"
    connection = socket.create_connection(("127.0.0.1", live.port), timeout=120)
    connection.sendall(f"{head}Content-Type: {built.headers['content-type']}\r\n\r\n".encode() + body)
    return connection


def read(body: bytes, kind: str) -> list[str]:
    """Names of the pictures in an answer."""
    if kind == "application/json":
        return [result["name"].removesuffix(".jpg") for result in json.loads(body)["results"]]
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        return [name.removesuffix(".json") for name in archive.namelist() if name.endswith(".json")]


@pytest.mark.parametrize("kind", ["application/zip", "application/json"])
def test_a_large_answer_begins_before_its_last_picture(
    kind: str, waiting: SecondWaits, photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_WHOLE", 0)
    with Live(Settings(), lambda: waiting) as live:
        address, more = f"http://{live.address}{URL}", {"headers": {"Accept": kind}, "timeout": 60}
        with httpx.stream("POST", address, files=files(photo_jpeg), **more) as answer:  # type: ignore[arg-type]
            parts = answer.iter_raw()
            body = next(parts)
            assert not waiting.gate.is_set()
            waiting.gate.set()
            body += b"".join(parts)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert "content-length" not in answer.headers
    assert read(body, kind) == ["a", "b", "c"]


@pytest.mark.parametrize("kind", ["application/zip", "application/json"])
def test_a_small_answer_and_one_in_the_old_protocol_say_their_length(
    kind: str, waiting: SecondWaits, photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting.gate.set()
    with Live(Settings(), lambda: waiting) as live:
        answer = httpx.post(f"http://{live.address}{URL}", files=files(photo_jpeg), headers={"Accept": kind})
        assert int(answer.headers["content-length"]) == len(answer.content)
        monkeypatch.setattr(pieces, "_WHOLE", 0)  # HTTP/1.0 knows no chunks
        with send(live, photo_jpeg, kind, "1.0") as connection:
            head, _, body = answered(connection).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert read(answer.content, kind) == read(body, kind) == ["a", "b", "c"]


def large(stem: str, *_: Any) -> answers.Files:
    return [(f"{stem}.json", b"{}"), (f"{stem}_overlay.png", bytes(LARGE))]


def test_others_have_the_place_while_nobody_reads(
    waiting: SecondWaits, photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "files", large)
    with Live(Settings(workers=1, queue=0), lambda: waiting) as live:
        with send(live, photo_jpeg, "application/zip") as connection:
            assert waiting.begun.acquire(timeout=60)
            until(lambda: metric(live, 'parsing_rcnn_requests_total{outcome="ok",route="batch"}') == 1)
            until(lambda: metric(live, "parsing_rcnn_held") == 0)
            assert live.app.state.uploads.held // len(photo_jpeg) == 2  # of three pictures one is answered
            waiting.gate.set()
            other = httpx.post(f"http://{live.address}/v1/analyze", content=photo_jpeg, timeout=60)
            assert other.status_code == 200  # the only place
            assert waiting.count == 2  # the first of the batch, and that one: what nobody reads is not made either
            received = 0
            while received < 3 * LARGE:
                received += len(connection.recv(2**20))
        until(lambda: metric(live, "parsing_rcnn_held") == 0)


def test_who_leaves_a_streamed_answer_cancels_the_rest(
    waiting: SecondWaits, photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_WHOLE", 0)
    with Live(Settings(), lambda: waiting) as live:
        with send(live, photo_jpeg, "application/zip") as connection:
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
            for _ in range(2):
                assert waiting.begun.acquire(timeout=60)
        until(lambda: metric(live, CANCELLED) == 2)  # the one in work, and the one behind it
        until(lambda: metric(live, "parsing_rcnn_held") == 0)
        waiting.gate.set()
        assert httpx.get(f"http://{live.address}/healthz", timeout=60).status_code == 200
    assert waiting.count == 2


def test_an_answer_that_cannot_go_on_is_not_taken_for_whole(
    waiting: SecondWaits, photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting.gate.set()
    monkeypatch.setattr(pieces, "_WHOLE", 0)
    first, add = threading.Event(), answers.Archive.add

    def fails(archive: answers.Archive, contents: answers.Files) -> bytes:
        if contents[0][0].startswith("b"):
            raise ZeroDivisionError("a bug")
        first.set()
        return add(archive, contents)

    monkeypatch.setattr(answers.Archive, "add", fails)
    with Live(Settings(), lambda: waiting) as live:
        address = f"http://{live.address}{URL}"
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(address, files=files(photo_jpeg), headers={"Accept": "application/zip"}, timeout=60)
        until(lambda: metric(live, "parsing_rcnn_held") == 0)
    assert first.is_set()


def test_an_archive_in_pieces_is_what_a_disk_would_hold() -> None:
    contents = {"a.json": b"{}", "b/c.png": bytes(range(256)) * 500, "empty": b"", "ü.txt": b"x"}
    archive = answers.Archive()
    parts = [archive.add([entry]) for entry in contents.items()]
    whole = b"".join([*parts, archive.end()])
    assert all(content in part for content, part in zip(contents.values(), parts, strict=True))
    with zipfile.ZipFile(io.BytesIO(whole)) as read_again:
        assert read_again.testzip() is None
        assert {name: read_again.read(name) for name in read_again.namelist()} == contents
        sizes_behind = 8  # the flag of files whose sizes stand behind them
        assert not any(entry.flag_bits & sizes_behind for entry in read_again.infolist())
