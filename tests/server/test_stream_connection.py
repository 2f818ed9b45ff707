"""What a stream's connection may take: a handshake, fragments, time, pings, and the place of an earlier request."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from server.connection import ConnectionLimits
from server.connection.http import Connection
from server.connection.stream import Stream
from server.settings import Settings
from tests.server.clock import Clock
from tests.server.conftest import Live, Slow
from tests.server.helpers import answered, post, until
from tests.server.test_connection import NPZ, QUERY, Talkative, everything, problem
from tests.server.test_connection import opened as connected
from tests.server.test_stream import frame, opened

LIMITS = ConnectionLimits(connections=16, head_seconds=30, read_seconds=60, linger_seconds=30, message_seconds=1.0)
UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
STREAM = f"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}Sec-WebSocket-Version: 13\r\n"


@pytest.fixture(scope="module")
def clock() -> Clock:
    """Of `strict`."""
    return Clock()


@pytest.fixture(scope="module")
def strict(clock: Clock) -> Iterator[Live]:
    """A gateway of few connections and with little patience for messages."""
    slow = Slow()
    slow.gate.set()
    live = Live(Settings(), lambda: slow, LIMITS, clock=clock)
    live.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)  # else the system holds what nobody reads
    with live:
        yield live


def healthy(live: Live) -> bool:
    return everything(connected(live, QUERY + "Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200")


def accepted(live: Live) -> socket.socket:
    """A stream without the comfort of a library."""
    connection = connected(live, STREAM + "\r\n")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    assert head.startswith(b"HTTP/1.1 101"), head
    return connection


def sent(opcode: int, payload: bytes, last: bool = True) -> bytes:
    """A client's frame, with a mask of zeros."""
    assert len(payload) < 126
    return struct.pack(">BBI", opcode | 0x80 * last, 0x80 | len(payload), 0) + payload


def messages(received: bytes) -> Iterator[tuple[int, bytes]]:
    """Opcode and payload of each of a server's frames."""
    while received:
        kind, size, at = received[0] & 15, received[1], 2
        if size == 126:
            size, at = struct.unpack_from(">H", received, 2)[0], 4
        assert len(received) >= at + size
        yield kind, received[at : at + size]
        received = received[at + size :]


@pytest.mark.parametrize(
    ("head", "status", "code", "word"),
    [
        (STREAM.replace("v1/stream", "v1/stream?a=" + "x" * 8200), 431, "headers-too-large", "8192"),
        (STREAM.replace("v1/stream", "nowhere") + f"Cookie: {'c' * 8200}\r\n", 431, "headers-too-large", "8192"),
        (STREAM + "".join(f"X-{k}: a\r\n" for k in range(130)), 431, "headers-too-large", "128"),
        (STREAM.replace("v1/stream", "v1/stream?a=é"), 400, "malformed-request", "HTTP/1.1"),
    ],
    ids=["address", "header", "many headers", "letters"],
)
def test_a_head_that_the_streams_parser_cannot_read_is_refused(
    strict: Live, head: str, status: int, code: str, word: str
) -> None:
    with capture_logs() as lines:
        assert word in str(problem(everything(connected(strict, head + "\r\n")), status, code)["detail"])
    assert [(line["event"], line["status"]) for line in lines] == [("refused", status)]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (STREAM + f"Cookie: {'c' * 8200}\r\n\r\n", 431),
        ("POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf", 404),
        ("POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    ],
    ids=["a stream", "a body", "a bad body"],
)
def test_the_refused_make_room(strict: Live, request_: str, status: int) -> None:
    """Though the gateway waits for what may still come of them."""
    refused = [connected(strict, request_) for _ in range(LIMITS.connections)]
    for connection in refused:
        assert connection.recv(4000).startswith(f"HTTP/1.1 {status} ".encode())
    assert all(healthy(strict) for _ in range(3))
    for connection in refused:
        connection.close()


def of(live: Live, kind: type[Connection] | type[Stream]) -> list[Any]:
    return [each for each in list(live.server.server_state.connections) if isinstance(each, kind)]


def waiting(live: Live, photo_jpeg: bytes) -> socket.socket:
    """A stream that is not accepted, as the answer to the request before it lies unread."""
    before = len(of(live, Stream))
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", live.port))
    head = f"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\n{NPZ}Content-Length: {len(photo_jpeg)}\r\n\r\n"
    connection.sendall(head.encode() + photo_jpeg)
    until(lambda: any(each.cycle is not None and each.cycle.response_complete for each in of(live, Connection)))
    connection.sendall((STREAM + "\r\n").encode())
    until(lambda: len(of(live, Stream)) > before)
    return connection


def unread(limits: ConnectionLimits, clock: Clock) -> Live:
    """A gateway whose answers a socket does not hold by itself."""
    live = Live(Settings(), Talkative, limits, clock=clock)
    live.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    return live


def test_streams_that_are_not_accepted_make_room(photo_jpeg: bytes) -> None:
    with unread(ConnectionLimits(connections=3), Clock()) as live:
        streams = [waiting(live, photo_jpeg) for _ in range(3)]
        assert not any(each.handshake_complete for each in of(live, Stream))
        assert all(healthy(live) for _ in range(3))
        for connection in streams:
            connection.close()


