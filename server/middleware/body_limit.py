"""Limits on request bodies: bytes of one, bytes of all together, and the time until a body is complete."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parsing_rcnn.errors import ParsingRCNNError
from server.errors import BodyTooLarge, Busy, UploadTimeout
from server.responses.problems import problem


class BodyLimit:
    """Checks Content-Length first, then counts bytes, as a body may come without that header, or with a false one.

    Puts `hold` into the scope: a function that counts further bytes, such as fetched pictures, against `memory`.

    Args:
        limit: path -> most bytes of a body.
        seconds: time for a body to arrive.
        memory: most bytes of all bodies together.
        refused: called with path and error of each request that is refused here, before any route.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit: Callable[[str], int],
        seconds: float,
        memory: int,
        refused: Callable[[str, ParsingRCNNError], None],
    ) -> None:
        self.app, self.limit, self.seconds, self.memory, self.refused = app, limit, seconds, memory, refused
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = min(self.limit(scope["path"]), self.memory)
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            error = self._too_large(int(declared), limit)
            self.refused(scope["path"], error)
            await problem(Request(scope), error)(scope, receive, send)
            return
        received, complete = 0, False
        end = time.monotonic() + self.seconds

        def hold(size: int) -> None:
            """Count bytes that the request holds in memory until it is answered."""
            nonlocal received
            received += size
            self._held += size
            if received > self.memory:  # waiting would not help
                raise self._too_large(received, self.memory)
            if self._held > self.memory:
                raise Busy(
                    f"all uploads together are beyond {self.memory} bytes (--upload-memory): come back in "
                    f"{Busy.retry_after:g} s"
                )

        async def counted() -> Message:
            nonlocal complete
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
            hold(len(message.get("body", b"")))
            if received > limit:
                raise self._too_large(received, limit)
            return message

        scope["hold"] = hold
        try:
            await self.app(scope, counted, send)
        finally:
            self._held -= received

    def _too_large(self, size: int, limit: int) -> BodyTooLarge:
        if limit == self.memory:
            return BodyTooLarge(
                f"the request has {size} bytes or more, and all uploads together may have {limit} (--upload-memory): "
                "send smaller pictures"
            )
        return BodyTooLarge(f"the body has {size} bytes or more, the limit is {limit}: send a smaller picture")
