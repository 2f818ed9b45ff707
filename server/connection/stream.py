"""One stream's WebSocket connection, with limits that uvicorn lacks.

uvicorn by itself parses in one go whatever was read, keeps every fragment of a message that never ends, takes a client
that sends a long message for one that is gone, and waits for ever for a handshake to end, or to close where the client
does not read.

This relies on internals of uvicorn, so pyproject.toml bounds its version: `WebSocketsSansIOProtocol` with its methods
`handle_events`, `handle_cont`, `handle_ping`, `handle_parser_exception`, `send_receive_event_to_app`, `schedule_ping`,
`send_keepalive_ping` and `keepalive_timeout`, and its attributes `conn`, `queue`, `frames`, `writable`, `read_paused`,
`close_sent`, `handshake_initiated`, `handshake_complete`, `pong_timer`, `pending_ping_payload` and `ping_timeout`.
"""

from __future__ import annotations

import asyncio
import time
from asyncio.transports import BaseTransport, Transport
from typing import Any, cast

import structlog
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.protocol import State

from server.connection.frames import Frames
from server.connection.limits import ConnectionLimits, Patience, about, untaken
from server.requests.memory import Share, UploadMemory

_TURN = 0.002  # seconds of parsing, after which other connections have their turn
_PIECE = 16 * 1024  # bytes that are parsed between two looks at the clock
_FRAGMENTS = 256  # so many fragments of a message may have any size
_FRAGMENT = 1024  # bytes that further fragments must have on average

log = structlog.get_logger("server")


class Stream(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket connection within `ConnectionLimits`.

    Args:
        limits: of the connection.
        memory: counts what has come of messages that the application has not taken.
        rest: arguments of uvicorn.
    """

    def __init__(self, *, limits: ConnectionLimits, memory: UploadMemory, **rest: Any) -> None:
        super().__init__(**rest)
        self.limits = limits
        self._share = Share(memory)
        self.quiet_since: float | None = None  # loop time since when it waits to be accepted; None: it is accepted
        self._reader: Patience | None = None
        self._deadline: asyncio.TimerHandle | None = None  # for the handshake, then for each message
        self._unparsed = bytearray()
        self._frames = Frames()
        self._turn: asyncio.Handle | None = None  # the next turn of parsing, if one is due
        self._pong = b""  # to be sent when the client has read what is written
        self._left = 0  # bytes that it had not read when it was last looked at, while its pong is waited for

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self._reader = Patience(cast(Transport, transport), self.limits.read_seconds, self.loop.call_later)
        self.quiet_since = self.loop.time()
        self._within(self.limits.head_seconds)
        if self.transport.get_write_buffer_size():  # answers to requests before the stream
            self.pause_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._within(None)
        self._share.end()
        self._unparsed.clear()
        if self._turn is not None:
            self._turn.cancel()
        if self._reader is not None:
            self._reader.end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:  # the head, in one piece from `Connection`
            super().data_received(data)
            return
        self._unparsed += data
        if self._turn is None:
            self._parse()
        if self._deadline is not None and self.pong_timer is not None:
            self._alive()

    def _alive(self) -> None:
        """Take the bytes of a message for the pong that is waited for: a client can send none within a frame, and what
        it may take for a message is limited by itself."""
        if self.pong_timer is not None:
            self.pong_timer.cancel()
        self.pong_timer = self.pending_ping_payload = None
        self.schedule_ping()

    def send_keepalive_ping(self) -> None:
        super().send_keepalive_ping()
        self._left = untaken(self.transport)

    def keepalive_timeout(self) -> None:
        if (left := untaken(self.transport)) < self._left and self.ping_timeout is not None:
            self._left = left  # it reads what was written before the ping, as slowly as it may
            self.pong_timer = self.loop.call_later(self.ping_timeout, self.keepalive_timeout)
            return
        if not (self.close_sent or self.transport.is_closing()):
            reason = f"nothing came for {self.ping_timeout:g} s after a ping"
            log.info("closed", reason=reason, **about(self.client, self.scope))
        super().keepalive_timeout()

    def _parse(self) -> None:
        """Parse for one turn, once the stream is accepted, and only while the application has taken every message."""
        self._turn = None
        end = time.monotonic() + _TURN
        while self._unparsed and self.handshake_complete and not (self.read_paused or self.transport.is_closing()):
            if time.monotonic() > end:
                self._turn = self.loop.call_soon(self._parse)
                break
            piece, taken = self._frames.cut(self._unparsed, _PIECE)
            if self._deadline is None:
                self._within(self.limits.message_seconds)
            self._share.count(taken)
            if piece:
                super().data_received(piece)
        if self._unparsed:
            self.transport.pause_reading()
        elif not self.read_paused:
            self.transport.resume_reading()

    def _go_on(self) -> None:
        """Called when the application has taken a message, after which uvicorn reads again: bytes that were read before
        come first."""
        if self._unparsed:
            self.transport.pause_reading()
            if self._turn is None:
                self._turn = self.loop.call_soon(self._parse)

    def handle_events(self) -> None:
        ended = self.handshake_complete and bool(self.conn.events)  # at least one frame
        super().handle_events()
        if ended and not self.frames:  # and none of them begins a message that is not complete
            self._within(None)
            if not self.read_paused:  # nor is one complete
                self._share.end()

    def send_receive_event_to_app(self) -> None:
        self._within(None)
        if self.pong_timer is not None and not self.close_sent:
            self._alive()
        super().send_receive_event_to_app()

    def handle_cont(self, event: Frame) -> None:
        super().handle_cont(event)
        count = len(self.frames)
        if count == 0 or count % _FRAGMENTS or self.close_sent:
            return
        if sum(map(len, self.frames)) < (count - _FRAGMENTS) * _FRAGMENT:
            self._fail(f"a message came in {count} fragments of less than {_FRAGMENT} bytes: send larger ones")

    def handle_ping(self) -> None:
        """Answer pings. While the client does not read, only the last pong is kept (RFC 6455, 5.5.3)."""
        pongs = self.conn.data_to_send()
        if self.writable.is_set() or self.conn.close_rcvd is not None:
            self.transport.write(b"".join(pongs))
        elif pongs:
            self._pong = pongs[-1]

    async def receive(self) -> Any:
        if not self.queue.empty():  # let other connections run between many small messages that came together
            await asyncio.sleep(0)
        message = await super().receive()
        self._share.end()
        self._go_on()
        return message

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.quiet_since is not None and self.conn.state is State.OPEN:
            self.quiet_since = None
            self._within(None)
        self._go_on()

    def _within(self, seconds: float | None) -> None:
        """Close the stream after so many seconds; None: not by a timer."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._too_late)

    def _too_late(self) -> None:
        self._deadline = None
        if self.quiet_since is not None:
            log.info("closed", reason=f"the handshake did not end within {self.limits.head_seconds:g} s")
            self.transport.abort()
        elif not self.transport.is_closing():
            self._fail(f"a message did not end within {self.limits.message_seconds:g} s")

    def _fail(self, reason: str) -> None:
        log.info("closed", reason=reason)
        self.frames = []
        self.conn.fail(CloseCode.POLICY_VIOLATION, reason)
        self.handle_parser_exception()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._reader is not None:
            self._reader.begin(about(self.client, getattr(self, "scope", None)))

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reader is not None:
            self._reader.end()
        pong, self._pong = self._pong, b""
        if pong and not (self.close_sent or self.transport.is_closing()):
            self.transport.write(pong)
