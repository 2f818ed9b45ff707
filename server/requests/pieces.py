"""Joins the pieces of a body without leaving holes in the heap.

Many bodies that arrive side by side would take twice their size: the small pieces of each lie between those of others,
and where they were no whole body has room when they are joined.
"""

from __future__ import annotations

import mmap

_BLOCK = 1024 * 1024  # bytes


class Pieces:
    """What has come of a body, in blocks that go back to the system at once."""

    def __init__(self) -> None:
        self._blocks: list[mmap.mmap] = []
        self._room = 0  # bytes of the last block

    def add(self, piece: bytes) -> None:
        """Copy what has come."""
        rest = memoryview(piece)
        while rest:
            if not self._room:
                self._blocks.append(mmap.mmap(-1, _BLOCK))
                self._room = _BLOCK
            part = rest[: self._room]
            self._blocks[-1].write(part)
            self._room -= len(part)
            rest = rest[len(part) :]

    def take(self) -> bytes:
        """The body. Nothing of it is left here."""
        blocks, self._blocks, self._room = self._blocks, [], 0
        return b"".join(memoryview(block)[: block.tell()] for block in blocks)
