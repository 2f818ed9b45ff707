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

_RATE = 8 * 1024  # bytes a second, at which a body may go on to arrive
_MOST = 600.0  # seconds for all of it, as for an answer to be read


class Arrival:
    """Until when a body may arrive: who sends on at `_RATE` or faster has more time than `seconds`, up to `_MOST`.

    What came faster is no credit: after `seconds` without a byte no body is waited for, however much of it is held.
    Nor is there more time while all uploads together hold half of the memory: a few bodies that are sent fast but for
    their ends, and these at `_RATE`, would else keep everybody out for `_MOST`. They go `seconds` later at the latest.

    Args:
        seconds: time for a body at any rate.
        now: when it begins.
        memory: of all uploads together.

    Attributes:
        end: until when its next bytes must come.
    """

    def __init__(self, seconds: float, now: float, memory: UploadMemory) -> None:
        self.end = now + seconds
        self._memory, self._seconds, self._last = memory, seconds, now + max(seconds, _MOST)

    def came(self, size: int, now: float) -> None:
        """So many bytes have come, and are held."""
        if self._memory.roomy:
            self.end = min(self.end + size / _RATE, now + self._seconds, self._last)


class BodyLimit:
    """Checks Content-Length first, then counts bytes, as a body may come without that header, or with a false one.

    Puts `share` into the scope, the `Share` of `memory` that the request holds until it is answered.

    Args:
        limit: path -> most bytes of a body.
        seconds: time for a body to arrive, of `Arrival`.
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
        begun = time.monotonic()
        arrival = Arrival(self.seconds, begun, self.memory)

        async def counted() -> Message:
            nonlocal received, complete
            if complete:  # after the body only a disconnect can come
                return await receive()
            try:
                async with asyncio.timeout(arrival.end - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                raise UploadTimeout(
                    f"after {time.monotonic() - begun:.3g} s the body has {received} bytes and no end. It may take "
                    f"{self.seconds:g} s (--upload-seconds), and up to {max(self.seconds, _MOST):g} s while it arrives "
                    f"at {_RATE} bytes a second or faster and all uploads together hold less than "
                    f"{self.memory.most / 2:.0f} bytes (half of --upload-memory): send it faster, or smaller"
                ) from None
            complete = not message.get("more_body", False)
            size = len(message.get("body", b""))
            received += size
            share.hold(size)
            arrival.came(size, time.monotonic())
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
