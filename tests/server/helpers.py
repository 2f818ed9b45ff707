"""What tests of the gateway share: requests, answers and metrics."""

from __future__ import annotations

import io
import random
import re
import socket
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from parsing_rcnn.cli import main
from tests.server.conftest import Live, Slow


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as a file: JPEG, PNG and so on."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def people_of(response: Any) -> list[dict[str, Any]]:
    """The predictions of an answer, which must be 200."""
    assert response.status_code == 200, response.text
    predictions: list[dict[str, Any]] = response.json()["predictions"]
    return predictions


def refused(response: Any, status: int, *words: str) -> None:
    """Assert that an answer is a problem document of this status, and that its detail has these words."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"].startswith("urn:parsing-rcnn:")
    assert problem["request_id"] == response.headers["x-request-id"]
    for word in words:
        assert word in problem["detail"], problem["detail"]
    assert "Traceback" not in response.text


def metric(live: Live, name: str) -> float:
    """A value of /metrics, by its name with labels; 0 where it is not there."""
    with urllib.request.urlopen(f"http://{live.address}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + " ")), 0.0)


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Block until the condition holds, and fail where it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


def post(live: Live, body: bytes, headers: str = "", declared: int | None = None) -> socket.socket:
    """A connection over which a picture was sent; `declared` says another Content-Length than the body's."""
    connection = socket.create_connection(("127.0.0.1", live.port), timeout=60)
    length = len(body) if declared is None else declared
    connection.sendall(
        f"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n".encode()
    )
    connection.sendall(body)
    return connection


def answered(connection: socket.socket) -> bytes:
    """One whole answer, whose head says how long its body is; they may come one after the other."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(connection, received)
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    assert length is not None, head
    while len(body) < int(length[1]):
        body += _more(connection, received)
    return head + b"\r\n\r\n" + body


def _more(connection: socket.socket, received: bytes) -> bytes:
    piece = connection.recv(65536)
    assert piece, received[:1000]
    return piece


def spare_ports(count: int) -> list[int]:
    """So many: see `spare_port`."""
    found: set[int] = set()
    while len(found) < count:
        found.add(spare_port())
    return list(found)


def spare_port() -> int:
    """A port that nobody listens on, and that the system gives to nobody who asks for any: it stays free until it is
    used. Without Linux it may be given away."""
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(given.read_text().split()[0]) if given.exists() else 0
    for port in random.SystemRandom().sample(range(23000, first), 50) if first > 23100 else []:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def open_gate() -> Slow:
    """An analyzer that finds nobody, at once."""
    slow = Slow()
    slow.gate.set()
    return slow


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run `parsing-rcnn` with these arguments in this process. Returns its exit status."""
    monkeypatch.setattr("sys.argv", ["parsing-rcnn", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)
