"""One client's HTTP/1.1 connection, with limits that uvicorn lacks.

uvicorn by itself accepts headers of any size for as long as they arrive. It keeps reading a body that was refused, or
cuts off the sender before the refusal can be read. And it waits for ever for a client that does not read its answer.

This relies on internals of uvicorn, so pyproject.toml bounds its version: `HttpToolsProtocol` with its parser callbacks
(`on_*`), `_start_asgi_task`, `_should_upgrade`, `_unset_keepalive_if_required`, `handle_websocket_upgrade`, and the
attributes `cycle`, `pipeline`, `flow`, `scope`, `url`, `headers`, `connections` and `timeout_keep_alive_task`;
`RequestResponseCycle` with `response_started`, `response_complete`, `more_body`, `keep_alive`, `disconnected` and
`message_event`; and that `Connection: close` among other tokens ends the connection (from 0.53).
"""

from __future__ import annotations

import asyncio
import uuid
from functools import partial
from typing import Any, cast

import httptools
import orjson
import structlog
from prometheus_client import Counter
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from parsing_rcnn.errors import ParsingRCNNError
from server.connection import checks, handshake, room
from server.connection.limits import ConnectionLimits, about
from server.connection.readers import Reader, Readers
from server.errors import HeadersTooLarge, MalformedRequest, UploadTimeout
from server.responses.problems import MEDIA_TYPE, document, headers_of

