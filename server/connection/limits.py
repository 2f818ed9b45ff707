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
        read_seconds: time in which a client must read some of its answer.
        linger_seconds: how long the rest of a refused request is received, so that its sender can read the answer.
        message_seconds: time for a message of a stream to arrive.
    """

    connections: int = 1000
    head_seconds: float = 10.0
    head_bytes: int = 64 * 1024
    read_seconds: float = 30.0
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

    def begin(self, about: dict[str, str]) -> None:
        """Start, as more is written than the client has read; `about` identifies the connection in the log."""
        if self._timer is None:
            self._timer = self._call_later(self._seconds, self._check, _untaken(self._transport), about)

    def end(self) -> None:
        """Stop, as the client has read everything, or is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self, before: int, about: dict[str, str]) -> None:
        self._timer = None
        if before - _untaken(self._transport) < min(_PROGRESS, before):
            log.info("closed", reason=f"in {self._seconds:g} s less than {_PROGRESS} bytes were read", **about)
            self._transport.abort()
        else:
            self.begin(about)


def about(client: tuple[str, int] | None, scope: Any) -> dict[str, str]:
    """Fields of the log's line about a connection that is closed: the client, and the id of its request if there is
    one."""
    fields = {"client": client[0] if client else "local"}
    return fields | ({"request_id": scope["request_id"]} if scope and "request_id" in scope else {})


def _untaken(transport: Transport) -> int:
    """Bytes that are written and have not reached the client.

    The system buffers some MB, and takes more only when a third of its buffer is free. So the transport's own buffer
    may stay the same for minutes although the client reads, slowly: on Linux the system's buffer is counted, too.
    """
    size = transport.get_write_buffer_size()
    if sys.platform == "linux":
        try:
            descriptor = transport.get_extra_info("socket").fileno()
            size += struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0]
        except OSError:  # not a socket that counts them
            pass
    return size
