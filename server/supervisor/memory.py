"""The shared memory of a server's python models: files whose names begin with the server's own prefix."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from server.engines.shared_memory import FOLDER


def hide(prefix: str) -> None:
    """Close the files to other users of this machine: Triton 2.51 opens them to all, whatever the umask, and they hold
    callers' photos."""
    for path in FOLDER.glob(f"{prefix}*"):
        with suppress(OSError):  # removed meanwhile, another user's from before, or a link
            _close(path)


def _close(path: Path) -> None:
    """Close one file, if it is a file and ours alone.

    Everybody may write to the folder: a link there may lead to any file of ours, and a pipe would keep us waiting.
    """
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(file)
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1:
            os.fchmod(file, 0o600)
    finally:
        os.close(file)


def clear(prefix: str) -> None:
    """Remove what a killed server or killed models left; only this server uses the prefix."""
    for path in FOLDER.glob(f"{prefix}*"):
        with suppress(OSError):
            path.unlink()
