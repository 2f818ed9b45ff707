"""Bounds the memory of pictures that threads work on at the same time."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from parsing_rcnn.stopping import check_stopped

SMALL = 2**21
"""Pixels of a picture that takes no room: Full HD."""
_LOOK = 0.2  # seconds after which who waits looks whether it was told to stop


class Room:
    """Large pictures wait in turn until all in work, with them, have at most so many pixels.

    Args:
        pixels: the most of all large pictures in work together. One with more is in work alone.
    """

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self._begin()
        if hasattr(os, "register_at_fork"):  # who has room or waits in the parent is not there in its child
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._holders: dict[object, int] = {}  # turn -> pixels
        self._line: deque[object] = deque()
        self._changed = threading.Condition()

    @property
    def held(self) -> int:
        """Pixels of the pictures in work."""
        return sum(self._holders.values())

    @contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        """Wait for room for a picture of so many pixels, and hold it in this context.

        Raises:
            Stopped: as of `check_stopped`, while it waits.
        """
        if pixels <= SMALL:
            yield
            return
        turn = object()
        try:
            self._enter(turn, min(pixels, self.pixels))
            yield
        finally:  # however it is left, also by Ctrl-C while it is taken
            self._holders.pop(turn, None)
            with self._changed:
                self._changed.notify_all()

    def _enter(self, turn: object, weight: int) -> None:
        with self._changed:
            self._line.append(turn)
            try:
                while self._line[0] is not turn or self.held + weight > self.pixels:
                    self._changed.wait(_LOOK)
                    check_stopped()
                self._holders[turn] = weight
            finally:
                self._line.remove(turn)
                self._changed.notify_all()
