"""Where results may be written, checked before anything is computed."""

from __future__ import annotations

import os
from pathlib import Path

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn_client.names import real_path

STANDARD = Path("-")
"""Standard output."""

_OPEN = ("/dev/stdout", "/dev/stderr", "/dev/stdin", "/dev/fd/", "/proc/self/fd/")  # files that are open already


def check_place(path: Path, source: str = "", named: str = "") -> None:
    """Refuse a path at which no file can be written.

    Args:
        path: of the file.
        source: another file, which must not be the same; "" for none.
        named: what messages call the file; "" for its path.

    Raises:
        InvalidOptions: what is wrong, and what to name instead.
    """
    named = named or str(path)
    try:
        _check_file(path, source, named)
        path.with_name(f".{path.name}.part").exists()  # the unfinished file has a longer name, perhaps too long
    except OSError as error:
        raise InvalidOptions(f"{named}: cannot be written ({error.strerror}); choose another name") from None
    require_folder(real_path(path).parent, named)


def _check_file(path: Path, source: str, named: str) -> None:
    if path.is_dir():
        raise InvalidOptions(f"{named} is a folder: name a file in it")
    if str(path).startswith(_OPEN) or (path.exists() and not path.is_file()):  # the finished file would replace it
        raise InvalidOptions(f"{named} is a device or a pipe, no file: name a file")
    if path.exists() and source and "://" not in source and Path(source).exists() and path.samefile(source):
        raise InvalidOptions(f"{named} is the source itself: choose another name for the result")


def require_folder(folder: Path, named: str) -> None:
    """Make a folder for results.

    Args:
        folder: to be written to.
        named: the result, for messages.

    Raises:
        InvalidOptions: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidOptions(f"{named}: no folder can be made there ({error.strerror}); name another") from error
    if not os.access(folder, os.W_OK):
        raise InvalidOptions(f"{named}: nothing can be written there; name another folder")