log = structlog.get_logger("server")


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 connection within `ConnectionLimits`.

    Args:
        limits: of the connection.
        answers: counter of answers by status, for those that the connection gives by itself.
        readers: clients that have not read their answers, over all connections.
        rest: arguments of uvicorn.
    """

    def __init__(self, *, limits: ConnectionLimits, answers: Counter, readers: Readers, **rest: Any) -> None:
        super().__init__(**rest)
        self.limits, self.answers, self.readers = limits, answers, readers
        self.quiet_since: float | None = None  # loop time since when every answer has been read; None: one has not
        self._head = 0  # bytes received since the last body byte, or since the last request ended
        self._fields = 0  # bytes of this request's line, headers and trailers
        self._ending = False  # the last answer is written: whatever still arrives is dropped
        self._asked = 0.0  # loop time of the first request since it was quiet
        self._beyond = False  # no place was left for it: only probes are answered
        self._last: ParsingRCNNError | None = None  # refuses what came behind requests in work, when they are answered
        self._again = b""  # a head that offered another protocol, rewritten without the offer
        self._open: list[RequestResponseCycle] = []  # the request in work, and the pipelined ones behind it
        self._deadline: asyncio.TimerHandle | None = None  # for what the client sends

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._reader = Reader(transport, self.limits, self.loop, self.readers)
        super().connection_made(transport)
        self.quiet_since = self.loop.time()
        self._within(self.limits.head_seconds)
        beyond = len(self.connections) - self.limits.connections
        if beyond > 0:
            made = room.make(self.connections - {self}, self.readers)
            self._beyond = beyond - made > 0  # looked at again when its head has come, and the others are closed
            if beyond - made > self.limits.probes:
                self.refuse(checks.no_place(self.limits))

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timers()
        self._nobody_waits()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._ending or self._last is not None or self.transport.is_closing():
            return
        self._head += len(data)
        if self._deadline is None and self.quiet_since is not None:
            self._within(self.limits.head_seconds)
        self._unset_keepalive_if_required()
        self._parse(data)
        if self._too_long and not self._ending and self._last is None and not self.transport.is_closing():
            held, limit = max(self._head, self._fields), self.limits.head_bytes
            self.refuse(HeadersTooLarge(f"the headers have {held} bytes or more, the limit is {limit}: send less"))

    def _parse(self, data: bytes) -> None:
        """Feed the parser, as uvicorn does, but ignore offers of another protocol, such as `Upgrade: h2c` (RFC 9110).

        The parser stops behind a head with such an offer, so its body would be taken for the next request. Therefore
        the head is parsed once more, without the offer, by a new parser.
        """
        pieces = [memoryview(data)]
        while pieces and not self._ending and self._last is None:
            piece = pieces.pop()
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                if self._again:
                    pieces += [piece[upgrade.args[0] :], memoryview(self._again)]
                    self._again = b""
                    self.parser = httptools.HttpRequestParser(self)
                    self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
                elif not self._should_upgrade():
                    self._refuse_unreadable("no other protocol is spoken here")
                elif error := self._no_stream() or handshake.refusal(self.url, self.headers):
                    self.refuse(error)
                else:
                    self.handle_websocket_upgrade()
                    return
            except httptools.HttpParserCallbackError as error:
                if isinstance(error.__context__, ParsingRCNNError):
                    self._refuse_in_turn(error.__context__)
                else:
                    self._refuse_unreadable("its address cannot be read")
            except httptools.HttpParserError as error:
                self._refuse_unreadable(str(error))

    def _refuse_in_turn(self, error: ParsingRCNNError) -> None:
        """Refuse a request whose head was read, behind the answers to all requests before it, and close."""
        if any(not cycle.response_complete for cycle in self._open):
            self._last = error
        else:
            self.refuse(error)

    def _refuse_unreadable(self, reason: str) -> None:
        if self._too_long:
            return
        if self.scope is None or not self.url:  # not even the first line could be read
            self.refuse(MalformedRequest("what came is not HTTP/1.1 (there is no TLS here: http://, not https://)"))
        else:
            self.refuse(MalformedRequest(f"the request is not valid HTTP/1.1: {reason}"))

    @property
    def _too_long(self) -> bool:
        return max(self._head, self._fields) > self.limits.head_bytes

    def on_message_begin(self) -> None:
        self._fields = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(name, value)
        if len(self.headers) >= self.limits.fields:
            raise HeadersTooLarge(f"the request has more than {self.limits.fields} headers: send less")
        super().on_header(name, value.strip(b" \t"))  # the parser leaves blanks behind a value

    def _count(self, *fields: bytes) -> None:
        self._fields += sum(map(len, fields)) + 4
        if self._fields > self.limits.head_bytes:
            raise ValueError  # stops the parser; `data_received` then answers 431

    def on_headers_complete(self) -> None:
        method = self.parser.get_method()
        if method == b"CONNECT":
            return  # the parser stops behind it, and the application never sees it
        self._check(method)
        if self.parser.should_upgrade() and not self._should_upgrade():
            line = b"%s %s HTTP/%s" % (method, self.url, self.parser.get_http_version().encode())
            kept = [b"%s: %s" % field for field in self.headers if field[0] != b"upgrade"]
            self._again = b"\r\n".join([line, *kept, b"", b""])
            return
        self._head = 0
        if self.quiet_since is not None:
            self.quiet_since, self._asked = None, self.loop.time()
        self._within(None)
        self._unset_keepalive_if_required()  # it may have begun with the end of the request before, in the same bytes
        self.transport.set_write_buffer_limits()  # as they are by default: see `_answered`
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.keep_alive &= not self._beyond
            self._open = [cycle for cycle in (*self._open, self.cycle) if not cycle.response_complete]

    def _check(self, method: bytes) -> None:
        """Check the head that has come.

        Raises:
            ParsingRCNNError: to the parser, which passes it on to `_parse`.
        """
        checks.check_host(self.headers, self.parser.get_http_version())
        self._beyond = self._beyond and len(self.connections) > self.limits.connections
        if self._beyond and self.url.partition(b"?")[0] not in room.PROBES:
            raise checks.no_place(self.limits)
        checks.check_turn(len(self.pipeline), self.limits)
        checks.check_memory(method, self.readers)

    def on_body(self, body: bytes) -> None:
        self._head = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._again or self.parser.get_method() == b"CONNECT":
            return
        self._head = 0
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete:  # the rest of a refused body has arrived
            self.cycle.more_body = False
            self._answered()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        super()._start_asgi_task(cycle, partial(self._run, cycle, app))

    async def _run(
        self,
        cycle: RequestResponseCycle,
        app: ASGI3Application,
        scope: Scope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
    ) -> None:
        """Run the application, and keep the connection open for a while where the last answer comes before the body
        has arrived.

        uvicorn closes at once after a connection's last answer. While the body still arrives, the system would then
        reset the connection, and its sender would mostly not get to read why it was refused.
        """

        async def send_before_closing(message: ASGISendEvent) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                await self.flow.drain()  # so that `send` below need not wait
                if cycle.more_body and not cycle.keep_alive:
                    cycle.keep_alive = self._ending = True
            await send(message)

        try:
            await self.flow.drain()  # the next answer is made when the one before it is read, and not held beside it
        except asyncio.CancelledError:  # the gateway ends, and nobody can be told before that is read
            cycle.disconnected = True
            self.transport.close()
            return
        await app(scope, receive, send_before_closing)

    def on_response_complete(self) -> None:
        more = bool(self.pipeline)
        self._reader.next_answer()
        super().on_response_complete()
        if more:
            return
        if self._last is None or self.transport.is_closing():
            self._answered()
        else:
            self.refuse(self._last)

    def _answered(self) -> None:
        """Called when every request so far has its answer. The time for the next request begins only when the client
        has read that answer."""
        if self.transport.is_closing():  # uvicorn closes when the last answer is read: wait for that with a limit, too
            if self.transport.get_write_buffer_size():
                self.transport.set_write_buffer_limits(0)
            return
        if self._ending and self.transport.can_write_eof():
            self.transport.write_eof()
        self.transport.set_write_buffer_limits(0)  # so `resume_writing` is called when the last byte is sent
        if self.flow.write_paused:
            self._unset_keepalive_if_required()
            self._within(None)
            return
        self.quiet_since = self.loop.time()
        if self._ending or (self.cycle is not None and self.cycle.more_body):
            self._within(self.limits.linger_seconds)
        else:
            self._rest()

    def _rest(self) -> None:
        """Between two requests: start uvicorn's keep-alive timer, unless the next request has begun to arrive."""
        self._within(self.limits.head_seconds if self._head else None)
        if self._deadline is None and self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def timeout_keep_alive_handler(self) -> None:
        self._end()

    def _should_upgrade(self) -> bool:
        """Whether this is the handshake of a WebSocket. With a body, or another method than GET, it is none: the parser
        of handshakes would wait for ever."""
        has_body = any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0")
            for name, value in self.headers
        )
        return self.parser.get_method() == b"GET" and not has_body and super()._should_upgrade()

    def _no_stream(self) -> ParsingRCNNError | None:
        """Why no stream can begin now; None if one can."""
        if all(cycle.response_complete for cycle in self._open):
            return None
        return MalformedRequest(
            "a stream cannot begin while the request before it has no answer: wait for that, or open a connection"
        )

    def handle_websocket_upgrade(self) -> None:
        self._stop_timers()
        super().handle_websocket_upgrade()
        self.transport.set_write_buffer_limits(0)  # so `Stream` learns of every byte that is not sent at once

    def refuse(self, error: ParsingRCNNError) -> None:
        """Answer bytes that are no valid request, and close. A request in work is treated as if its client had gone.

        If the unreadable bytes are the body of the request in work, this is the answer to that request: it has its id,
        and is counted and logged with it.
        """
        identity, counted = uuid.uuid4().hex, False
        unanswered = self._nobody_waits()
        if self.cycle is not None and unanswered:
            self.flow.resume_reading()
            if unanswered[0].response_started:
                self.transport.abort()
                return
            if self.cycle.more_body and not self.pipeline:  # a request of the pipeline was never asked
                scope = cast(dict[str, Any], self.cycle.scope)
                scope["refused"], counted = error, True
                identity = scope.get("request_id", identity)
        if not counted:
            self.answers.labels(str(error.status)).inc()
        body = orjson.dumps(document(error, "", identity))
        head = [f"content-type: {MEDIA_TYPE}", f"content-length: {len(body)}", "connection: close"]
        head += [f"x-request-id: {identity}", "x-content-type-options: nosniff"]
        more = headers_of(error) | handshake.headers_of(error)
        head += [f"{name.lower()}: {value}" for name, value in more.items()]
        self.transport.write(STATUS_LINE[error.status] + "\r\n".join(head).encode() + b"\r\n\r\n" + body)
        client = self.client[0] if self.client else "local"
        say = log.warning if error.status >= 500 else log.info
        say("refused", status=error.status, code=error.code, detail=error.detail, request_id=identity, client=client)
        self._ending = True
        self._answered()

    def _nobody_waits(self) -> list[RequestResponseCycle]:
        """End the request in work and those behind it, as if their client had gone. Returns those without an answer."""
        unanswered = [cycle for cycle in self._open if not cycle.response_complete]
        for cycle in unanswered:
            cycle.disconnected = True
            cycle.message_event.set()
        return unanswered

    def pause_writing(self) -> None:
        super().pause_writing()
        begun = [cycle.scope for cycle in self._open if cycle.response_started]
        self._reader.begin(about(self.client, begun[-1] if begun else None))

    @property
    def repeated_since(self) -> float | None:
        """Loop time since when its client has been reading what costs little to give again, answers to GET; None if it
        does not."""
        begun = [cycle for cycle in self._open if cycle.response_started]
        reads = begun and self._reader.waits
        return self._asked if reads and begun[-1].scope["method"] != "POST" else None

    def make_way(self) -> None:
        """Close, though the client has not read everything."""
        self._reader.let_go(room.REASON)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._reader.end()
        if self._ending or (self.cycle is not None and self.cycle.response_complete):
            self._answered()

    def _within(self, seconds: float | None) -> None:
        """Close the connection after so many seconds; None: not by a timer."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._too_late)

    def _too_late(self) -> None:
        self._deadline = None
        if self.cycle is not None and not self.cycle.response_complete and not self._ending:
            return  # the next request may arrive slowly while this one is in work
        answered = self._ending or (self.cycle is not None and self.cycle.more_body)
        if self._head and self.quiet_since is not None and not answered:
            seconds = self.limits.head_seconds
            self.refuse(UploadTimeout(f"after {seconds:g} s the headers have {self._head} bytes and no end"))
        else:
            self._end()

    def _end(self) -> None:
        """Close; if the client has not read everything, without waiting for it."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        elif not self.transport.is_closing():
            self.transport.close()

    def _stop_timers(self) -> None:
        self._within(None)
        self._unset_keepalive_if_required()  # else it keeps this connection, or ends a stream that follows on it
        self._reader.end()
