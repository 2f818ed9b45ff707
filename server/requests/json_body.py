"""Parses the JSON of a request with bounded memory."""

from __future__ import annotations

import binascii
import re
import secrets
from collections.abc import Mapping
from itertools import islice
from typing import Any

import orjson

from server.errors import MalformedRequest

_MOST_VALUES = 10_000
"""A picture in base64 is one value, and a batch of 256 pictures has some 600. A million small values would take a
hundred times their bytes as objects, and block the interpreter for seconds."""
_LONG = 64 * 1024  # letters of a text, above which it is worth decoding where it stands
_PICTURE = re.compile(rb'"(?:value|data)"\s*:[\s\[]*"')  # before the text of a picture, in /v1 and in /v2


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
    if _too_many(data):
        raise MalformedRequest(f"{what} has more than {_MOST_VALUES} values: send the picture and its options alone")
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"{what} {unreadable}: {error}") from None
    if not isinstance(document, dict):
        raise MalformedRequest(f"{what} is JSON, but not an object")
    return document


def take_pictures(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Decode long base64 texts of JSON where they stand: the parser would copy them twice more.

    What cannot be decoded so, because it is no base64 or has escapes (`\\/`), stays in the JSON.

    Returns:
        The JSON with a name in place of each text, and name -> bytes, for `put_pictures`.
    """
    found: dict[str, bytes] = {}
    pieces: list[bytes | memoryview] = []
    view, secret, at = memoryview(data), secrets.token_hex(8), 0
    if not _too_many(data):  # else `load` refuses it
        for match in islice(_PICTURE.finditer(data), _MOST_VALUES):
            start = match.end()
            end = data.find(b'"', start)
            if end - start < _LONG:
                continue
            try:
                picture = binascii.a2b_base64(view[start:end], strict_mode=True)
            except binascii.Error:
                continue
            name = f"{secret}-{len(found)}"  # nobody can have sent it
            found[name] = picture
            pieces += [view[at:start], name.encode()]
            at = end
    return (b"".join([*pieces, view[at:]]) if found else data), found


def put_pictures(document: dict[str, Any], found: Mapping[str, bytes]) -> None:
    """Replace the names in a document that `load` made by the bytes that `take_pictures` found."""
    waiting: list[Any] = [document] if found else []
    while waiting:
        owner = waiting.pop()
        for key, value in list(owner.items() if isinstance(owner, dict) else enumerate(owner)):
            if isinstance(value, str) and value in found:
                owner[key] = found[value]
            elif isinstance(value, dict | list):
                waiting.append(value)


def _too_many(data: bytes) -> bool:
    """Whether JSON has too many values, each of which needs one of these."""
    return sum(map(data.count, (b",", b"[", b"{"))) > _MOST_VALUES
