"""Frames in numbered files: where a number is missing, ffmpeg ends there and does not say what it looked for."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

_NUMBER = re.compile(r"%(?:0(\d+))?d")


def gap(source: str, read: int) -> str | None:
    """Which file is missing in a source like frames/f%04d.jpg, and how many frames lie behind it.

    Args:
        source: any; of one that is no sequence there is nothing to say.
        read: frames that were read, which may have ended before.
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
        if not path.exists():  # else it is the name of one file
            numbers = {int(found[1]) for file in path.parent.iterdir() if (found := one.fullmatch(file.name))}
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
