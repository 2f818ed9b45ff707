"""What a stream's parser is fed, and how long its client may take for a frame."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from server.connection import ConnectionLimits
from server.connection.frames import Frames
from server.connection.stream import Stream
from server.settings import Settings
from tests.server.clock import Clock
from tests.server.conftest import Live
from tests.server.helpers import open_gate, until
from tests.server.test_connection import closed, everything
from tests.server.test_stream import frame
from tests.server.test_stream_connection import accepted, messages, of

LIMITS = ConnectionLimits(message_seconds=1000.0)
PERIOD = 20.0  # seconds between pings, and until the pong is missed


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def live(clock: Clock) -> Iterator[Live]:
    with Live(Settings(), open_gate, LIMITS, clock=clock) as running:
        yield running


def long_frame(message: bytes) -> bytes:
    return b"\x82\xff" + struct.pack(">QI", len(message), 0) + message


def arrived(live: Live, size: int) -> Stream:
    """The stream, when so many bytes of a message have come."""
    (stream,) = of(live, Stream)
    until(lambda: stream._share.size == size)
    return stream  # type: ignore[no-any-return]


def test_the_bytes_of_a_frame_are_a_sign_of_life(live: Live, clock: Clock, photo_jpeg: bytes) -> None:
    """Its client can answer no ping before the frame ends."""
    message = long_frame(frame(5, photo_jpeg))
    step = len(message) // 10 + 1
    with accepted(live) as connection:
        for at in range(0, len(message) - step, step):
            connection.sendall(message[at : at + step])
            stream = arrived(live, at + step)
            until(lambda stream=stream: stream.pong_timer is None)
            clock.forward(PERIOD)
            assert stream.pong_timer is not None  # a ping was sent
        connection.sendall(message[-(len(message) % step or step) :])
        received = b""
        while b"frame_id" not in received:
            received += connection.recv(65536)
    assert received.count(b"\x89\x04") >= 9  # pings
    assert b'"frame_id":5' in received


def test_who_stops_within_a_frame_is_gone(live: Live, clock: Clock) -> None:
    with accepted(live) as connection, capture_logs() as lines:
        connection.sendall(long_frame(bytes(100_000))[:50_000])
        arrived(live, 50_000)
        clock.forward(PERIOD)
        clock.forward(PERIOD)
        *_, (kind, payload) = messages(everything(connection))
    assert (kind, struct.unpack_from(">H", payload)[0]) == (8, 1011)
    (line,) = closed(lines)
    assert line["reason"] == "nothing came for 20 s after a ping"
    assert line["client"] == "127.0.0.1"


def test_who_answers_pings_may_be_silent(live: Live, clock: Clock) -> None:
    with accepted(live) as connection:
        for _ in range(3):
            clock.forward(PERIOD)
            ping = connection.recv(6)
            assert ping[:2] == b"\x89\x04"
            (stream,) = of(live, Stream)
            connection.sendall(b"\x8a\x84\0\0\0\0" + ping[2:])
            until(lambda stream=stream: stream.pong_timer is None)
        connection.sendall(long_frame(frame(7, b"")))
        assert json.loads(next(payload for _, payload in messages(connection.recv(4000))))["frame_id"] == 7


@pytest.mark.parametrize("most", [1, 7, 1000, 70_000])
def test_cuts_change_nothing_but_when_a_long_frame_comes(most: int) -> None:
    chance = random.Random(most)
    sent, long = bytearray(), []
    for size in (0, 1, 125, 126, 65_535, 65_536, 65_537, 200_000, 3, 0):
        header = {size: bytes([128 | size])} if size < 126 else {}
        sent += b"\x82" + header.get(size, b"\xfe" + struct.pack(">H", size) if size < 65_536 else b"")
        if size >= 65_536:
            sent += b"\xff" + struct.pack(">Q", size)
        payload = chance.randbytes(size)
        sent += chance.randbytes(4) + payload
        long += [payload] if size > 65_536 else []
    frames, come, fed, taken = Frames(), bytearray(), [], 0
    for at in range(0, len(sent), most):
        come += sent[at : at + most]
        while come:
            piece, count = frames.cut(come, most)
            taken += count
            fed.append(piece)
    assert b"".join(fed) == sent
    assert taken == len(sent)
    assert all(payload in fed for payload in long)  # each in one piece
    assert max(len(piece) for piece in fed if piece not in long) <= max(most, 14)


def test_who_reads_slowly_what_stands_before_a_ping_is_not_gone(
    live: Live, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 3_000_000
    monkeypatch.setattr("server.connection.stream.untaken", lambda _: left)
    with accepted(live) as connection, capture_logs() as lines:
        clock.forward(PERIOD)  # a ping is sent
        for _ in range(3):
            left -= 1_000_000
            clock.forward(PERIOD)
        assert connection.recv(65536) == b"\x89\x04" + of(live, Stream)[0].pending_ping_payload
        clock.forward(PERIOD)  # everything was read for a while, and nothing came
        *_, (kind, payload) = messages(everything(connection))
    assert (kind, struct.unpack_from(">H", payload)[0]) == (8, 1011)
    assert len(closed(lines)) == 1


def test_small_frames_are_a_sign_of_life(live: Live, clock: Clock) -> None:
    with accepted(live) as connection, capture_logs() as lines:
        for number in range(3):
            clock.forward(PERIOD)
            assert of(live, Stream)[0].pong_timer is not None
            connection.sendall(long_frame(frame(number, b"")))
            until(lambda: of(live, Stream)[0].pong_timer is None)
        assert not closed(lines)
