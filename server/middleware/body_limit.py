"""Limits on request bodies: bytes of one, bytes of all together, and the time until a body is complete."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parsing_rcnn.errors import ParsingRCNNError
from server.errors import BodyTooLarge, UploadTimeout
from server.requests.memory import Share, UploadMemory
from server.responses.problems import problem


class BodyLimit:
    """Checks Content-Length first, then counts bytes, as a body may come without that header, or with a false one.

    Puts `share` into the scope, the `Share` of `memory` that the request holds until it is answered.

    Args:
        limit: path -> most bytes of a body.
        seconds: time for a body to arrive.
        memory: of all uploads together.
        refused: called with path and error of each request that is refused here, before any route.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit: Callable[[str], int],
        seconds: float,
        memory: UploadMemory,
        refused: Callable[[str, ParsingRCNNError], None],
    ) -> None:
        self.app, self.limit, self.seconds, self.memory, self.refused = app, limit, seconds, memory, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = min(self.limit(scope["path"]), self.memory.most)
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            error = self._too_large(int(declared), limit)
            self.refused(scope["path"], error)
            await problem(Request(scope), error)(scope, receive, send)
            return
        share, received, complete = Share(self.memory), 0, False
        end = time.monotonic() + self.seconds

        async def counted() -> Message:
            nonlocal received, complete
            if complete:  # after the body only a disconnect can come
                return await receive()
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                raise UploadTimeout(
                    f"after {self.seconds:g} s the body has {received} bytes and no end: send it faster, or smaller"
                ) from None
            complete = not message.get("more_body", False)
            size = len(message.get("body", b""))
            received += size
            share.hold(size)
            if received > limit:
                raise self._too_large(received, limit)
            return message

        scope["share"] = share
        try:
            await self.app(scope, counted, send)
        finally:
            share.end()

    def _too_large(self, size: int, limit: int) -> BodyTooLarge:
        if limit == self.memory.most:
            return BodyTooLarge(
                f"the request has {size} bytes or more, and all uploads together may have {limit} (--upload-memory): "
                "send smaller pictures"
            )
        return BodyTooLarge(f"the body has {size} bytes or more, the limit is {limit}: send a smaller picture")
