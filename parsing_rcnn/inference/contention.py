"""Whether other inferences run at the same time: in threads of this process, or in other processes of a server."""

from __future__ import annotations

import math
import os
import struct
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import ClassVar

if sys.platform != "win32":
    import fcntl

_LINGER = 0.015  # seconds after which another inference is forgotten: a picture has stretches without inferences
_FLOCK = "hhqqi"  # type, whence, start, length, process: struct flock of Linux
_REQUEST_BYTE = 8  # locked by every process that handles a request


class Contention(ABC):
    """Tells an inference whether it has the processor to itself.

    Class attributes:
        concurrent: whether one process may run several inferences at the same time.
    """

    concurrent: ClassVar[bool]

    def __init__(self) -> None:
        self._last_seen = -math.inf  # time.monotonic() of the last inference that met another one
        self._assumed: bool | None = None

    @contextmanager
    def running(self) -> Iterator[bool]:
        """Wrap one inference. Yields whether it is alone: no other one runs, or ran a moment ago."""
        with self._entered() as others:
            now = time.monotonic()
            if others:
                self._last_seen = now
            yield now - self._last_seen > _LINGER if self._assumed is None else self._assumed

    @contextmanager
    def assuming(self, *, alone: bool) -> Iterator[None]:
        """Every inference in here is told `alone`, whatever else runs.

        Graphs are compiled differently for the two cases, and this has each compiled before it is needed.
        """
        self._assumed = alone
        try:
            yield
        finally:
            self._assumed = None

    @abstractmethod
    def _entered(self) -> AbstractContextManager[bool]:
        """Register one inference for its duration. Yields whether others are registered."""


class Threads(Contention):
    """Between the threads of this process."""

    concurrent = True

    def __init__(self) -> None:
        super().__init__()
        self._lock, self._inside = threading.Lock(), 0

    @contextmanager
    def _entered(self) -> Iterator[bool]:
        with self._lock:
            others = self._inside > 0
            self._inside += 1
        try:
            yield others
        finally:
            with self._lock:
                self._inside -= 1


class Siblings(Contention):
    """Between the child processes of one parent, as Triton's python models are, on Linux.

    Each process holds a shared lock on one byte of the parent's folder in /proc and asks the kernel which bytes others
    have locked. Nothing is written, nobody ever waits, and the locks of a killed process vanish with it.

    Args:
        rank: the byte that this process locks. Processes that work on the same picture side by side share a rank and do
            not watch it: a single picture does not contend with itself.
        watched_ranks: how many ranks this process looks at, 0 to `watched_ranks` - 1.

    Attributes:
        visible_to_others: whether the inferences of this process count for the others. May be changed at any time.
    """

    concurrent = False

    def __init__(self, rank: int, watched_ranks: int) -> None:
        super().__init__()
        self.visible_to_others = True
        self._rank, self._watched_ranks = rank, watched_ranks
        self._file = os.open(f"/proc/{os.getppid()}", os.O_RDONLY)

    @contextmanager
    def handling_request(self) -> Iterator[None]:
        """Wrap one request, whatever it computes; `children_busy` sees it from outside."""
        fcntl.lockf(self._file, fcntl.LOCK_SH, 1, _REQUEST_BYTE)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _REQUEST_BYTE)

    @contextmanager
    def _entered(self) -> Iterator[bool]:
        visible = self.visible_to_others
        if visible:
            fcntl.lockf(self._file, fcntl.LOCK_SH, 1, self._rank)
        try:
            yield _locked_by_others(self._file, 0, self._watched_ranks)
        finally:
            if visible:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._rank)


def children_busy(parent: int) -> bool:
    """Whether a child of the process `parent` handles a request (`Siblings.handling_request`)."""
    try:
        file = os.open(f"/proc/{parent}", os.O_RDONLY)
    except OSError:  # it has ended, or this is no Linux
        return False
    try:
        return _locked_by_others(file, _REQUEST_BYTE, 1)
    finally:
        os.close(file)


def _locked_by_others(file: int, first: int, count: int) -> bool:
    """Whether another process holds a lock on one of `count` bytes from `first` on."""
    query = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, first, count, 0)
    return bool(struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, query))[0] != fcntl.F_UNLCK)


THREADS = Threads()
"""All inferences of this process."""
