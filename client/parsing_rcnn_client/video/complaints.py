"""What ffmpeg complains of, put for people."""

from __future__ import annotations

import re

_GIVES_UP = ("Error initializing output stream", "Conversion failed", "Error while opening encoder for output")
_SAYS_NOTHING = ": Invalid argument"
_SPEAKER = re.compile(r"\[[^]]* @ 0x[0-9a-f]+\] ")  # the part of ffmpeg that a message comes from


def reason(log: str) -> str:
    """Why ffmpeg failed. Its last lines only say that it gave up; a line before them says why.

    Args:
        log: what it wrote to standard error.

    Example:
        >>> reason("[mp4 @ 0x55] No space left on device\\nConversion failed!\\n")
        'No space left on device'
    """
    lines = log.strip().splitlines()
    reasons = [line for line in lines if not line.startswith(_GIVES_UP) and not line.endswith(_SAYS_NOTHING)] or lines
    return _SPEAKER.sub("", reasons[-1]) if reasons else "it gave no reason"
