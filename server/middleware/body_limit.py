"""No request body beyond the limit is ever held: refused by its header, or while its chunks are counted."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.problems import BodyTooLarge, problem


class BodyLimit:
    """Two stages, because a body can come without Content-Length or with a false one."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdigit() and int(declared) > self.limit:
            error = self._error(int(declared))
            request = Request(scope)
            await problem(request, error.status, error.code, error.title, error.detail)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.limit:
                raise self._error(received)
            return message

        await self.app(scope, counted, send)

    def _error(self, size: int) -> BodyTooLarge:
        return BodyTooLarge(f"the body has {size} bytes or more, the limit is {self.limit}: send a smaller picture")
