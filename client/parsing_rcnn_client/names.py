"""Names of files as text that can be written to any document, and the paths behind links."""

from __future__ import annotations

import os
import re
from pathlib import Path

_LONE = re.compile("[\ud800-\udfff]")


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
