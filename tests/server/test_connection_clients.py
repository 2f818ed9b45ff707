"""What clients do with a connection: they read slowly, send on though they are refused, leave, and add blanks."""

from __future__ import annotations

import io
import logging
import re
import socket
import struct
import urllib.error
import urllib.request
from contextlib import ExitStack

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from structlog.testing import capture_logs

from parsing_rcnn.analyzer import Options
from parsing_rcnn.people import People
from server.connection import ConnectionLimits
from server.settings import Settings
from tests.server.clock import Clock
from tests.server.conftest import Live, Slow
from tests.server.helpers import metric, post, until
from tests.server.test_connection import NPZ, QUERY, Talkative, asking, closed, come, everything, opened, problem

UPLOAD = 16_000_000  # bytes, more than sockets hold by themselves


def talkative(limits: ConnectionLimits, clock: Clock, held: int, keep_alive: int = 75) -> Live:
    """A gateway with an answer of 2 MB, of which the system holds so much."""
    live = Live(Settings(), Talkative, limits, clock=clock)
    live.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, held)
    live.server.config.timeout_keep_alive = keep_alive
    return live


def read(connection: socket.socket, clock: Clock, pace: float) -> int:
    """Read an answer at so many bytes a second of the clock. Returns how many of its body are missing."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(1024)
    head, _, body = received.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", head)
    assert found is not None
    left = int(found[1]) - len(body)
    while left and (piece := connection.recv(min(left, 16384))):
        left -= len(piece)
        clock.forward(len(piece) / pace)
    return left


def test_an_answer_is_not_cut_off_for_being_read_longer_than_connections_may_rest(photo_jpeg: bytes) -> None:
    clock = Clock()
    with talkative(ConnectionLimits(), clock, 65536, keep_alive=1) as live, asking(live, photo_jpeg) as connection:
        assert read(connection, clock, 600_000) == 0
        clock.forward(1)
        assert everything(connection) == b""  # and then it is closed


def test_behind_an_answer_that_was_read_slowly_comes_the_next_one(photo_jpeg: bytes) -> None:
    limits, clock = ConnectionLimits(head_seconds=0.5), Clock()
    with talkative(limits, clock, 65536) as live, asking(live, photo_jpeg) as connection:
        assert connection.recv(1, socket.MSG_PEEK)
        connection.sendall(b"GET /heal")  # while the other one is on its way
        come(live, len(b"GET /heal"))
        assert read(connection, clock, 1_000_000) == 0
        connection.sendall(b"thz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert everything(connection).startswith(b"HTTP/1.1 200")


def test_who_has_not_read_all_does_not_make_room(photo_jpeg: bytes) -> None:
    clock = Clock()
    with talkative(ConnectionLimits(connections=2), clock, 65536) as live, asking(live, photo_jpeg) as reading:
        assert reading.recv(12) == b"HTTP/1.1 200"
        silent = opened(live)  # which has said nothing for a shorter time
        until(lambda: len(live.server.server_state.connections) == 2)
        assert everything(opened(live, QUERY + "Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert everything(silent) == b""
        assert read(reading, clock, 10_000_000) == 0


def test_a_reader_is_not_let_go_for_what_the_system_holds(photo_jpeg: bytes) -> None:
    """It takes more only when a third of its share is gone: for longer than `read_seconds` here."""
    limits, clock = ConnectionLimits(read_seconds=0.5), Clock()  # so 128 KiB a second
    with talkative(limits, clock, 1_000_000) as live, asking(live, photo_jpeg) as connection, capture_logs() as lines:
        assert read(connection, clock, 350_000) == 0
    assert not closed(lines)


def test_the_log_says_whose_answer_was_not_read(photo_jpeg: bytes) -> None:
    limits, clock = ConnectionLimits(read_seconds=0.5), Clock()
    with talkative(limits, clock, 65536) as live, asking(live, photo_jpeg) as connection, capture_logs() as lines:
        head = connection.recv(2000)
        until(lambda: closed(lines) or clock.forward(limits.read_seconds))
    (line,) = closed(lines)
    assert line["client"] == "127.0.0.1"
    assert f"\r\nx-request-id: {line['request_id']}\r\n".encode() in head


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/analyze?x=1", 422, "invalid-options"),
        ("/nowhere", 404, "not-found"),
        ("/v1/analyze", 413, "body-too-large"),
    ],
)
def test_who_wants_the_connection_closed_may_send_the_rest_and_reads_why(
    version: str, path: str, status: int, code: str
) -> None:
    slow = Slow()
    slow.gate.set()
    settings = Settings(max_bytes=2000 if status == 413 else UPLOAD)
    with Live(settings, lambda: slow, ConnectionLimits(linger_seconds=30)) as live:
        size = f"Content-Length: {UPLOAD}\r\n"
        for body in (b"", bytes(UPLOAD)):  # who sends no more reads the end, too
            head = f"POST {path} HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\n{size}\r\n"
            connection = opened(live, head)
            connection.sendall(body)
            problem(everything(connection), status, code)


def test_urllib_reads_why_it_is_refused(photo_jpeg: bytes) -> None:
    slow = Slow()
    with Live(Settings(workers=1, queue=0), lambda: slow, ConnectionLimits(linger_seconds=30)) as live:
        first = post(live, photo_jpeg)
        assert slow.begun.acquire(timeout=60)
        for _ in range(5):
            with pytest.raises(urllib.error.HTTPError) as refusal:
                urllib.request.urlopen(f"http://{live.address}/v1/analyze", data=bytes(UPLOAD), timeout=60)
            assert refusal.value.code == 503
        slow.gate.set()
        assert first.recv(4000).startswith(b"HTTP/1.1 200")
        first.close()


@pytest.mark.parametrize("leave", ["closed", "reset"])
@pytest.mark.parametrize("behind", ["GET", "POST"])
def test_who_leaves_with_requests_behind_the_one_in_work_cancels_them(
    caplog: pytest.LogCaptureFixture, leave: str, behind: str
) -> None:
    slow, buffer = Slow(), io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    with Live(Settings(), lambda: slow) as live, capture_logs() as lines, caplog.at_level(logging.ERROR):
        size = f"Content-Length: {buffer.tell()}\r\n"
        request = f"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\n{size}\r\n".encode() + buffer.getvalue()
        connection = socket.create_connection(("127.0.0.1", live.port), timeout=60)
        if leave == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(request + (request if behind == "POST" else (QUERY + "\r\n").encode()))
        assert slow.begun.acquire(timeout=60)
        connection.close()
        until(lambda: metric(live, 'parsing_rcnn_requests_total{outcome="cancelled",route="analyze"}') == 1)
        slow.gate.set()
        until(lambda: metric(live, "parsing_rcnn_held") == 0)
        assert not slow.begun.acquire(timeout=0.3)  # the one behind it never began
        assert metric(live, 'parsing_rcnn_requests_total{outcome="ok",route="analyze"}') == 0
    told = [(line["status"], line["path"]) for line in lines if line["event"] == "request"]
    assert told == [(499, "/v1/analyze")]
    assert not [line for line in lines if line["log_level"] == "error"]
    assert not caplog.records


def test_blanks_around_a_headers_value_are_no_part_of_it(photo_jpeg: bytes) -> None:
    slow = Slow()
    slow.gate.set()
    with Live(Settings(), lambda: slow) as live:
        blanks = "X-Request-ID: \t mine \t\r\nX-Timeout-Ms: 60000 \r\nContent-Encoding: identity\t\r\n"
        answer = everything(post(live, photo_jpeg, blanks + "Connection: close\r\n"))
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert b"\r\nx-request-id: mine\r\n" in answer.lower()


class Several(Talkative):
    """Answers with as many people as may be found, 30 kB each."""

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        people = super().analyze(image, options)
        return people if not isinstance(image, bytes) else people[: options.max_people]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_who_wants_the_connection_closed_and_does_not_read_is_let_go(photo_jpeg: bytes, version: str) -> None:
    """Whatever the system does not hold of the answer: of one of these sizes that is less than 64 KiB."""
    limits, clock = ConnectionLimits(read_seconds=0.5), Clock()
    live = Live(Settings(workers=1, queue=64), Several, limits, clock=clock)
    live.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)

    def ask(people: int) -> socket.socket:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", live.port))
        head = f"POST /v1/analyze?max_people={people} HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\n"
        head += f"{NPZ}Content-Length: {len(photo_jpeg)}\r\n\r\n"
        connection.sendall(head.encode() + photo_jpeg)
        return connection

    with live, ExitStack() as held:
        for people in range(1, 16):
            with ask(people) as reading:
                assert read(reading, clock, 4_000_000) == 0
                assert everything(reading) == b""
        with capture_logs() as lines:
            state = live.server.server_state
            wanted = state.total_requests + 15
            for people in range(1, 16):
                held.enter_context(ask(people))
            until(lambda: state.total_requests == wanted)
            until(lambda: not state.connections or clock.forward(limits.read_seconds))
        assert closed(lines)
