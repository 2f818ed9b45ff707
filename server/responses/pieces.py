"""Answers that are made piece by piece, and sent so where they are large."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from server.requests.call import ClientGone
from server.requests.inputs import while_connected

_WHOLE = 2**22  # bytes of an answer up to which it is sent whole

log = structlog.get_logger("server")


async def answer(
    request: Request, pieces: AsyncGenerator[bytes, None], media_type: str, sent: Callable[[], None]
) -> Response:
    """The answer of these pieces.

    A small one is whole before it begins, and says how long it is. A large one begins before its last pieces are made,
    each of which is begun when the client has read those before it. If one cannot be made, the connection is closed
    without the end of the chunked encoding, so that no client takes the answer for whole.

    Args:
        request: whose client is watched. Where it speaks HTTP/1.0, which knows no chunks, the answer is whole.
        pieces: of the body; they are closed when the client leaves.
        media_type: of the body.
        sent: called when a piece is about to be sent, after which the client reads for as long as it likes.

    Raises:
        ClientGone: the client disconnected before the answer began.
    """
    headers = {"Vary": "Accept"}
    first: list[bytes] = []
    while request.scope["http_version"] == "1.0" or sum(map(len, first)) <= _WHOLE:
        piece = await while_connected(request, anext(pieces, None))
        if piece is None:
            return Response(b"".join(first), media_type=media_type, headers=headers)
        first.append(piece)
    return _Streamed(_rest(request, first, pieces, sent), media_type=media_type, headers=headers)


async def _rest(
    request: Request, first: list[bytes], pieces: AsyncGenerator[bytes, None], sent: Callable[[], None]
) -> AsyncIterator[bytes]:
    async with aclosing(pieces):
        while piece := first.pop(0) if first else await while_connected(request, anext(pieces, b"")):
            sent()
            yield piece
            piece = b""  # the connection has it, and counts it among what waits to be read
            yield piece  # taken when what was sent is read: else the next piece would be made, and wait beside it


class _Streamed(StreamingResponse):
    """Starlette's own waits for messages of the client at the same time as `while_connected` does."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.stream_response(send)
        except ClientGone:
            log.info("closed", reason="the client left before the end of its answer", request_id=scope["request_id"])
