"""Refusals are counted as pictures, by route and reason, each once: an alert tells of them."""

from __future__ import annotations

import json
import socket

import httpx
import pytest
from starlette.testclient import TestClient
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from parsing_rcnn.errors import OutOfMemory
from parsing_rcnn_client.sdk.wire import Busy, read_error
from server.app import create_app
from server.settings import Settings
from tests.server.conftest import Live, Slow, wait_until_ready
from tests.server.helpers import answered, metric, open_gate, post, until


def counted(live: Live, route: str, outcome: str) -> float:
    return metric(live, f'parsing_rcnn_requests_total{{outcome="{outcome}",route="{route}"}}')


def busy(refused: socket.socket, words: str) -> None:
    """Hold a refusal against what callers and the SDK make of it."""
    head, _, body = answered(refused).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1\r\n" in head
    assert json.loads(body)["type"] == "urn:parsing-rcnn:busy"
    assert words in json.loads(body)["detail"]
    for sent in (body, body.replace(b":busy", b":engine-unavailable")):  # older gateways say that
        error = read_error(503, {"retry-after": "1"}, sent, "http://localhost")
        assert isinstance(error, Busy)
        assert error.retry_after == 1


def test_what_cannot_compute_is_not_busy(photo_jpeg: bytes) -> None:
    def load() -> Slow:
        raise OutOfMemory("detector", "bad_alloc")

    app = create_app(Settings(), load)
    with TestClient(app) as client:
        answer = client.post("/v1/analyze", content=photo_jpeg)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:parsing-rcnn:engine-unavailable")
    found = app.state.metrics.registry.get_sample_value
    assert found("parsing_rcnn_requests_total", {"route": "analyze", "outcome": "engine-unavailable"}) == 1


def test_a_refusal_for_memory(photo_jpeg: bytes) -> None:
    slow = Slow()
    with Live(Settings(upload_memory=len(photo_jpeg) + 1000), lambda: slow) as live:
        first = post(live, photo_jpeg)
        assert slow.begun.acquire(timeout=60)
        second = post(live, photo_jpeg[:2000], declared=len(photo_jpeg))
        busy(second, "--upload-memory")
        assert counted(live, "analyze", "busy") == 1
        slow.gate.set()
        assert first.recv(4000).startswith(b"HTTP/1.1 200")
        for each in (first, second):
            each.close()


def test_a_refusal_for_want_of_a_place(photo_jpeg: bytes) -> None:
    slow = Slow()
    with Live(Settings(workers=1, queue=0), lambda: slow) as live:
        first = post(live, photo_jpeg)
        assert slow.begun.acquire(timeout=60)
        second = post(live, photo_jpeg)
        busy(second, "in work or waiting")
        assert counted(live, "analyze", "busy") == 1
        slow.gate.set()
        assert first.recv(4000).startswith(b"HTTP/1.1 200")
        for each in (first, second):
            each.close()


def test_a_batch_beyond_the_share() -> None:
    """Its pictures are counted while they are read."""
    with Live(Settings(rate=1, burst=1), open_gate) as live:
        images = [{"type": "base64", "value": "aaaa"}] * 2
        answer = httpx.post(f"http://{live.address}/v1/analyze/batch", json={"images": images}, timeout=60)
        assert answer.status_code == 429
        assert counted(live, "batch", "rate-limited") == 1


def test_an_upload_that_outlasts_its_deadline(photo_jpeg: bytes) -> None:
    with Live(Settings(), open_gate) as live:
        late = post(live, photo_jpeg[:100], "X-Timeout-Ms: 200\r\n", declared=len(photo_jpeg))
        assert late.recv(4000).startswith(b"HTTP/1.1 504")
        late.close()
        assert counted(live, "analyze", "deadline-exceeded") == 1


@pytest.mark.parametrize(
    ("path", "route"),
    [("/v1/analyze", "analyze"), ("/v1/analyze/batch", "batch"), ("/v2/models/densepose/infer", "infer")],
)
def test_a_body_that_is_too_large(path: str, route: str) -> None:
    """Whether its length is declared or not."""
    with Live(Settings(upload_memory=20_000), open_gate) as live:
        for body in (bytes(30_000), (bytes(10_000) for _ in range(3))):
            before = counted(live, route, "body-too-large")
            headers = {"Content-Type": "application/json"}
            answer = httpx.post(f"http://{live.address}{path}", content=body, headers=headers, timeout=60)
            assert answer.status_code == 413
            assert counted(live, route, "body-too-large") == before + 1


@pytest.mark.parametrize(
    ("path", "route", "kind"),
    [
        ("/v1/analyze", "analyze", "image/jpeg"),
        ("/v1/analyze/batch", "batch", "multipart/form-data; boundary=x"),
        ("/v2/models/densepose/infer", "infer", "application/json"),
    ],
)
def test_an_upload_whose_client_goes(path: str, route: str, kind: str) -> None:
    with Live(Settings(), open_gate) as live:
        gone = socket.create_connection(("127.0.0.1", live.port), timeout=60)
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\n--x"
        gone.sendall(head.encode())
        gone.close()
        until(lambda: counted(live, route, "cancelled") == 1)


def test_a_stream_too_many() -> None:
    with Live(Settings(max_streams=1), open_gate) as live:
        address = f"ws://{live.address}/v1/stream"
        with connect(address, proxy=None, open_timeout=60), pytest.raises(InvalidStatus) as refusal:
            connect(address, proxy=None, open_timeout=60)
        assert refusal.value.response.status_code == 503
        assert json.loads(refusal.value.response.body)["status"] == 503
        assert counted(live, "stream", "busy") == 1


def test_a_fault_of_the_gateway_while_a_body_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("server.routers.analyze.read_picture", broken)
    app = create_app(Settings(), open_gate)
    with TestClient(app, raise_server_exceptions=False) as client:
        wait_until_ready(client)
        assert client.post("/v1/analyze", content=b"a").status_code == 500
    found = app.state.metrics.registry.get_sample_value
    assert found("parsing_rcnn_requests_total", {"route": "analyze", "outcome": "internal-error"}) == 1


def test_wrong_options_of_a_body_are_the_callers_fault(photo_jpeg: bytes) -> None:
    app = create_app(Settings(), open_gate)
    with TestClient(app) as client:
        wait_until_ready(client)
        form = {"files": {"file": ("a.jpg", photo_jpeg)}, "data": {"options": '{"confidence": 7}'}}
        assert client.post("/v1/analyze", **form).status_code == 422
    found = app.state.metrics.registry.get_sample_value
    assert found("parsing_rcnn_requests_total", {"route": "analyze", "outcome": "invalid-options"}) == 1
    assert found("parsing_rcnn_requests_total", {"route": "analyze", "outcome": "internal-error"}) == 0
