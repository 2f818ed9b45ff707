"""What one connection may take, and how long its reader."""

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

_PROGRESS = 64 * 1024  # bytes of an answer that its reader takes in each span, unless the rest is less

log = structlog.get_logger("server")


@dataclass(frozen=True)
class ConnectionLimits:
    """What one connection may take.

    Attributes:
        connections: open at the same time; at the limit the one that has said nothing for longest makes way.
        head_seconds: for a request's line and headers to arrive, and for the handshake of a stream behind them.
        head_bytes: of them.
        read_seconds: in which the reader of an answer takes some of it.
        linger_seconds: for what still comes of a refused request, so that its sender gets to read the answer.
        message_seconds: for a message of a stream to arrive.
    """

    connections: int = 1000
    head_seconds: float = 10.0
    head_bytes: int = 64 * 1024
    read_seconds: float = 30.0
    linger_seconds: float = 5.0
    message_seconds: float = 30.0


class Patience:
    """Waits for the reader of what was written, and ends the connection where it takes too little of it.

    Args:
        transport: of the connection.
        seconds: in which the reader takes `_PROGRESS` bytes, or all that there is.
        call_later: of the loop.
    """

    def __init__(self, transport: Transport, seconds: float, call_later: Callable[..., asyncio.TimerHandle]) -> None:
        self._transport, self._seconds, self._call_later = transport, seconds, call_later
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, about: dict[str, str]) -> None:
        """More is written than the reader has taken; `about` says to the log whose it is."""
        if self._timer is None:
            self._timer = self._call_later(self._seconds, self._check, _untaken(self._transport), about)

    def end(self) -> None:
        """It has taken it, or is gone."""
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
    """What the log says of a connection that it closes: the client, and where a request is known the id of that."""
    said = {"client": client[0] if client else "local"}
    return said | ({"request_id": scope["request_id"]} if scope and "request_id" in scope else {})


def _untaken(transport: Transport) -> int:
    """Bytes that are written and have not come to the reader. The system holds some MB of them, and takes more only
    when a third of that is gone: by what is left here, who reads slowly reads nothing for minutes."""
    size = transport.get_write_buffer_size()
    if sys.platform == "linux":
        try:
            descriptor = transport.get_extra_info("socket").fileno()
            size += struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0]
        except OSError:  # it is no socket that counts them
            pass
    return size
