"""A piece of a video: from one time of its clock to another."""

from __future__ import annotations

import math
import subprocess
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn_client.video.programs import local, tool

EARLIER = 10.0
"""Seconds before a piece at which reading its sound begins: not every container finds a packet exactly."""
ROUNDED = 1e-6
"""Seconds by which times differ that are written in decimals."""
_TO_A_KEY = 1.0  # seconds before a key frame at which reading begins: some containers go by the time of its decoding
_MIXED = 2.0  # seconds by which packets may be out of the order of their pictures

Packets = Callable[[float], Iterable[tuple[float, bool]]]
"""Until a time of the container's clock -> (time, whether it is a key frame) of every picture that is to be shown."""


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
        """Where to begin to read its sound, seconds; 0 is the beginning."""
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


class Lead:
    """What lies before a piece, and how to get there, by the packets of the source: none is decoded.

    Args:
        packets: of the source.
        begin: seconds of the container's clock that are taken off all times (`VideoInfo.start`).
        span: the piece.
    """

    def __init__(self, packets: Packets, begin: float, span: Span) -> None:
        self._packets, self._begin, self._span = packets, begin, span
        known = [(time - begin, key) for time, key in packets(begin + span.start + 2 * _MIXED)]
        self._times = sorted(time for time, _ in known)
        # MPEG-TS is sought to any picture, and what comes before a key frame cannot be decoded
        self._key = max((time for time, key in known if key and time <= span.start), default=0.0)

    @property
    def seek(self) -> float | None:
        """The time of the container's clock at which to begin to read, before the key frame that the piece needs; None
        is the beginning.
        """
        return self._begin + self._key - _TO_A_KEY if self._key > _TO_A_KEY else None

    @property
    def empty(self) -> bool:
        """Whether no packet has a picture of the piece."""
        end = self._span.start + _MIXED if self._span.end is None else self._span.end
        return self._before(end) == self._before(self._span.start)

    def number(self, first: float | None) -> int:
        """The number of the first picture that came, from its time (`Frame.time`); None where it has none."""
        return self._before(self._span.start if first is None else first)

    def lost(self, came: bool, first: float | None) -> bool:
        """Whether the piece has pictures before the first one that came, or any where none did."""
        return self.number(first) > self.number(None) if came else not self.empty

    def _before(self, moment: float) -> int:
        """How many pictures there are before a time."""
        times = self._times
        if moment > self._span.start + _MIXED:
            times = sorted(time - self._begin for time, _ in self._packets(self._begin + moment + _MIXED))
        return bisect_left(times, moment - ROUNDED)


def packets_of(source: str) -> Packets:
    """The packets of a file as ffprobe tells them."""

    def packets(until: float) -> Iterator[tuple[float, bool]]:
        shown = ["-select_streams", "V:0", "-show_entries", "packet=pts_time,dts_time,flags", "-of", "csv=p=0"]
        command = [tool("ffprobe"), "-v", "error", *shown, "-read_intervals", f"%{until:.6f}", "-i", local(source)]
        done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
        for line in done.stdout.decode(errors="replace").split():  # of MPEG-TS there are empty lines between
            pts, dts, flags, *_ = [*line.split(","), "", "", ""]
            time = next((float(text) for text in (pts, dts) if text not in ("", "N/A")), 0.0)
            if "D" not in flags:  # D: in the file, and not to be shown
                yield time, "K" in flags

    return packets


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
