"""Limits of one connection, and a timer for clients that do not read what is sent to them."""

from __future__ import annotations

import asyncio
import struct
import sys
from asyncio.transports import Transport
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

if sys.platform == "linux":
    import fcntl
    import termios

_PROGRESS = 64 * 1024  # bytes of an answer that a client must read in each period, unless fewer are left

log = structlog.get_logger("server")


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of one connection.

    Attributes:
        connections: how many may be open at the same time; at the limit, the one that has been idle longest is closed.
        head_seconds: time for a request's line and headers to arrive, and for the handshake of a stream after them.
        head_bytes: size of a request's line and headers.
        fields: headers of a request; each takes a hundred bytes more than it has.
        read_seconds: time in which a client must read some of its answer.
        answer_seconds: time in which a client must read all of its answer, without what it waits for the next piece.
        unread_bytes: of all answers together that wait to be read.
        pipelined: requests that may wait for the answers to those before them.
        probes: connections beyond `connections` over which probes are answered.
        linger_seconds: how long the rest of a refused request is received, so that its sender can read the answer.
        message_seconds: time for a message of a stream to arrive.
    """

    connections: int = 1000
    head_seconds: float = 10.0
    head_bytes: int = 64 * 1024
    fields: int = 128
    read_seconds: float = 30.0
    answer_seconds: float = 600.0
    unread_bytes: int = 512 * 1024 * 1024
    pipelined: int = 32
    probes: int = 16
    linger_seconds: float = 5.0
    message_seconds: float = 30.0


class Patience:
    """A timer that aborts a connection whose client reads too little of what was written.

    Args:
        transport: of the connection.
        seconds: period in which the client must read `_PROGRESS` bytes, or everything.
        call_later: of the event loop.
    """

    def __init__(self, transport: Transport, seconds: float, call_later: Callable[..., asyncio.TimerHandle]) -> None:
        self._transport, self._seconds, self._call_later = transport, seconds, call_later
        self._timer: asyncio.TimerHandle | None = None
        self._about: dict[str, str] = {}

    @property
    def waits(self) -> bool:
        """Whether the client has not read everything."""
        return self._timer is not None

    def begin(self, about: dict[str, str]) -> None:
        """Start, as more is written than the client has read; `about` identifies the connection in the log."""
        if self._timer is None:
            self._about = about
            self._wait()

    def end(self) -> None:
        """Stop, as the client has read everything, or is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def let_go(self, reason: str) -> None:
        """Abort the connection, and say so in the log."""
        self.end()
        log.info("closed", reason=reason, **self._about)
        self._transport.abort()

    def _wait(self) -> None:
        self._timer = self._call_later(self._seconds, self._check, untaken(self._transport))

    def _check(self, before: int) -> None:
        if reason := self._lacks(before, untaken(self._transport)):
            self.let_go(reason)
        else:
            self._wait()

    def _lacks(self, before: int, left: int) -> str | None:
        """What is wrong if the client had so many bytes to read at the last look, and has so many left."""
        if before - left >= min(_PROGRESS, before):
            return None
        return f"in {self._seconds:g} s less than {_PROGRESS} bytes were read"


def about(client: tuple[str, int] | None, scope: Any) -> dict[str, str]:
    """Fields of the log's line about a connection that is closed: the client, and the id of its request if there is
    one."""
    fields = {"client": client[0] if client else "local"}
    return fields | ({"request_id": scope["request_id"]} if scope and "request_id" in scope else {})


def untaken(transport: Transport) -> int:
    """Bytes that are written and have not reached the client.

    The system buffers some MB, and takes more only when a third of its buffer is free. So the transport's own buffer
    may stay the same for minutes although the client reads, slowly: on Linux the system's buffer is counted, too.
    """
    size = transport.get_write_buffer_size()
    if sys.platform == "linux":
        try:
            descriptor = transport.get_extra_info("socket").fileno()
            size += struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0]
        except (OSError, AttributeError):  # not a socket that counts them, or none any more
            pass
    return size
