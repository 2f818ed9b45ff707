"""Parses the JSON of a request with bounded memory."""

from __future__ import annotations

from typing import Any

import orjson

from server.errors import MalformedRequest

_MOST_VALUES = 10_000
"""A picture in base64 is one value, and a batch of 256 pictures has some 600. A million small values would take a
hundred times their bytes as objects, and block the interpreter for seconds."""


def load(text: bytes | str, what: str, unreadable: str = "is not JSON") -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        text: the JSON.
        what: name of the text, for error messages.
        unreadable: what error messages say of text that cannot be parsed.

    Raises:
        MalformedRequest: it is not a JSON object, or has more values than any request needs.
    """
    data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    if sum(map(data.count, (b",", b"[", b"{"))) > _MOST_VALUES:  # each value needs one of these
        raise MalformedRequest(f"{what} has more than {_MOST_VALUES} values: send the picture and its options alone")
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"{what} {unreadable}: {error}") from None
    if not isinstance(document, dict):
        raise MalformedRequest(f"{what} is JSON, but not an object")
    return document
