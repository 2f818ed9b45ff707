"""Places of streams: where all are taken, the stream that has been silent for longest makes way."""

from __future__ import annotations

import asyncio
import time

from server.errors import Busy

SILENT = 60.0
"""Seconds without a frame, after which a stream may have to make way."""


class Place:
    """One stream's.

    Attributes:
        silent_since: seconds of `time.monotonic`; None: a frame is in work.
        lost: set when the stream has to make way.
    """

    def __init__(self) -> None:
        self.silent_since: float | None = time.monotonic()
        self.lost = asyncio.Event()

    def heard(self) -> None:
        """A frame has come."""
        if self.silent_since is not None:
            self.silent_since = time.monotonic()

    def begin(self) -> None:
        """A frame is in work."""
        self.silent_since = None

    def end(self) -> None:
        """It is answered."""
        self.silent_since = time.monotonic()


class Places:
    """The places of all streams.

    Args:
        most: how many there are.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._taken: set[Place] = set()

    def __len__(self) -> int:
        return len(self._taken)

    def take(self) -> Place:
        """A place, for `leave`.

        Raises:
            Busy: all are taken, by streams that are not silent.
        """
        if len(self._taken) >= self.most:
            self._make_way()
        place = Place()
        self._taken.add(place)
        return place

    def leave(self, place: Place) -> None:
        """Give a place back, unless it is lost."""
        self._taken.discard(place)

    def _make_way(self) -> None:
        silent = [(place.silent_since, id(place), place) for place in self._taken if place.silent_since is not None]
        since, _, place = min(silent, default=(time.monotonic(), 0, None))
        if place is None or time.monotonic() - since < SILENT:
            are = "stream is" if self.most == 1 else "streams are"
            raise Busy(f"{self.most} {are} open, which is the limit (--max-streams): come back in {Busy.retry_after} s")
        self._taken.remove(place)
        place.lost.set()
