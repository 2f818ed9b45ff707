"""Frames in numbered files. ffmpeg looks for the first one among the numbers 0 to 4, and if a number is missing it ends
there without a message; this finds the first number, and the gap.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_NUMBER = re.compile(r"%(?:0(\d+))?d")


def first(source: str) -> int | None:
    """The smallest number of a source like frames/f%04d.jpg; None if the source is not a sequence.

    Args:
        source: any source.
    """
    files = _found(source)
    return None if files is None else min(files.numbers)


def gap(source: str, read: int) -> str | None:
    """Find the first missing file of a source like frames/f%04d.jpg.

    Args:
        source: any source.
        read: how many frames were read.

    Returns:
        A message with the missing file and the number of frames behind it. None if there is no gap, if the reading
        ended before it, or if the source is not a sequence.
    """
    files = _found(source)
    if files is None:
        return None
    missing = begin = min(files.numbers)
    while missing in files.numbers:
        missing += 1
    behind = sum(number > missing for number in files.numbers)
    if behind == 0 or read < missing - begin:
        return None
    name = Path(source).with_name(f"{files.before}{missing:0{files.width}d}{files.after}")
    frames = "1 frame lies" if behind == 1 else f"{behind} frames lie"
    return f"{name} is missing, and {frames} behind it: number them without a gap"


@dataclass(frozen=True)
class _Files:
    """The files of a sequence: their numbers, and what their names have around these, which have `width` digits."""

    numbers: frozenset[int]
    before: str
    width: int
    after: str


def _found(source: str) -> _Files | None:
    """The files of a sequence; None if the source is not one, or has no files."""
    path = Path(source)
    parts = _NUMBER.split(path.name)
    if "://" in source or len(parts) != 3:
        return None
    before, after = (part.replace("%%", "%") for part in (parts[0], parts[2]))
    width = int(parts[1] or 1)
    one = re.compile(f"{re.escape(before)}(\\d{{{width},}}){re.escape(after)}")
    with suppress(OSError):
        if not path.exists():  # else it is the name of a single file
            numbers = {int(match[1]) for file in path.parent.iterdir() if (match := one.fullmatch(file.name))}
            return _Files(frozenset(numbers), before, width, after) if numbers else None
    return None
