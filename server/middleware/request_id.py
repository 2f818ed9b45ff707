"""Every request has an id: the client's own if it is short, plain and no key, else a new one."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.middleware.access import share_of
from server.requests.call import Noted

_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_LONGEST = 200  # letters of an address that the log shows
_DETAIL = 400  # letters of an error's detail
_NAME = 60  # letters of a model's name
_KEY = re.compile(r"prcnn_[\w-]{8,}")  # as `parsing-rcnn key` makes them, where a caller sent one as something else
_QUIET = frozenset({"/healthz", "/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})

log = structlog.get_logger("server")


class RequestId:
    """Puts `request_id`, `begun` (time.monotonic) and `noted` into the scope, the id into the log context and the
    X-Request-ID header; logs and counts each request, and each stream when it ends."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        scope["request_id"] = given if _PLAIN.match(given) and not _KEY.search(given) else uuid.uuid4().hex
        scope["begun"] = begin = time.monotonic()
        scope["noted"] = noted = Noted()
        status, sent = 500, 0

        async def send_with_id(message: Message) -> None:
            nonlocal status, sent
            sent += len(message.get("body") or message.get("bytes") or message.get("text") or "")
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
                if "refused" in scope:  # by the connection, in the middle of its body
                    noted.problem, status = scope["refused"], scope["refused"].status
                if scope["path"] not in _QUIET:
                    took = round(1000 * (time.monotonic() - begin), 1)
                    scope["app"].state.metrics.answers.labels(str(status)).inc()
                    method = scope.get("method", "WS")
                    said = {"method": method, "path": _shown(scope["path"], _LONGEST), "status": status, "ms": took}
                    told = _why(noted) if status >= 400 else _what(noted, sent)
                    say = log.warning if status >= 500 else log.info
                    say("request", **said, **told, **_asked_for(scope), **_asked_by(scope))


def _why(noted: Noted) -> dict[str, str]:
    """Why there is no answer."""
    error = noted.problem
    return {} if error is None else {"code": error.code, "detail": _shown(error.detail, _DETAIL)}


def _what(noted: Noted, sent: int) -> dict[str, Any]:
    """What is in the answer."""
    failed = noted.failed.total()
    told: dict[str, Any] = {"bytes": sent}
    if noted.answered or failed:
        told |= {"pictures": noted.answered + failed, "people": noted.people}
    return told | ({"failed": failed, "codes": dict(noted.failed)} if failed else {})


def _shown(text: str, longest: int) -> str:
    """What clients send, or errors quote of it, as far as a line of the log has it, and no keys."""
    shown = _KEY.sub("prcnn_...", text)
    return shown if len(shown) <= longest else f"{shown[:longest]}..."


def _asked_for(scope: Scope) -> dict[str, str]:
    """The model, where the request names one: routes put it into the scope."""
    model = scope.get("model")
    return {} if model is None else {"model": _shown(model, _NAME)}


def _asked_by(scope: Scope) -> dict[str, str]:
    """The client's address, and the name of its key where it has one."""
    address = scope["client"][0] if scope.get("client") else "local"
    caller = scope.get("caller", address)
    return {"client": address} | ({} if caller in (address, share_of(address)) else {"key": caller})