def test_a_handshake_has_an_end(photo_jpeg: bytes) -> None:
    clock = Clock()
    with unread(ConnectionLimits(head_seconds=0.5), clock) as live, capture_logs() as lines:
        connection = waiting(live, photo_jpeg)
        clock.forward(0.5)
        until(lambda: not of(live, Stream))
        connection.close()
    assert [line["reason"] for line in lines if line["event"] == "closed"] == ["the handshake did not end within 0.5 s"]


def test_a_stream_does_not_overtake_a_request(photo_jpeg: bytes) -> None:
    slow = Slow()
    with Live(Settings(), lambda: slow) as live:
        connection = post(live, photo_jpeg)
        assert slow.begun.acquire(timeout=60)
        connection.sendall((STREAM + "\r\n").encode())
        document = problem(everything(connection), 400, "malformed-request")
        assert "wait for that" in str(document["detail"])
        slow.gate.set()


def test_a_stream_may_begin_behind_an_answer(strict: Live, photo_jpeg: bytes) -> None:
    connection = connected(strict, QUERY + "\r\n")
    assert answered(connection).startswith(b"HTTP/1.1 200")
    connection.sendall((STREAM + "\r\n").encode())
    assert connection.recv(4000).startswith(b"HTTP/1.1 101")
    connection.close()


@pytest.mark.parametrize("piece", [b"", b"a"], ids=["empty", "one byte"])
def test_a_message_of_tiny_fragments_ends_the_stream(strict: Live, piece: bytes) -> None:
    with accepted(strict) as connection:
        connection.sendall(sent(2, piece, last=False) + sent(0, piece, last=False) * 600)
        (kind, payload), *more = messages(everything(connection))
    assert (kind, struct.unpack_from(">H", payload)[0], more) == (8, 1008, [])
    assert b"512 fragments of less than 1024 bytes" in payload


def test_large_messages_may_have_many_fragments(strict: Live, photo_jpeg: bytes) -> None:
    message = frame(3, photo_jpeg + bytes(2_000_000))
    with opened(strict) as socket_:
        socket_.send(message[k : k + 1500] for k in range(0, len(message), 1500))
        assert json.loads(socket_.recv(60))["frame_id"] == 3


def test_a_message_has_an_end(strict: Live, clock: Clock, photo_jpeg: bytes) -> None:
    for begun in (b"\x02\x81\0\0\0\0a", b"\x82\xfe\x10\0\0\0\0\0"):  # a fragment, and half a frame
        with accepted(strict) as connection:
            connection.sendall(begun)
            until(lambda: any(each._deadline for each in of(strict, Stream)))
            clock.forward(LIMITS.message_seconds)
            (kind, payload), *_ = messages(everything(connection))
            assert (kind, struct.unpack_from(">H", payload)[0]) == (8, 1008)
            assert b"within 1 s" in payload


def test_the_setting_of_uploads_is_also_of_messages() -> None:
    with Live(Settings(upload_seconds=0.5), Slow) as live, accepted(live) as connection:
        connection.sendall(sent(2, b"a", last=False))
        (_, payload), *_ = messages(everything(connection))
    assert b"within 0.5 s" in payload


def test_between_messages_there_is_no_end(strict: Live, clock: Clock, photo_jpeg: bytes) -> None:
    with opened(strict) as socket_:
        for number in range(2):
            socket_.send(frame(number, photo_jpeg))
            assert json.loads(socket_.recv(60))["frame_id"] == number
            assert socket_.ping().wait(60)
            clock.forward(1.5 * LIMITS.message_seconds)
        socket_.send(frame(2, photo_jpeg))
        assert json.loads(socket_.recv(60))["frame_id"] == 2


def test_many_small_messages_are_answered_one_by_one(strict: Live) -> None:
    with accepted(strict) as connection:
        connection.sendall((sent(2, b"") + sent(9, b"p")) * 2000)
        received = b""
        while received.count(b"frame_id") < 2000:
            received += connection.recv(65536)
        connection.sendall(sent(8, b""))
        kinds = [kind for kind, _ in messages(received + everything(connection))]
    assert (kinds.count(1), kinds[-1]) == (2000, 8)  # complaints, and the end


def test_what_is_sent_before_the_stream_is_accepted_comes_after(photo_jpeg: bytes) -> None:
    limits = ConnectionLimits(head_seconds=30, read_seconds=60)
    with unread(limits, Clock()) as live, waiting(live, photo_jpeg) as connection:
        connection.sendall(sent(9, b"early") + sent(8, b""))
        received = everything(connection)
    assert received.partition(b"HTTP/1.1 101")[2].endswith(b"\x8a\x05early\x88\x00")


def test_pongs_that_nobody_reads_are_not_kept(strict: Live) -> None:
    count = 40_000
    pings = b"".join(sent(9, struct.pack(">I", number) + bytes(121)) for number in range(count))
    with accepted(strict) as connection:
        connection.sendall(pings)
        (stream,) = of(strict, Stream)
        until(lambda: not stream._unparsed)
        assert stream.transport.get_write_buffer_size() < 1_000_000
        connection.sendall(sent(8, b""))
        pongs = [payload for kind, payload in messages(everything(connection)) if kind == 10]
    numbers = [struct.unpack_from(">I", pong)[0] for pong in pongs]
    assert len(numbers) < count
    assert numbers == sorted(set(numbers))
