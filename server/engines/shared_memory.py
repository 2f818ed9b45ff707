"""Shared memory with a Triton server on the same machine: pictures and answers bypass the connection.

Each picture on its way (at each size) has a slot: a file in /dev/shm that both processes map. The gateway locks its
files as long as it lives. A file without a lock was left by a killed gateway, and the next gateway removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import mmap
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from parsing_rcnn.limits import MAX_PEOPLE

FOLDER = Path("/dev/shm")
PREFIX = "prcnn_gateway_"
PICTURE = 1024 * 1024  # bytes of an encoded picture; a larger one goes over the connection
UNSURE = 120.0  # seconds after which Triton surely writes no more answer to a request that was given up
_LINE = 64

log = structlog.get_logger("server")


@dataclass
class Slot:
    """Memory for one picture and its answer.

    Attributes:
        name: of the file in /dev/shm.
        file: its descriptor, which holds the lock.
        memory: its mapping.
        request: the last request that used the slot.
    """

    name: str
    file: int
    memory: mmap.mmap
    request: asyncio.Future[Any] | None = None

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self.memory)

    def put(self, picture: bytes) -> int:
        """Write a picture as a BYTES element: its length, then its bytes. Returns the number of bytes written."""
        self.memory[:4] = len(picture).to_bytes(4, "little")
        self.memory[4 : 4 + len(picture)] = picture
        return 4 + len(picture)

    def get(self, offset: int, dtype: np.dtype[np.generic], shape: Sequence[int]) -> NDArray[np.generic]:
        """A copy of an array that Triton wrote."""
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(self.memory, dtype, count, offset).reshape(tuple(shape)).copy()

    def close(self) -> None:
        """Remove the file; a process that still maps it keeps the pages until it ends."""
        (FOLDER / self.name).unlink(missing_ok=True)
        self.memory.close()
        os.close(self.file)


class SharedMemory:
    """The slots, which are made when first needed, and reused.

    Args:
        most: the most slots; further pictures go over the connection.
        rows: bytes of one person in each output of the ensembles.
    """

    def __init__(self, most: int, rows: Mapping[str, int]) -> None:
        self._most, self._rows = most, dict(rows)
        self._free: list[Slot] = []
        self._unsure: list[tuple[float, Slot]] = []
        self._slots: list[Slot] = []
        self._full = False
        sweep()

    def places(self, outputs: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Output -> (offset, size) of its array in a slot, bytes; the same in all slots."""
        found, offset = {}, PICTURE + _LINE
        for name in outputs:
            size = MAX_PEOPLE * self._rows[name]
            found[name] = (offset, size)
            offset += -(-size // _LINE) * _LINE
        return found

    def take(self, picture: int) -> Slot | None:
        """A slot for a picture of so many bytes; None if it must go over the connection."""
        if picture > PICTURE:
            return None
        now = time.monotonic()
        self._free += [slot for until, slot in self._unsure if until <= now]
        self._unsure = [(until, slot) for until, slot in self._unsure if until > now]
        if self._free:
            return self._free.pop()
        return self._make() if len(self._slots) < self._most and not self._full else None

    def give(self, slot: Slot, *, answered: bool) -> None:
        """Take a slot back when its request has ended. If that got no answer, Triton may still write one, so the slot
        is not reused for two minutes (`UNSURE`)."""
        if slot.request is not None and not slot.request.done():
            slot.request.add_done_callback(partial(self._give_late, slot))
        elif answered:
            self._free.append(slot)
        else:
            self._unsure.append((time.monotonic() + UNSURE, slot))

    def _give_late(self, slot: Slot, request: asyncio.Future[Any]) -> None:
        self.give(slot, answered=not request.cancelled() and request.exception() is None)

    def unused(self) -> list[str]:
        """Names of the slots that no server writes to."""
        return [slot.name for slot in self._free]

    def close(self) -> None:
        """Remove all slots."""
        for slot in self._slots:
            slot.close()
        self._slots, self._free, self._unsure = [], [], []

    def _make(self) -> Slot | None:
        last = self.places(list(self._rows))[list(self._rows)[-1]]
        size = -(-(sum(last)) // mmap.PAGESIZE) * mmap.PAGESIZE
        name = f"{PREFIX}{os.getpid()}_{len(self._slots)}_{os.urandom(4).hex()}"
        file = -1
        try:
            file = os.open(FOLDER / name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(file, 0, size)  # makes a full /dev/shm an error here, not a signal (SIGBUS) later
            slot = Slot(name, file, mmap.mmap(file, size))
        except OSError as error:
            self._full = True
            log.warning("no shared memory", folder=str(FOLDER), bytes=size, reason=error.strerror)
            if file >= 0:
                (FOLDER / name).unlink(missing_ok=True)
                os.close(file)
            return None
        self._slots.append(slot)
        return slot


def sweep() -> None:
    """Remove the files of gateways that were killed."""
    for path in FOLDER.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            file = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
            finally:
                os.close(file)
