"""Checks API keys: where the gateway has keys, nothing is computed for callers without one."""

from __future__ import annotations

from functools import partial
from ipaddress import IPv6Address, IPv6Network, ip_address

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from parsing_rcnn.errors import ParsingRCNNError
from server.errors import Unauthorized
from server.keys import KeyFile
from server.responses.problems import problem

# open without a key: probes, and the page with its files; the page asks for the key itself
_OPEN = ("/healthz", "/livez", "/readyz", "/v2/health/", "/assets/", "/docs", "/openapi.json")
_SUBPROTOCOL = "key."


class Access:
    """Puts `caller` into the scope: the name of the key or, without keys, what `share_of` makes of the address. Also
    puts `identify` there, a function that checks the key again, as it may be revoked during a long stream."""

    def __init__(self, app: ASGIApp, keys: KeyFile | None) -> None:
        self.app, self.keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            try:
                scope["identify"] = partial(self._caller, scope)
                scope["caller"] = scope["identify"]()
            except ParsingRCNNError as error:
                await refuse(error, scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _caller(self, scope: Scope) -> str:
        address = address_of(scope)
        if self.keys is None or scope["path"] == "/" or scope["path"].startswith(_OPEN) or _is_preflight(scope):
            return share_of(address)
        key = _key(HTTPConnection(scope))
        if key is None:
            raise Unauthorized("send your key as `Authorization: Bearer KEY` or `X-API-Key: KEY`")
        name = self.keys.name_of(key)
        if name is None:
            raise Unauthorized("this key is not known here: it may have been replaced; ask whoever runs the gateway")
        return name


def address_of(scope: Scope) -> str:
    """The caller's address; "local" where the server has none, as on a Unix socket."""
    return str(scope["client"][0]) if scope.get("client") else "local"


def share_of(address: str) -> str:
    """The caller that an address belongs to: each IPv4 address (also mapped into IPv6) is one, and each /64 of IPv6,
    as a single machine can choose any address in it.

    Example:
        >>> share_of("::ffff:192.0.2.7"), share_of("2001:DB8::7"), share_of("testclient")
        ('192.0.2.7', '2001:db8::/64', 'testclient')
    """
    try:
        found = ip_address(address)
    except ValueError:  # "local", or any text from a trusted proxy
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    return str(found.ipv4_mapped or IPv6Network((int(found), 64), strict=False))


def _is_preflight(scope: Scope) -> bool:
    return bool(scope["type"] == "http" and scope["method"] == "OPTIONS")


def _key(connection: HTTPConnection) -> str | None:
    scheme, _, value = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if given := connection.headers.get("x-api-key"):
        return given
    # a browser can set no headers of a WebSocket, only subprotocols
    for protocol in connection.headers.get("sec-websocket-protocol", "").split(","):
        if protocol.strip().startswith(_SUBPROTOCOL):
            return protocol.strip().removeprefix(_SUBPROTOCOL)
    return None


async def refuse(error: ParsingRCNNError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a problem; a WebSocket is refused before it opens."""
    answer: Response = problem(HTTPConnection(scope), error)
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": error.title})
    else:
        await answer(scope, receive, send)
