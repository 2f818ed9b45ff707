"""Pictures that are made to break the decoder, sent to a process of its own, whose end would be its failure."""

from __future__ import annotations

import time

import httpx

from tests.parsing_rcnn.codecs.test_header import flat, hidden
from tests.server.helpers import spare_port
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
