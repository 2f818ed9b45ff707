"""Unexpected exceptions: logged in full, and answered by a problem with the request's id and without internals."""

from __future__ import annotations

import asyncio

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parsing_rcnn.errors import EngineUnavailable, ParsingRCNNError
from server.responses.problems import UNEXPECTED, problem

log = structlog.get_logger("server")


class Unexpected:
    """Answers 500 if the application raised, and 503 if the gateway stops; neither if the answer has begun."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except asyncio.CancelledError:  # raised by uvicorn when the time to drain is over
            log.warning("cut off: the gateway stops", path=scope["path"], begun=begun)
            if begun:
                return  # the client sees that bytes are missing
            answer = problem(Request(scope), EngineUnavailable("the gateway stops, and this request took too long"))
            answer.headers["Connection"] = "close"
            await answer(scope, receive, send)
        except Exception as error:
            log.error("unexpected error", path=scope["path"], exc_info=error)
            if begun:
                raise
            await problem(Request(scope), ParsingRCNNError(UNEXPECTED))(scope, receive, send)
