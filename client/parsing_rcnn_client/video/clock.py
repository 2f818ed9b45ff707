"""Times of a source's pictures that only grow, whatever its clock does."""

from __future__ import annotations

_BACK = 1.0  # seconds; pictures out of order by less do not count as a clock that was set back


class Clock:
    """Times that only grow, from a source that may have none, twice the same, or a clock that is set back.

    Args:
        step: seconds between two pictures where nothing better is known.

    Example:
        >>> clock = Clock(0.5)
        >>> [clock.next(moment) for moment in (7.0, 7.25, None, 3.0, 3.25)], clock.set_back
        ([7.0, 7.25, 7.75, 8.25, 8.5], 7.75)
    """

    def __init__(self, step: float) -> None:
        self._step, self._last, self._shift = step, float("-inf"), 0.0
        self.set_back: float | None = None
        """The time of the last picture before it was first set back, as where two recordings are put together."""

    def next(self, moment: float | None) -> float:
        """The time of a picture, from what the source says."""
        if moment is not None:
            moment += self._shift
            if moment < self._last - _BACK:
                self.set_back = self._last if self.set_back is None else self.set_back
                self._shift += self._last + self._step - moment
                moment = self._last + self._step
        if moment is None or moment <= self._last:
            moment = self._last + self._step
        self._last = moment if moment != float("-inf") else 0.0
        return self._last

    def note(self, sound: bool) -> str | None:
        """The message about a clock that was set back."""
        if self.set_back is None:
            return None
        said = f"its clock is set back after {self.set_back:.1f} s"
        remedy = "ffmpeg -i IN -c copy OUT.mkv gives both one clock"
        return f"{said}, and the sound is not in step from there: {remedy}" if sound else said
