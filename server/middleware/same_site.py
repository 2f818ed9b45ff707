"""Pages from elsewhere do not use the gateway through the browsers of its users, who reach it on 127.0.0.1."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from parsing_rcnn.errors import ParsingRCNNError
from server.middleware.access import refuse
from server.responses.problems import ForeignPage, UnknownHost
from server.settings import Settings, is_loopback


class SameSite:
    """Refuses what a page of another origin asks to be computed, and on this machine's own addresses requests that are
    meant for another name: a page's name can be made to lead here after the page is loaded (DNS rebinding)."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            try:
                self._check_host(scope)
                # CORS keeps answers from foreign pages; what is computed, and streams, it does not keep from beginning
                if scope["type"] == "websocket" or scope["method"] == "POST":
                    self._check_origin(scope)
            except ParsingRCNNError as error:
                await refuse(error, scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _check_host(self, scope: Scope) -> None:
        """Behind a trusted proxy the host is whatever the proxy is called."""
        settings, server = self.settings, scope.get("server")
        if not is_loopback(settings.host) or settings.proxies or "*" in settings.names:
            return
        if server is None or not is_loopback(server[0]):
            return  # called by another program, which knows for whom
        host = HTTPConnection(scope).headers.get("host", "")
        name = _name(host)
        if not host or _is_address(name) or name == "localhost" or name.endswith(".localhost"):
            return
        if name not in settings.names:
            raise UnknownHost(
                f"Host: {host[:100]!r}: this gateway is for its own machine, as localhost; where a proxy in front of "
                "it, or this machine, has that name, allow it with --hosts"
            )

    def _check_origin(self, scope: Scope) -> None:
        headers, settings = HTTPConnection(scope).headers, self.settings
        origin = headers.get("origin")
        if origin is None or "*" in settings.origins or origin in settings.origins:
            return
        # a browser's own word, which no page can write: a proxy may have called us by another name than it
        if headers.get("sec-fetch-site") == "same-origin":
            return
        try:
            own = urlsplit(origin).netloc == headers.get("host")
        except ValueError:  # no address, so not ours
            own = False
        if not own:
            what = "open streams" if scope["type"] == "websocket" else "ask"
            raise ForeignPage(f"the origin {origin[:100]!r} may not {what} here: allow it with --cors")


def _name(host: str) -> str:
    """Of a header `Host`, without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    """No name, so none that could be made to lead elsewhere."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
