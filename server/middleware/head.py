"""HEAD requests, with which monitors, proxies and `curl -I` ask whether something is there."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Head:
    """Answers HEAD like GET, without the body; except below `/v2`, whose protocol defines its methods."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].startswith("/v2"):
            await self.app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        # a copy of the scope: the server and the log must see the method that was sent
        await self.app({**scope, "method": "GET"}, receive, without_body)
