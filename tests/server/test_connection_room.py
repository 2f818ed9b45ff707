"""Answers that are read slowly: how long each may take, what they may hold together, and who makes way for whom."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from parsing_rcnn.analyzer import Options
from parsing_rcnn.people import People
from server.connection import ConnectionLimits
from server.connection.readers import Reader, Readers
from server.settings import Settings
from tests.server.clock import Clock
from tests.server.conftest import Live, Slow
from tests.server.helpers import answered, metric, open_gate, post, until
from tests.server.test_connection import (
    NPZ,
    QUERY,
    Talkative,
    asking,
    closed,
    drained,
    everything,
    opened,
    problem,
)
from tests.server.test_connection_clients import read, talkative
from tests.server.test_stream_connection import STREAM

MODELS = QUERY.replace("/healthz", "/v1/models")
UNREAD = "parsing_rcnn_unread_bytes"
BUNDLE = "GET /docs-assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"  # 1.5 MB


def status(live: Live, head: str) -> int:
    """Of the answer to a request over a connection of its own."""
    return int(everything(opened(live, head + "Connection: close\r\n\r\n")).split()[1])


def loading(live: Live, requests: int) -> socket.socket:
    """A connection that holds little by itself, and asks for a large file so many times at once."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", live.port))
    connection.sendall(BUNDLE.encode() * requests)
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection


def resting(live: Live, bytes_: float) -> None:
    """Wait until so many bytes, at least, wait to be read."""
    until(lambda: metric(live, UNREAD) >= bytes_)


@pytest.mark.parametrize(("pace", "whole"), [(300_000, False), (1_500_000, True)])
def test_a_large_answer_is_read_in_so_many_seconds(photo_jpeg: bytes, pace: float, whole: bool) -> None:
    """2 MB in 4 s: at 64 KiB in half a second they would take 15."""
    limits, clock = ConnectionLimits(read_seconds=0.5, answer_seconds=4), Clock()
    with talkative(limits, clock, 65536) as live, asking(live, photo_jpeg) as connection, capture_logs() as lines:
        left = 1
        with suppress(ConnectionResetError):
            left = read(connection, clock, pace)
        assert (left == 0) is whole
        if not whole:
            until(lambda: closed(lines))
        assert ["all may take 4 s" in line["reason"] for line in closed(lines)] == [True] * (not whole)
        until(lambda: metric(live, UNREAD) == 0)


def test_ordinary_links_are_not_cut(photo_jpeg: bytes) -> None:
    """1 Mbit/s, with the limits of the default."""
    clock = Clock()
    with talkative(ConnectionLimits(), clock, 65536) as live, asking(live, photo_jpeg) as connection:
        assert read(connection, clock, 125_000) == 0


def test_beyond_so_many_unread_bytes_the_slowest_goes_first(photo_jpeg: bytes) -> None:
    limits, clock = ConnectionLimits(unread_bytes=3_000_000), Clock()
    with talkative(limits, clock, 65536) as live, ExitStack() as held, capture_logs() as lines:
        slow = held.enter_context(asking(live, photo_jpeg))
        resting(live, 1_500_000)
        clock.forward(10)
        fast = held.enter_context(asking(live, photo_jpeg))
        until(lambda: closed(lines))
        assert "the limit is 3000000" in closed(lines)[0]["reason"]
        assert read(fast, clock, 2_000_000) == 0
        with suppress(ConnectionResetError):
            assert read(slow, clock, 1e9) > 0
        assert len(closed(lines)) == 1
        until(lambda: metric(live, UNREAD) == 0)


def test_beyond_so_many_unread_bytes_nothing_is_computed_while_nobody_is_slow(photo_jpeg: bytes) -> None:
    limits, clock = ConnectionLimits(unread_bytes=3_000_000), Clock()
    with talkative(limits, clock, 65536) as live, ExitStack() as held, capture_logs() as lines:
        two = [held.enter_context(asking(live, photo_jpeg)) for _ in range(2)]
        resting(live, 3_000_000)
        refused = everything(post(live, photo_jpeg, NPZ))
        assert "--upload-memory" in str(problem(refused, 503, "busy")["detail"])
        assert b"\r\nretry-after: 1\r\n" in refused
        assert status(live, MODELS) == 200
        assert [read(each, clock, 10_000_000) for each in two] == [0, 0]
        until(lambda: metric(live, UNREAD) == 0)
        assert everything(post(live, photo_jpeg, "Connection: close\r\n")).startswith(b"HTTP/1.1 200")
        assert not closed(lines)


