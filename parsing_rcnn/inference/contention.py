"""Who computes at the same time: of the threads of a process, or of the processes of a server."""

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

_LINGER = 0.015  # seconds for which whoever was met is expected again: pictures have stretches without inferences
_FLOCK = "hhqqi"  # type, whence, start, length, process: struct flock of Linux
_AT_WORK = 8  # the byte of everybody with a request in hand


class Company(ABC):
    """Whether an inference has the processor to itself.

    Class attributes:
        at_once: whether one process may compute several at the same time.
    """

    at_once: ClassVar[bool]

    def __init__(self) -> None:
        self._met = -math.inf
        self._pretended: bool | None = None

    @contextmanager
    def joined(self) -> Iterator[bool]:
        """While something is computed. Yields whether nobody else computes, or did a moment ago."""
        with self._entered() as others:
            now = time.monotonic()
            if others:
                self._met = now
            yield now - self._met > _LINGER if self._pretended is None else self._pretended

    @contextmanager
    def pretended(self, *, alone: bool = False) -> Iterator[None]:
        """Nobody is alone in here, or everybody: to have compiled beforehand what is computed beside others, or not."""
        self._pretended = alone
        try:
            yield
        finally:
            self._pretended = None

    @abstractmethod
    def _entered(self) -> AbstractContextManager[bool]:
        """While something is computed; whether others do."""


class Threads(Company):
    """Of this process."""

    at_once = True

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


class Siblings(Company):
    """Processes of one parent, as Triton's models are, on Linux.

    Each holds a shared lock on a byte of the parent's folder in /proc and asks the kernel who else does: nothing is
    written, nobody ever waits, and a process that was killed holds nothing.

    Args:
        rank: which byte. Those who work on one picture side by side share one that they do not ask for: a picture by
            itself is beside nobody.
        hears: whom this process takes for company, ranks 0 to `hears` - 1.

    Attributes:
        heard: whether others take this process for company now.
    """

    at_once = False

    def __init__(self, rank: int, hears: int) -> None:
        super().__init__()
        self.heard = True
        self._rank, self._hears = rank, hears
        self._file = os.open(f"/proc/{os.getppid()}", os.O_RDONLY)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While a request is in hand, whatever computes it: `works` tells it from outside."""
        fcntl.lockf(self._file, fcntl.LOCK_SH, 1, _AT_WORK)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _AT_WORK)

    @contextmanager
    def _entered(self) -> Iterator[bool]:
        heard = self.heard
        if heard:
            fcntl.lockf(self._file, fcntl.LOCK_SH, 1, self._rank)
        try:
            yield _held(self._file, 0, self._hears)
        finally:
            if heard:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._rank)


def works(parent: int) -> bool:
    """Whether a child of this process has a request in hand (`Siblings.at_work`)."""
    try:
        file = os.open(f"/proc/{parent}", os.O_RDONLY)
    except OSError:  # it has ended, or this is no Linux
        return False
    try:
        return _held(file, _AT_WORK, 1)
    finally:
        os.close(file)


def _held(file: int, first: int, count: int) -> bool:
    """Whether another process has a lock on some of these bytes."""
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, first, count, 0)
    return bool(struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK)


THREADS = Threads()
"""All inferences of this process."""
