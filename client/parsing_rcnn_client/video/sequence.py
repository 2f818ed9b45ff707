"""Frames in numbered files. If a number is missing, ffmpeg ends there without a message; this finds the gap."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

_NUMBER = re.compile(r"%(?:0(\d+))?d")


def gap(source: str, read: int) -> str | None:
    """Find the first missing file of a source like frames/f%04d.jpg.

    Args:
        source: any source.
        read: how many frames were read.

    Returns:
        A message with the missing file and the number of frames behind it. None if there is no gap, if the reading
        ended before it, or if the source is not a sequence.
    """
    path = Path(source)
    parts = _NUMBER.split(path.name)
    if "://" in source or len(parts) != 3:
        return None
    before, after = (part.replace("%%", "%") for part in (parts[0], parts[2]))
    width = int(parts[1] or 1)
    one = re.compile(f"{re.escape(before)}(\\d{{{width},}}){re.escape(after)}")
    numbers: set[int] = set()
    with suppress(OSError):
        if not path.exists():  # else it is the name of a single file
            numbers = {int(match[1]) for file in path.parent.iterdir() if (match := one.fullmatch(file.name))}
    if not numbers:
        return None
    first = missing = min(numbers)
    while missing in numbers:
        missing += 1
    behind = sum(number > missing for number in numbers)
    if behind == 0 or read < missing - first:
        return None
    name = path.with_name(f"{before}{missing:0{width}d}{after}")
    frames = "1 frame lies" if behind == 1 else f"{behind} frames lie"
    return f"{name} is missing, and {frames} behind it: number them without a gap"
