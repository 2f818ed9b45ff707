"""What uploads hold is counted, while they hold it: bodies, the pictures in JSON, frames of streams."""

from __future__ import annotations

import base64
import json
import struct
from concurrent.futures import ThreadPoolExecutor
from errno import ENOSPC
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from server.app import create_app
from server.settings import Settings
from tests.server.conftest import Live, Slow, wait_until_ready
from tests.server.helpers import open_gate, refused, until
from tests.server.test_stream import frame, opened
from tests.server.test_stream_connection import accepted


def large(photo_jpeg: bytes, size: int = 300_000) -> bytes:
    """The photo with a comment behind its first marker, so that it has at least so many bytes."""
    comments = b"\xff\xfe\xff\xff" + b"x" * 65533
    return photo_jpeg[:2] + comments * (size // len(comments) + 1) + photo_jpeg[2:]


def text(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def of_v2(picture: bytes) -> dict[str, Any]:
    tensor = {"name": "IMAGE", "datatype": "BYTES", "shape": [1], "parameters": {"content_type": "base64"}}
    return {"inputs": [{**tensor, "data": [text(picture)]}]}


def binary(picture: bytes) -> dict[str, Any]:
    parameters = {"binary_data_size": len(picture) + 4}
    tensor = {"name": "IMAGE", "datatype": "BYTES", "shape": [1], "parameters": parameters}
    head = json.dumps({"inputs": [tensor]}).encode()
    body = head + struct.pack("<I", len(picture)) + picture
    return {"content": body, "headers": {"Inference-Header-Content-Length": str(len(head))}}


@pytest.mark.parametrize("escaped", [False, True], ids=["plain", "escaped"])
@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v1/analyze", lambda picture: {"image": {"type": "base64", "value": text(picture)}}),
        ("/v1/analyze/batch", lambda picture: {"images": [{"type": "base64", "value": text(picture)}]}),
        ("/v2/models/human_parsing/infer", of_v2),
    ],
    ids=["analyze", "batch", "v2"],
)
def test_of_json_only_the_picture_is_held(photo_jpeg: bytes, path: str, document: Any, escaped: bool) -> None:
    picture, slow = large(photo_jpeg), Slow()
    body = json.dumps(document(picture))
    if escaped:  # as PHP writes it
        body = body.replace("/", "\\/")
    with Live(Settings(), lambda: slow) as live, ThreadPoolExecutor(1) as pool:
        headers = {"Content-Type": "application/json"}
        asked = pool.submit(httpx.post, f"http://{live.address}{path}", content=body, headers=headers, timeout=60)
        assert slow.begun.acquire(timeout=60)
        held = live.app.state.uploads.held
        slow.gate.set()
        asked.result(60)
        assert held == len(picture)
        until(lambda: live.app.state.uploads.held == 0)


def test_of_binary_tensors_only_the_picture_is_held(photo_jpeg: bytes) -> None:
    picture, slow = large(photo_jpeg), Slow()
    with Live(Settings(), lambda: slow) as live, ThreadPoolExecutor(1) as pool:
        address = f"http://{live.address}/v2/models/human_parsing/infer"
        asked = pool.submit(httpx.post, address, **binary(picture), timeout=60)
        assert slow.begun.acquire(timeout=60)
        held = live.app.state.uploads.held
        slow.gate.set()
        asked.result(60)
        assert held == len(picture)


