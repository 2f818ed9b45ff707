"""Makes the times of a source's pictures increase, whatever its clock does."""

from __future__ import annotations

_BACK = 1.0  # seconds by which a time must go back before the clock counts as set back; less is only disorder


class Clock:
    """Gives increasing times, although those of the source may be missing, repeated, or set back.

    Args:
        step: seconds between two pictures if nothing better is known.

    Example:
        >>> clock = Clock(0.5)
        >>> [clock.next(moment) for moment in (7.0, 7.25, None, 3.0, 3.25)], clock.set_back
        ([7.0, 7.25, 7.75, 8.25, 8.5], 7.75)
    """

    def __init__(self, step: float) -> None:
        self._step, self._last, self._shift = step, float("-inf"), 0.0
        self.set_back: float | None = None
        """The time of the last picture before the clock was first set back, as in two recordings put together."""

    def next(self, moment: float | None) -> float:
        """The time of the next picture, seconds; `moment` is what the source says, None for nothing."""
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
        """The message about a clock that was set back; None if it was not. `sound`: whether the source has sound."""
        if self.set_back is None:
            return None
        message = f"its clock is set back after {self.set_back:.1f} s"
        remedy = "ffmpeg -i IN -c copy OUT.mkv gives both one clock"
        return f"{message}, and the sound is not in step from there: {remedy}" if sound else message
