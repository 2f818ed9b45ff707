"""Pictures that are made to break the decoder, sent to a process of its own, whose end would be its failure."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from starlette.testclient import TestClient

from server import service
from server.app import create_app
from server.settings import Settings
from tests.parsing_rcnn.codecs.test_header import flat, hidden
from tests.server.conftest import wait_until_ready
from tests.server.helpers import open_gate, refused, spare_port
from tests.server.test_gateway import _serve

FRAMES = {kind: b"\xff\xd8" + flat(kind) for kind in (0xC3, 0xC7, 0xCB, 0xCF)}


def test_no_jpeg_ends_the_process(photo_jpeg: bytes) -> None:
    port = spare_port()
    process = _serve("--port", str(port))
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            end = time.monotonic() + 120
            while not _ready(client):
                assert time.monotonic() < end
                assert process.poll() is None
                time.sleep(0.1)
            for body in FRAMES.values():
                answer = client.post("/v1/analyze", content=body, params={"max_side": 100})
                assert answer.status_code == 415
                assert "lossless" in answer.json()["detail"]
            damaged = client.post("/v1/analyze", content=hidden(), params={"max_side": 100})
            assert damaged.status_code == 400
            assert client.post("/v1/analyze", content=photo_jpeg).status_code == 200
        assert process.poll() is None
    finally:
        process.terminate()
        process.communicate(timeout=120)


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_the_headers_of_long_files_are_read_beside_the_event_loop(
    photo_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may have so many parts that reading them takes 0.1 s, in which nobody else would be answered."""
    check, beside = service.check, []

    def seen(*arguments: object) -> object:
        try:
            asyncio.get_running_loop()
            beside.append(False)
        except RuntimeError:
            beside.append(True)
        return check(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(service, "check", seen)
    segments = b"\xff\xfe\xff\xff" + bytes(65_533)
    long = photo_jpeg[:2] + segments * 20 + photo_jpeg[2:]
    with TestClient(create_app(Settings(), open_gate)) as client:
        wait_until_ready(client)
        for body in (photo_jpeg, long):
            assert client.post("/v1/analyze", content=body).status_code == 200
        refused(client.post("/v1/analyze", content=b"GIF8" + long), 415, "the bytes are GIF")
        refused(client.post("/v1/analyze", content=long[:2] + b"\xff\0" + long[2:]), 400, "no marker at byte 2")
    assert beside == [False, True, True, True]
