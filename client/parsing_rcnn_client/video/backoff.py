"""Waiting longer after every failure, and never exactly as long as everybody else."""

from __future__ import annotations

import random


class Backoff:
    """Pauses that double, with jitter, until something works again.

    Args:
        first: seconds of the first pause, before jitter.
        longest: seconds that a pause grows to.

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
        """Seconds to wait now: half to one and a half of the pause, so that many do not come back at once."""
        pause, self._pause = self._pause, min(2 * self._pause, self._longest)
        return pause * random.uniform(0.5, 1.5)

    def reset(self) -> None:
        """It worked: begin with the first pause again."""
        self._pause = self._first
