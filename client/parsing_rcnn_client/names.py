"""Names of files and addresses as text for documents and messages, and the paths behind links."""

from __future__ import annotations

import os
import re
from pathlib import Path

_LONE = re.compile("[\ud800-\udfff]")
_PRIVATE = re.compile(r"^(\w+://)?.*@")
_HOST = re.compile(r"^(\w+://)?[^/?#]*")
_SECRET = re.compile(r"((?:pass?(?:word|wd|phrase)?|pwd?|psw|token|key|auth|secret)=)[^&;\s]*", re.IGNORECASE)


def legible(name: str) -> str:
    r"""A file name that can be encoded as UTF-8.

    Python represents bytes of a name that are not valid UTF-8 by lone surrogates; they become U+FFFD here.

    Example:
        >>> legible("caf\udce9.jpg") == "caf\ufffd.jpg"
        True
    """
    return _LONE.sub("\ufffd", name)


def real_path(path: Path) -> Path:
    """`Path.resolve`, but without its RuntimeError for links that form a loop (Python 3.12 and older).

    A loop stays in the path, so whoever opens it gets the system's error.
    """
    return Path(os.path.realpath(path))


def hidden(url: str) -> str:
    """An address for messages: without user name and password, also those that cameras expect in the path or query.

    Example:
        >>> hidden("rtsp://me:secret@camera/1"), hidden("rtsp://camera/user=me&password=secret&channel=1")
        ('rtsp://***@camera/1', 'rtsp://camera/user=me&password=***&channel=1')
    """
    host = _HOST.match(url)
    end = 0 if host is None else host.end()
    return _PRIVATE.sub(r"\1***@", url[:end] + _SECRET.sub(r"\1***", url[end:]))