def test_decoding_counts(photo_jpeg: bytes) -> None:
    """While it is decoded a picture is there beside the JSON."""
    picture = large(photo_jpeg)
    body = json.dumps({"image": {"type": "base64", "value": text(picture)}}).encode()
    for memory, status in ((len(body) + len(picture) // 2, 413), (len(body) + len(picture) + 1000, 200)):
        with Live(Settings(upload_memory=memory), open_gate) as live:
            headers = {"Content-Type": "application/json"}
            answer = httpx.post(f"http://{live.address}/v1/analyze", content=body, headers=headers, timeout=60)
            if status == 200:
                assert answer.status_code == 200
            else:
                refused(answer, status, "--upload-memory")


def test_there_may_be_no_memory_to_decode(photo_jpeg: bytes) -> None:
    picture, slow = large(photo_jpeg), Slow()
    body = json.dumps({"image": {"type": "base64", "value": text(picture)}}).encode()
    memory = len(body) + len(picture) + len(picture) // 2
    with Live(Settings(upload_memory=memory), lambda: slow) as live, ThreadPoolExecutor(1) as pool:
        address = f"http://{live.address}/v1/analyze"
        first = pool.submit(httpx.post, address, content=picture, timeout=60)
        assert slow.begun.acquire(timeout=60)
        answer = httpx.post(address, content=body, headers={"Content-Type": "application/json"}, timeout=60)
        refused(answer, 503, "--upload-memory")
        assert answer.headers["retry-after"] == "1"
        slow.gate.set()
        assert first.result(60).status_code == 200


def test_a_form_needs_no_disk(monkeypatch: pytest.MonkeyPatch, photo_jpeg: bytes) -> None:
    def full(_: object) -> None:
        raise OSError(ENOSPC, "no space left on device")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile.rollover", full)
    with TestClient(create_app(Settings(), open_gate)) as client:
        wait_until_ready(client)
        files = {"file": ("a.jpg", large(photo_jpeg, 3_000_000))}
        assert client.post("/v1/analyze", files=files).status_code == 200


def test_frames_count_until_they_are_answered_or_replaced(photo_jpeg: bytes) -> None:
    slow = Slow()
    with Live(Settings(), lambda: slow) as live:
        size = len(frame(0, photo_jpeg))
        with opened(live) as socket:
            socket.send(frame(0, photo_jpeg))
            assert slow.begun.acquire(timeout=60)
            assert live.app.state.uploads.held == size
            for number in range(1, 4):
                socket.send(frame(number, photo_jpeg))
            socket.send(b"sync")
            assert json.loads(socket.recv(60))["problem"]["status"] == 400
            assert live.app.state.uploads.held == 2 * size
            slow.gate.set()
            assert [json.loads(socket.recv(60))["frame_id"] for _ in range(2)] == [0, 3]
            until(lambda: live.app.state.uploads.held == 0)
            slow.gate.clear()
            socket.send(frame(4, photo_jpeg))
            assert slow.begun.acquire(timeout=60)
            assert slow.begun.acquire(timeout=60)
        until(lambda: live.app.state.uploads.held == 0)  # the client left
        slow.gate.set()


def test_a_frame_without_room_is_refused_in_its_turn(photo_jpeg: bytes) -> None:
    slow = Slow()
    with (
        Live(Settings(upload_memory=len(photo_jpeg) * 3 // 2), lambda: slow) as live,
        opened(live) as socket,
    ):
        socket.send(frame(0, photo_jpeg))
        assert slow.begun.acquire(timeout=60)
        socket.send(frame(1, photo_jpeg))
        socket.send(b"sync")
        assert json.loads(socket.recv(60))["frame_id"] is None
        slow.gate.set()
        assert "problem" not in json.loads(socket.recv(60))
        answer = json.loads(socket.recv(60))
        assert (answer["frame_id"], answer["dropped"]) == (1, 0)
        assert (answer["problem"]["type"], answer["problem"]["retry_after"]) == ("urn:parsing-rcnn:busy", 1)
        assert "--upload-memory" in answer["problem"]["detail"]
        socket.send(frame(2, photo_jpeg))
        answer = json.loads(socket.recv(60))
        assert (answer["frame_id"], "problem" in answer) == (2, False)


@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_what_has_come_of_a_frame_counts(size: int) -> None:
    with Live(Settings(), open_gate) as live:
        with accepted(live) as connection:
            connection.sendall(b"\x82\xff" + struct.pack(">QI", 2 * size, 0) + bytes(size))
            until(lambda: live.app.state.uploads.held == size + 14)
        until(lambda: live.app.state.uploads.held == 0)