def test_the_limit_is_that_of_uploads(photo_jpeg: bytes) -> None:
    settings = Settings(upload_memory=1_000_000)
    live = Live(settings, Talkative, clock=Clock())
    live.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    with live, asking(live, photo_jpeg):
        resting(live, 1_500_000)
        problem(everything(post(live, photo_jpeg)), 503, "busy")


def test_who_asks_for_files_and_does_not_read_them_makes_way() -> None:
    limits = ConnectionLimits(connections=3)
    live = Live(Settings(), Slow, limits, clock=Clock())
    live.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    with live, ExitStack() as held, capture_logs() as lines:
        for _ in range(3):
            held.enter_context(loading(live, 20))
        until(lambda: all(each._reader.waits for each in list(live.server.server_state.connections)))  # type: ignore[union-attr]
        assert status(live, QUERY) == 200
        until(lambda: closed(lines))
        assert "--max-connections" in closed(lines)[0]["reason"]
        for _ in range(3):
            held.enter_context(loading(live, 20))
            assert status(live, MODELS) == 200


def test_computed_answers_make_way_only_where_their_readers_would_need_long(photo_jpeg: bytes) -> None:
    limits, clock = ConnectionLimits(connections=2, read_seconds=1000), Clock()
    with talkative(limits, clock, 65536) as live, ExitStack() as held, capture_logs() as lines:
        for _ in range(2):
            assert held.enter_context(asking(live, photo_jpeg)).recv(12) == b"HTTP/1.1 200"
        until(lambda: all(each.cycle.response_complete for each in list(live.server.server_state.connections)))  # type: ignore[union-attr]
        for head, code in ((MODELS, 503), (QUERY, 200)):
            assert status(live, head) == code
            until(lambda: len(live.server.server_state.connections) == 2)
        assert not closed(lines)
        clock.forward(20)
        assert status(live, MODELS) == 200
        assert len(closed(lines)) == 1


def test_with_every_connection_at_work_probes_are_answered(photo_jpeg: bytes) -> None:
    slow, limits = Slow(), ConnectionLimits(connections=2, probes=3)
    with Live(Settings(), lambda: slow, limits, clock=Clock()) as live, ExitStack() as held:
        busy = [held.enter_context(post(live, photo_jpeg)) for _ in range(2)]
        until(lambda: live.app.state.service.admission.held == 2)
        for _ in range(3):
            for path in ("/healthz", "/readyz", "/livez?a=b", "/v2/health/live"):
                answer = everything(opened(live, QUERY.replace("/healthz", path) + "\r\n"))
                assert answer.startswith(b"HTTP/1.1 200"), path
                assert b"\r\nconnection: close\r\n" in answer
        for head in (MODELS, QUERY.replace("/healthz", "/healthz/a"), STREAM):
            problem(everything(opened(live, head + "\r\n")), 503, "busy")
        slow.gate.set()
        for connection in busy:
            assert answered(connection).startswith(b"HTTP/1.1 200")
        until(lambda: status(live, MODELS) == 200)


def test_the_refused_do_not_become_more_and_more(photo_jpeg: bytes) -> None:
    """Though each stays for a while, to read why, and makes way for the next one."""
    slow, limits = Slow(), ConnectionLimits(connections=2, probes=3)
    with Live(Settings(), lambda: slow, limits, clock=Clock()) as live, ExitStack() as held:
        for _ in range(2):
            held.enter_context(post(live, photo_jpeg))
        until(lambda: live.app.state.service.admission.held == 2)
        for _ in range(20):
            connection = held.enter_context(opened(live, MODELS + "\r\n"))
            problem(answered(connection), 503, "busy")
        assert len(live.server.server_state.connections) <= 6
        slow.gate.set()


def test_so_many_requests_may_wait_for_the_answers_to_others() -> None:
    last = QUERY + "Connection: close\r\n\r\n"
    with Live(Settings(), open_gate, clock=Clock()) as live:
        for behind in (32, 33, 5000):
            answers = everything(opened(live, (QUERY + "\r\n") * behind + last))
            found = re.findall(rb"HTTP/1.1 (\d+)", answers)
            assert found == [b"200"] * 33 + [b"400"] * (behind > 32)
            if behind > 32:
                refused = problem(answers[answers.rindex(b"HTTP/1.1 ") :], 400, "malformed-request")
                assert "before this request 32" in str(refused["detail"])


