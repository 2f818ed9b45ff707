"""A piece of a video, from one time to another, and how to find its first picture."""

from __future__ import annotations

import math
import subprocess
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn_client.video.programs import input_options, tool

EARLIER = 10.0
"""Seconds before a piece at which the reading of its sound begins, as some containers cannot seek exactly."""
ROUNDED = 1e-6
"""Seconds by which equal times may differ after they were written as decimals."""
_TO_A_KEY = 1.0  # seconds before a key frame at which reading begins: some containers seek by decoding times
_MIXED = 2.0  # seconds by which the order of packets may differ from that of their pictures

Packets = Callable[[float], Iterable[tuple[float, bool]]]
"""A time of the container's clock -> (time, whether it is a key frame) of every picture up to it that is shown."""


@dataclass(frozen=True)
class Span:
    """From `start` until before `end`, in seconds of the source's clock, as in `Frame.time`. None is the source's end.

    Raises:
        InvalidOptions: `end` is not after `start`.
    """

    start: float = 0.0
    end: float | None = None

    def __post_init__(self) -> None:
        if self.end is not None and self.end <= self.start:
            raise InvalidOptions(f"--end {self.end:g} is not after --start {self.start:g}: name a later time")

    @classmethod
    def parse(cls, start: str | None, end: str | None) -> Self | None:
        """From the command line; None if it names neither time.

        Raises:
            InvalidOptions: one of them is not a time, or the end is not after the start.
        """
        if start is None and end is None:
            return None
        return cls(
            0.0 if start is None else seconds_of(start, "--start"), None if end is None else seconds_of(end, "--end")
        )

    @property
    def seek(self) -> float:
        """Where to begin to read the sound, seconds; 0 is the source's beginning."""
        return max(self.start - EARLIER, 0.0)

    def frames(self, whole: int | None, fps: float) -> int | None:
        """Estimated number of frames in the span.

        Args:
            whole: number of frames of the whole video, itself an estimate; None if unknown.
            fps: frames a second.

        Returns:
            None if neither the span nor the video has a known end.
        """
        last = math.inf if whole is None else whole / fps
        last = last if self.end is None else min(last, self.end)
        return None if last == math.inf else max(round((last - self.start) * fps), 1)

    def between(self, begin: float) -> str:
        """Options of ffmpeg's filters trim and atrim, which go by the container's own clock.

        Args:
            begin: where that clock begins, seconds (`VideoInfo.start`).
        """
        until = "" if self.end is None else f":end={begin + self.end:.6f}"
        return f"start={begin + self.start:.6f}{until}"

    def empty(self, source: str) -> InvalidOptions:
        """The error to raise if the source has no picture in the span."""
        until = "" if self.end is None else f" and before {self.end:g} s"
        return InvalidOptions(f"{source}: no picture lies at {self.start:g} s or later{until}: name an earlier --start")


class Lead:
    """What comes before a piece: how many pictures, and where to begin to read. Found from the packets of the source,
    without decoding any.

    Args:
        packets: of the source.
        begin: where the container's clock begins, seconds (`VideoInfo.start`).
        span: the piece.
    """

    def __init__(self, packets: Packets, begin: float, span: Span) -> None:
        self._packets, self._begin, self._span = packets, begin, span
        known = [(time - begin, key) for time, key in packets(begin + span.start + 2 * _MIXED)]
        self._times = sorted(time for time, _ in known)
        # the last key frame before the piece: seeking in MPEG-TS may end at any picture, and decoding needs a key frame
        self._key = max((time for time, key in known if key and time <= span.start), default=0.0)

    @property
    def seek(self) -> float | None:
        """Where to begin to read, in seconds of the container's clock: before the key frame that the piece needs. None
        is the source's beginning.
        """
        return self._begin + self._key - _TO_A_KEY if self._key > _TO_A_KEY else None

    @property
    def empty(self) -> bool:
        """Whether the source has no packet with a picture of the piece."""
        end = self._span.start + _MIXED if self._span.end is None else self._span.end
        return self._before(end) == self._before(self._span.start)

    def number(self, first: float | None) -> int:
        """The index in the whole video of the first picture that was read.

        Args:
            first: its time (`Frame.time`); None if it has none.
        """
        return self._before(self._span.start if first is None else first)

    def lost(self, came: bool, first: float | None) -> bool:
        """Whether pictures of the piece are missing before the first one that was read.

        Args:
            came: whether any picture was read.
            first: the time of the first; None if it has none.
        """
        return self.number(first) > self.number(None) if came else not self.empty

    def _before(self, moment: float) -> int:
        """The number of pictures before a time."""
        times = self._times
        if moment > self._span.start + _MIXED:
            times = sorted(time - self._begin for time, _ in self._packets(self._begin + moment + _MIXED))
        return bisect_left(times, moment - ROUNDED)


def packets_of(source: str) -> Packets:
    """The packets of a file, as ffprobe lists them."""

    def packets(until: float) -> Iterator[tuple[float, bool]]:
        shown = ["-select_streams", "V:0", "-show_entries", "packet=pts_time,dts_time,flags", "-of", "csv=p=0"]
        command = [
            tool("ffprobe"),
            "-v",
            "error",
            *shown,
            "-read_intervals",
            f"%{until:.6f}",
            *input_options(source, live=False),
        ]
        done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
        for line in done.stdout.decode(errors="replace").split():  # split at blank lines, too, which MPEG-TS has
            pts, dts, flags, *_ = [*line.split(","), "", "", ""]
            time = next((float(text) for text in (pts, dts) if text not in ("", "N/A")), 0.0)
            if "D" not in flags:  # D: to be decoded, but not shown
                yield time, "K" in flags

    return packets


def seeking(moment: float) -> list[str]:
    """ffmpeg's options to begin reading a file shortly before a time of its clock."""
    return ["-noaccurate_seek", "-seek_timestamp", "1", "-ss", f"{moment:.6f}"]


def seconds_of(text: str, option: str) -> float:
    """Read a time from the command line.

    Args:
        text: seconds, HH:MM:SS or MM:SS, with or without a fraction.
        option: name of the option, for messages.

    Raises:
        InvalidOptions: the text is not a time.

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
