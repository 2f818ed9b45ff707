"""A piece of a video: from one time of its clock to another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from parsing_rcnn.errors import InvalidOptions

EARLIER = 10.0
"""Seconds before a piece at which reading begins: not every container finds a picture that others need, a key frame."""


@dataclass(frozen=True)
class Span:
    """From `start` to before `end`, in seconds of the source's clock, as `Frame.time` has them; None is its end.

    Raises:
        InvalidOptions: nothing lies between them.
    """

    start: float = 0.0
    end: float | None = None

    def __post_init__(self) -> None:
        if self.end is not None and self.end <= self.start:
            raise InvalidOptions(f"--end {self.end:g} is not after --start {self.start:g}: name a later time")

    @classmethod
    def parse(cls, start: str | None, end: str | None) -> Self | None:
        """What the command line has; None where it names neither.

        Raises:
            InvalidOptions: one of them is no time.
        """
        if start is None and end is None:
            return None
        return cls(
            0.0 if start is None else seconds_of(start, "--start"), None if end is None else seconds_of(end, "--end")
        )

    @property
    def seek(self) -> float:
        """Where to begin to read, seconds; 0 is the beginning."""
        return max(self.start - EARLIER, 0.0)

    def frames(self, whole: int | None, fps: float) -> int | None:
        """How many frames it has, of a video with so many of which not all need to be there; an estimate."""
        last = math.inf if whole is None else whole / fps
        last = last if self.end is None else min(last, self.end)
        return None if last == math.inf else max(round((last - self.start) * fps), 1)

    def between(self, begin: float) -> str:
        """Options of ffmpeg's filters trim and atrim, which look at the times themselves.

        Args:
            begin: seconds of the container's clock that are taken off all times (`VideoInfo.start`).
        """
        until = "" if self.end is None else f":end={begin + self.end:.6f}"
        return f"start={begin + self.start:.6f}{until}"

    def empty(self, source: str) -> InvalidOptions:
        """The error where the source has no picture in it."""
        until = "" if self.end is None else f" and before {self.end:g} s"
        return InvalidOptions(f"{source}: no picture lies at {self.start:g} s or later{until}: name an earlier --start")


def seeking(moment: float) -> list[str]:
    """ffmpeg's options that begin to read a file near a time of its clock, and not after it."""
    return ["-noaccurate_seek", "-seek_timestamp", "1", "-ss", f"{moment:.6f}"]


def seconds_of(text: str, option: str) -> float:
    """A time as one writes it.

    Args:
        text: seconds, or HH:MM:SS or MM:SS, with a fraction or none.
        option: that it is of, for the message.

    Raises:
        InvalidOptions: it is none.

    Example:
        >>> seconds_of("1:02:03.5", "--start"), seconds_of("90", "--start")
        (3723.5, 90.0)
    """
    *larger, last = text.split(":")
    try:
        seconds = float(last)
        whole = [int(part) for part in larger if part.isascii() and part.isdecimal()]
    except ValueError:
        seconds, whole = math.nan, []
    fits = len(whole) == len(larger) <= 2 and (not larger or seconds < 60) and all(part < 60 for part in whole[1:])
    if not fits or not 0 <= seconds < math.inf:
        raise InvalidOptions(f"{option} {text}: is no time: write seconds (90) or HH:MM:SS (00:01:30), from 0 on")
    for part, unit in zip(reversed(whole), (60, 3600), strict=False):
        seconds += part * unit
    return seconds
