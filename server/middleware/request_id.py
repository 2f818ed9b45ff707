"""Every request has an id: the client's own if it is short and plain, else a new one."""

from __future__ import annotations

import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.middleware.access import share_of

_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_LONGEST = 200  # letters of an address that the log shows
_QUIET = frozenset({"/healthz", "/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})

log = structlog.get_logger("server")


class RequestId:
    """Puts `request_id` and `begun` (time.monotonic) into the scope, the id into the log context and the X-Request-ID
    header; logs and counts each request, and each stream when it ends."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        scope["request_id"] = given if _PLAIN.match(given) else uuid.uuid4().hex
        scope["begun"] = begin = time.monotonic()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start", "websocket.accept"):
                status = message.get("status", 101)
                MutableHeaders(scope=message)["X-Request-ID"] = scope["request_id"]
            elif message["type"] == "websocket.close" and status != 101:
                status = 403  # what a server answers to a handshake that is closed instead of accepted
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=scope["request_id"]):
            try:
                await self.app(scope, receive, send_with_id)
            finally:
                status = scope.get("refused", status)  # by the connection, in the middle of its body
                if scope["path"] not in _QUIET:
                    took = round(1000 * (time.monotonic() - begin), 1)
                    scope["app"].state.metrics.answers.labels(str(status)).inc()
                    said = {
                        "method": scope.get("method", "WS"),
                        "path": scope["path"][:_LONGEST],
                        "status": status,
                        "ms": took,
                    }
                    log.info("request", **said, **_asked_by(scope))


def _asked_by(scope: Scope) -> dict[str, str]:
    """The client's address, and the name of its key where it has one."""
    address = scope["client"][0] if scope.get("client") else "local"
    caller = scope.get("caller", address)
    return {"client": address} | ({} if caller in (address, share_of(address)) else {"key": caller})
