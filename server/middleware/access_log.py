"""Logs and counts every request when it is answered, and every stream when it ends."""

from __future__ import annotations

import time
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.middleware.access import address_of, share_of
from server.middleware.request_id import KEY
from server.requests.call import Noted

_LONGEST = 200  # characters of a path that the log shows
_DETAIL = 400  # characters of an error's detail
_NAME = 60  # characters of a model's name
_QUIET = frozenset({"/healthz", "/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})

log = structlog.get_logger("server")


class AccessLog:
    """Puts `begun` (seconds by time.monotonic) and `noted` (`Noted`) into the scope, and logs and counts the request
    at its end."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        scope["begun"] = begin = time.monotonic()
        scope["noted"] = noted = Noted()
        status, sent = 500, 0

        async def counted(message: Message) -> None:
            nonlocal status, sent
            sent += len(message.get("body") or message.get("bytes") or message.get("text") or "")
            if message["type"] in ("http.response.start", "websocket.http.response.start", "websocket.accept"):
                status = message.get("status", 101)
            elif message["type"] == "websocket.close" and status != 101:
                status = 403  # the server's answer to a handshake that is closed, not accepted
            await send(message)

        try:
            await self.app(scope, receive, counted)
        finally:
            if "refused" in scope:  # by the connection, while the body arrived
                noted.problem, status = scope["refused"], scope["refused"].status
            if scope["path"] not in _QUIET:
                milliseconds = round(1000 * (time.monotonic() - begin), 1)
                scope["app"].state.metrics.answers.labels(str(status)).inc()
                _log(scope, status, milliseconds, _why(noted) if status >= 400 else _what(noted, sent))


def _log(scope: Scope, status: int, milliseconds: float, details: dict[str, Any]) -> None:
    write = log.warning if status >= 500 else log.info
    write(
        "request",
        method=scope.get("method", "WS"),
        path=_shown(scope["path"], _LONGEST),
        status=status,
        ms=milliseconds,
        **details,
        **_asked_for(scope),
        **_asked_by(scope),
    )


def _why(noted: Noted) -> dict[str, str]:
    """The error of a request, for the log."""
    error = noted.problem
    return {} if error is None else {"code": error.code, "detail": _shown(error.detail, _DETAIL)}


def _what(noted: Noted, sent: int) -> dict[str, Any]:
    """Counts of what was answered, for the log."""
    failed = noted.failed.total()
    told: dict[str, Any] = {"bytes": sent}
    if noted.answered or failed:
        told |= {"pictures": noted.answered + failed, "people": noted.people}
    return told | ({"failed": failed, "codes": dict(noted.failed)} if failed else {})


def _shown(text: str, longest: int) -> str:
    """Text from a client, or from an error that quotes it, shortened for the log and without keys."""
    shown = KEY.sub("prcnn_...", text)
    return shown if len(shown) <= longest else f"{shown[:longest]}..."


def _asked_for(scope: Scope) -> dict[str, str]:
    """The model that the request names, if any; routes put it into the scope as `model`."""
    model = scope.get("model")
    return {} if model is None else {"model": _shown(model, _NAME)}


def _asked_by(scope: Scope) -> dict[str, str]:
    """The client's address, and the name of its key if it has one."""
    address = address_of(scope)
    caller = scope.get("caller", address)
    return {"client": address} | ({} if caller in (address, share_of(address)) else {"key": caller})
