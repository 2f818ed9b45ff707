"""What is checked of a request when its head has come, before the application learns of it."""

from __future__ import annotations

from server.connection.limits import ConnectionLimits
from server.connection.readers import Readers
from server.errors import Busy, MalformedRequest


def check_host(headers: list[tuple[bytes, bytes]], version: str) -> None:
    """A request has one `Host` (RFC 9112, 3.2): of two, a proxy and the gateway may each believe another one. In
    HTTP/1.0 and before it may have none, as in the probes of some load balancers.

    Raises:
        MalformedRequest: it has none, or several.
    """
    count = [name for name, _ in headers].count(b"host")
    if count > 1 or (count == 0 and version not in ("0.9", "1.0")):
        raise MalformedRequest(
            f"the request has {count} headers `Host`: send one, with the name or address of the gateway"
        )


def check_turn(waiting: int, limits: ConnectionLimits) -> None:
    """Of a connection's requests only so many may wait for the answers to those before them: each takes memory.

    Raises:
        MalformedRequest: one more came.
    """
    if waiting >= limits.pipelined:
        raise MalformedRequest(
            f"before this request {waiting} others of the connection wait for their turn, which is the limit: read "
            "their answers first"
        )


def check_memory(method: bytes, readers: Readers) -> None:
    """Check whether there is room for what is computed.

    Raises:
        Busy: answers that wait to be read have too many bytes.
    """
    if method == b"POST" and not readers.make_room():
        raise Busy(
            f"answers that wait to be read have {readers.unread} bytes, and may have {readers.limit} "
            "(--upload-memory): come back in a moment"
        )


def no_place(limits: ConnectionLimits) -> Busy:
    """The refusal of a connection beyond the limit."""
    return Busy(
        f"{limits.connections} connections are open, which is the limit (--max-connections): come back in a moment"
    )
