"""Names of files as text that every document can carry."""

from __future__ import annotations

import re

_LONE = re.compile("[\ud800-\udfff]")


def legible(name: str) -> str:
    r"""A name without what no UTF-8 can say: a byte of a file's name that is none, which Python keeps as half a pair.

    Example:
        >>> legible("caf\udce9.jpg") == "caf\ufffd.jpg"
        True
    """
    return _LONE.sub("\ufffd", name)
