"""Whether an inference has the processor to itself, told between threads and processes by a lock on a file."""

from __future__ import annotations

import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_LINGER = 0.015  # seconds for which whoever was met is expected again: pictures have stretches without inferences
_MEMORY = Path("/dev/shm")  # never on a network, and writable in containers whose other folders are not


class Company:
    """Who of one user's threads and processes computes on this machine at the same time.

    An exclusive lock is to be had by nobody but the only one; who computes holds a shared one, which the kernel takes
    back from a process that dies. Where there are no locks (Windows) everybody is alone.

    Args:
        path: of the file; None: one for each user.
    """

    def __init__(self, path: Path | None = None) -> None:
        user = os.getuid() if hasattr(os, "getuid") else 0
        folder = _MEMORY if os.access(_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
        self.path = path or folder / f"prcnn_computing_{user}"
        self._met = -math.inf

    @contextmanager
    def joined(self) -> Iterator[bool]:
        """While something is computed. Yields whether nobody else computes, or did a moment ago."""
        try:
            # through no link that another user put there
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        except OSError:
            yield True
            return
        try:
            if not _alone(file):
                self._met = time.monotonic()
            yield time.monotonic() - self._met > _LINGER
        finally:
            os.close(file)


def _alone(file: int) -> bool:
    """Take a lock on an open file that others can share, and say whether nobody else has one."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except BlockingIOError:
        alone = False
    fcntl.flock(file, fcntl.LOCK_SH)
    return alone
