"""Whether the library of WebSockets would accept a stream's handshake, before it is asked: by itself it refuses without
an id, a line in the log or a count, or does not answer at all."""

from __future__ import annotations

from typing import cast

from websockets.exceptions import InvalidHeader, SecurityError
from websockets.http11 import MAX_LINE_LENGTH, MAX_NUM_HEADERS, Request
from websockets.server import ServerProtocol

from parsing_rcnn.errors import ParsingRCNNError
from server.errors import HeadersTooLarge, MalformedRequest, UnknownVersion

_VERSION = "Sec-WebSocket-Version"


def refusal(url: bytes, headers: list[tuple[bytes, bytes]]) -> ParsingRCNNError | None:
    """Why no stream can begin with this head, which is that of a GET; None if one can."""
    protocol = ServerProtocol()
    fields = [b"%s: %s" % field for field in headers]
    protocol.receive_data(b"\r\n".join([b"GET %s HTTP/1.1" % url, *fields, b"", b""]))
    read = protocol.events_received()
    if read and protocol.accept(cast(Request, read[0])).status_code == 101:
        return None
    error = protocol.handshake_exc
    cause = (error and error.__cause__) or error
    if isinstance(cause, SecurityError):
        limit = f"{MAX_NUM_HEADERS} headers, and lines of {MAX_LINE_LENGTH} bytes"
        return HeadersTooLarge(f"a stream may begin with {limit}, address and headers: send less")
    if not read:
        return MalformedRequest(f"the request is not valid HTTP/1.1: {cause}")
    if isinstance(error, InvalidHeader) and error.name == _VERSION and error.value is not None:
        return UnknownVersion(f"{error}: streams are WebSockets of version 13")
    return MalformedRequest(f"the request begins no stream: {error}")


def headers_of(error: ParsingRCNNError) -> dict[str, str]:
    """Headers that say which version is spoken (RFC 6455, 4.4, and RFC 9110, 15.5.22), where another one was asked."""
    if not isinstance(error, UnknownVersion):
        return {}
    return {_VERSION: "13", "Upgrade": "websocket", "Connection": "upgrade"}
