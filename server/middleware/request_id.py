"""An id for every request: the client's own if it is short, plain and not a key, else a new one."""

from __future__ import annotations

import re
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
KEY = re.compile(r"prcnn_[\w-]{8,}")
"""A key made by `parsing-rcnn key`. A caller may send one in the wrong place: it must not get into a log or header."""

_STARTS = ("http.response.start", "websocket.http.response.start", "websocket.accept")


class RequestId:
    """Puts `request_id` into the scope, and the id into the log context and the X-Request-ID header."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        identity = given if _PLAIN.match(given) and not KEY.search(given) else uuid.uuid4().hex
        scope["request_id"] = identity

        async def send_with_id(message: Message) -> None:
            if message["type"] in _STARTS:
                MutableHeaders(scope=message)["X-Request-ID"] = identity
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=identity):
            await self.app(scope, receive, send_with_id)
