"""Parses JSON of a request, with a bound on the memory that it may take."""

from __future__ import annotations

from typing import Any

import orjson

from server.responses.problems import MalformedRequest

_MOST_VALUES = 10_000
"""A picture in base64 is one value, and a batch of 256 pictures has some 600. A million small ones would become a
hundred times their bytes, and hold the interpreter for seconds."""


def load(text: bytes | str, what: str, unreadable: str = "is not JSON") -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        text: the JSON.
        what: what it is, for error messages.
        unreadable: message for JSON that cannot be parsed.

    Raises:
        MalformedRequest: it is no JSON object, or has more values than any request needs.
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
