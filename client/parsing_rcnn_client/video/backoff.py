"""Pauses between retries: longer after every failure, and random, so that not everybody comes back at once."""

from __future__ import annotations

import random


class Backoff:
    """Pauses that double, with jitter, until something works again.

    Args:
        first: seconds of the first pause, before jitter.
        longest: seconds of the longest pause, before jitter.

    Example:
        >>> pauses = Backoff(1.0, longest=4.0)
        >>> [0.5 <= pauses.next() / expected <= 1.5 for expected in (1, 2, 4, 4)]
        [True, True, True, True]
        >>> pauses.reset()
        >>> pauses.next() <= 1.5
        True
    """

    def __init__(self, first: float = 0.5, longest: float = 10.0) -> None:
        self._first, self._longest, self._pause = first, longest, first

    def next(self) -> float:
        """Seconds to wait now: 0.5 to 1.5 times the pause."""
        pause, self._pause = self._pause, min(2 * self._pause, self._longest)
        return pause * random.uniform(0.5, 1.5)

    def reset(self) -> None:
        """Begin with the first pause again, after a success."""
        self._pause = self._first