class Counting(Talkative):
    """Counts the pictures that it was given."""

    count = 0

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        self.count += isinstance(image, bytes)
        return super().analyze(image, options)


def test_an_answer_is_not_computed_before_the_one_ahead_is_read(photo_jpeg: bytes) -> None:
    counting, clock = Counting(), Clock()
    live = Live(Settings(), lambda: counting, ConnectionLimits(), clock=clock)
    live.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    with live, asking(live, photo_jpeg) as connection:
        head = f"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\n{NPZ}Content-Length: {len(photo_jpeg)}\r\n\r\n"
        connection.sendall(head.encode() + photo_jpeg)
        resting(live, 1_500_000)
        assert status(live, MODELS) == 200  # meanwhile others have their turn
        assert counting.count == 1
        assert read(connection, clock, 10_000_000) == 0
        assert read(connection, clock, 10_000_000) == 0
        assert counting.count == 2


KEY = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"


@pytest.mark.parametrize(
    ("replaced", "by", "code", "word"),
    [
        (KEY, "", 400, "missing Sec-WebSocket-Key"),
        (KEY, "Sec-WebSocket-Key: short\r\n", 400, "short"),
        (KEY, KEY + KEY, 400, "multiple values"),
        ("Sec-WebSocket-Version: 13\r\n", "", 400, "missing Sec-WebSocket-Version"),
        ("Version: 13", "Version: 99", 426, "version 13"),
        ("Version: 13", "Version: eight", 426, "version 13"),
    ],
    ids=["no key", "a bad key", "two keys", "no version", "another version", "no number"],
)
def test_a_handshake_that_is_wrong_is_refused_as_all_else_is(replaced: str, by: str, code: int, word: str) -> None:
    assert replaced in STREAM
    with Live(Settings(), open_gate, clock=Clock()) as live, capture_logs() as lines:
        answer = everything(opened(live, STREAM.replace(replaced, by) + "\r\n"))
        name = "malformed-request" if code == 400 else "unknown-websocket-version"
        document = problem(answer, code, name)
        assert word in str(document["detail"])
        drained(live)
        assert metric(live, f'parsing_rcnn_answers_total{{status="{code}"}}') == 1
    (line,) = [line for line in lines if line["event"] == "refused"]
    assert (line["status"], line["request_id"]) == (code, document["request_id"])
    assert (re.search(rb"\r\nsec-websocket-version: 13\r\nupgrade: websocket\r\n", answer) is not None) is (code == 426)


def test_behind_a_wrong_handshake_nothing_is_left(photo_jpeg: bytes) -> None:
    with Live(Settings(), open_gate, clock=Clock()) as live:
        with opened(live, STREAM.replace(KEY, "") + "\r\n" + struct.pack(">BB", 0x82, 0x80).decode("latin-1")) as wrong:
            assert wrong.recv(12) == b"HTTP/1.1 400"
        drained(live)
        assert everything(post(live, photo_jpeg, "Connection: close\r\n")).startswith(b"HTTP/1.1 200")


class Unread:
    """What a transport says of what is written and was not read."""

    left, gone = 0, False

    def get_write_buffer_size(self) -> int:
        return self.left

    def get_extra_info(self, _: str) -> None:
        return None

    def abort(self) -> None:
        self.gone = True


class Seconds:
    """A loop with one timer, in which a second passes when a test says so."""

    now, due = 0.0, None

    def time(self) -> float:
        return self.now

    def call_later(self, _: float, act: Callable[..., None], *arguments: Any) -> Any:
        self.due = partial(act, *arguments)
        return SimpleNamespace(cancel=lambda: setattr(self, "due", None))

    def next(self) -> None:
        self.now += 1
        if self.due is not None:
            self.due()


@pytest.mark.parametrize("another", [False, True])
def test_the_pieces_of_an_answer_have_its_time_together(another: bool) -> None:
    """4 s for all: a second piece of 1 MB is read as fast as the first one, but for one second."""
    loop, transport, readers = Seconds(), Unread(), Readers(2**30)
    limits = ConnectionLimits(read_seconds=1, answer_seconds=4)
    reader = Reader(transport, limits, loop, readers)  # type: ignore[arg-type]
    for piece in range(2):
        transport.left = 1_000_000
        reader.begin({})
        for _ in range(3):
            transport.left -= 300_000
            loop.next()
            assert transport.gone is (piece == 1 and not another)
        reader.end()
        loop.now += 100  # the next one is computed
        if another:
            reader.next_answer()
    assert readers.unread == 0
