"""Keeps pages of other sites from using the gateway through the browsers of its users, who reach it on 127.0.0.1."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from parsing_rcnn.errors import ParsingRCNNError
from server.errors import ForeignPage, UnknownHost
from server.middleware.access import refuse
from server.settings import Settings, is_loopback


class SameSite:
    """Refuses computation for pages of another origin. It also refuses requests whose Host is another name than those
    of `hosts`, and on this machine's own addresses than localhost where there are none: a page's name can be made to
    lead here after the page is loaded (DNS rebinding)."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            try:
                self._check_host(scope)
                # CORS hides answers from foreign pages, but does not prevent computation or streams
                if scope["type"] == "websocket" or scope["method"] == "POST":
                    self._check_origin(scope)
            except ParsingRCNNError as error:
                await refuse(error, scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _check_host(self, scope: Scope) -> None:
        """Refuse a foreign Host."""
        if "*" in self.settings.names or not (self.settings.names or self._is_ours_alone(scope)):
            return
        host = HTTPConnection(scope).headers.get("host", "")
        name = _name(host)
        if not host or _is_address(name) or name == "localhost" or name.endswith(".localhost"):
            return
        if name not in self.settings.names:
            known = ", ".join(("localhost", *self.settings.names))
            raise UnknownHost(
                f"Host: {host[:100]!r}: this gateway is {known}, or an address; where a proxy in front of it, or this "
                "machine, has that name, allow it with --hosts"
            )

    def _is_ours_alone(self, scope: Scope) -> bool:
        """Whether only programs of this machine ask, its browsers among them. Behind a trusted proxy Host is whatever
        that is called, and not over a loopback socket the calling program knows whom it asks."""
        server = scope.get("server")
        own = server is not None and is_loopback(server[0])
        return own and is_loopback(self.settings.host) and not self.settings.proxies

    def _check_origin(self, scope: Scope) -> None:
        headers, settings = HTTPConnection(scope).headers, self.settings
        origin = headers.get("origin")
        if origin is None or "*" in settings.origins or origin in settings.origins:
            return
        # set by the browser, no page can forge it; Host may be another name, given by a proxy
        if headers.get("sec-fetch-site") == "same-origin":
            return
        try:
            own = urlsplit(origin).netloc == headers.get("host")
        except ValueError:  # no address, so not one of ours
            own = False
        if not own:
            what = "open streams" if scope["type"] == "websocket" else "ask"
            raise ForeignPage(f"the origin {origin[:100]!r} may not {what} here: allow it with --cors")


def _name(host: str) -> str:
    """The name in a header `Host`, without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    """Whether it is an address: only a name can be made to lead elsewhere."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
