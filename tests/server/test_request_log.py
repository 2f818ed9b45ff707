"""The line of the log for each request: why there is no answer, or what is in it."""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from starlette.testclient import TestClient
from structlog.testing import capture_logs
from websockets.sync.client import connect

from server.app import create_app
from server.keys import add_key
from server.settings import Settings
from server.telemetry import configure_logging
from tests.server.conftest import Live, wait_until_ready
from tests.server.helpers import open_gate, until
from tests.server.test_gateway import Broken


@pytest.fixture
def quick() -> Iterator[TestClient]:
    """A gateway that finds nobody, at once."""
    with TestClient(create_app(Settings(), open_gate)) as client:
        wait_until_ready(client)
        yield client


@contextmanager
def logged() -> Iterator[list[dict[str, Any]]]:
    """The lines of requests, once they are over."""
    found: list[dict[str, Any]] = []
    with capture_logs() as lines:
        yield found
    found += [dict(line) for line in lines if line["event"] == "request"]


def test_a_refusal_says_why(quick: TestClient, photo_jpeg: bytes) -> None:
    with logged() as lines:
        answers = [
            quick.post("/v1/analyze", content=b"junk"),
            quick.post("/v1/analyze?confidence=7", content=photo_jpeg),
            quick.get("/nowhere"),
            quick.get("/v1/analyze"),
        ]
    assert [line["status"] for line in lines] == [415, 422, 404, 405]
    assert [line["code"] for line in lines] == [
        "unsupported-image",
        "invalid-options",
        "not-found",
        "method-not-allowed",
    ]
    details = [answer.json()["detail"] for answer in answers]
    assert [line["detail"] for line in lines[:2]] == details[:2]
    for line, detail in zip(lines[2:], details[2:], strict=True):  # the line has method and path already
        assert detail == f"GET {line['path']}: {line['detail']}"
    assert {line["log_level"] for line in lines} == {"info"}
    assert not any({"bytes", "pictures", "failed"} & set(line) for line in lines)


def test_the_log_has_the_code_that_the_protocol_has_no_place_for(quick: TestClient) -> None:
    with logged() as lines:
        answer = quick.post("/v2/models/densepose/infer", json={"inputs": []})
    assert lines[0]["code"] == "malformed-request"
    assert lines[0]["detail"] == answer.json()["error"]


def test_what_is_ours_is_a_warning(photo_jpeg: bytes) -> None:
    with TestClient(create_app(Settings(), Broken)) as client:
        wait_until_ready(client)
        with logged() as lines:
            client.post("/v1/analyze", content=photo_jpeg)
    assert [(line["status"], line["code"], line["log_level"]) for line in lines] == [(503, "broken-model", "warning")]


def test_an_answer_says_what_is_in_it(client: TestClient, photo_jpeg: bytes) -> None:
    with logged() as lines:
        answer = client.post("/v1/analyze", content=photo_jpeg)
        client.get("/v1/models")
    people = len(answer.json()["predictions"])
    assert people >= 1
    found = [{key: line[key] for key in ("status", "bytes", "pictures", "people") if key in line} for line in lines]
    assert found[0] == {"status": 200, "bytes": len(answer.content), "pictures": 1, "people": people}
    assert set(found[1]) == {"status", "bytes"}
    assert not any("failed" in line for line in lines)


def test_a_batch_says_how_many_failed_and_why(client: TestClient, photo_jpeg: bytes) -> None:
    pictures = (photo_jpeg, b"junk", photo_jpeg[:3], b"rubbish")
    with logged() as lines:
        answer = client.post("/v1/analyze/batch", files=[("file", ("a.jpg", data)) for data in pictures])
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [200, 415, 400, 415]
    assert (lines[0]["pictures"], lines[0]["failed"]) == (4, 3)
    assert lines[0]["codes"] == {"unsupported-image": 2, "invalid-image": 1}
    assert lines[0]["people"] == len(results[0]["predictions"])


def test_a_stream_says_what_it_was_when_it_ends(photo_jpeg: bytes) -> None:
    with Live(Settings(), open_gate) as live, capture_logs() as lines:
        with connect(f"ws://{live.address}/v1/stream", proxy=None, open_timeout=60) as socket:
            sent = 0
            for number, picture in enumerate((photo_jpeg, b"junk", photo_jpeg)):
                socket.send(struct.pack("<II", number, 0) + picture)
                sent += len(str(socket.recv(60)))
        until(lambda: any(line["event"] == "request" for line in lines))
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["status"], line["pictures"], line["failed"], line["bytes"]) == (101, 3, 1, sent)
    assert line["codes"] == {"unsupported-image": 1}


@pytest.mark.parametrize("style", ["console", "json"])
def test_details_show_no_key_and_nothing_that_is_not_printable(
    style: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A caller may send the key as anything, and errors quote names that they do not know."""
    keys = tmp_path / "keys.txt"
    key = add_key(keys, "alice")
    try:
        configure_logging(style)
        with TestClient(create_app(Settings(keys=keys), open_gate)) as client:
            wait_until_ready(client)
            capsys.readouterr()
            mine = {"X-API-Key": key}
            client.post(f"/v1/analyze?{key}=1&%1b%5b31m=2", content=b"x", headers=mine)
            client.get(f"/v1/{key}", headers=mine)
            client.post("/v1/analyze", content=b"x", headers={"X-API-Key": f"{key}x"})
            client.get("/v1/taxonomies", headers={"X-Request-ID": key})
            client.post(f"/{'y' * 3000}", headers=mine)
        said = capsys.readouterr().err
    finally:
        logging.getLogger().handlers.clear()
        structlog.reset_defaults()
    lines = said.splitlines()
    assert len(lines) == 5
    assert key.removeprefix("prcnn_")[:20] not in said
    assert all(word in line for word, line in zip(("no such option", "not-found", "unauthorized"), lines, strict=False))
    assert "\x1b[31m" not in said
    assert max(map(len, lines)) < 1500


def test_the_level_is_what_is_set(capsys: pytest.CaptureFixture[str], photo_jpeg: bytes) -> None:
    def events(level: str) -> list[tuple[str, str]]:
        try:
            configure_logging("json", level)
            with TestClient(create_app(Settings(log_level=level), Broken)) as client:
                wait_until_ready(client)
                capsys.readouterr()
                client.get("/healthz")
                client.get("/v1/taxonomies")
                client.post("/v1/analyze", content=photo_jpeg)
            lines = map(json.loads, capsys.readouterr().err.splitlines())
        finally:
            logging.getLogger().handlers.clear()
            structlog.reset_defaults()
        return [(line["level"], line.get("path", "")) for line in lines if "logger" not in line]

    failed = [("error", ""), ("warning", "/v1/analyze")]
    for level in ("debug", "info"):
        assert events(level) == [("info", "/v1/taxonomies"), *failed]
    assert events("warning") == failed
    assert events("error") == failed[:1]
