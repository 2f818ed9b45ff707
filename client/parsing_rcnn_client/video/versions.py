"""Which ffmpeg this is, where versions differ in their options."""

from __future__ import annotations

import re
import subprocess
from functools import lru_cache

from parsing_rcnn_client.video.media import VideoToolMissing

OLDEST = 4, 2
"""The first version that knows the options needed here."""
_NEW = 5, 1  # the first with -fps_mode in place of -vsync, which later ones know no more, and with durations in `setts`
_VERSION = re.compile(rb"ffmpeg version n?(\d+)\.(\d+)")  # builds between versions are named by their commit


def passthrough(ffmpeg: str) -> list[str]:
    """ffmpeg's options to keep each picture with its own time.

    Args:
        ffmpeg: the path of the program.

    Raises:
        VideoToolMissing: it is too old.
    """
    return ["-fps_mode" if _is_new(ffmpeg) else "-vsync", "passthrough"]


def durations(ffmpeg: str, single: int) -> list[str]:
    """ffmpeg's options to give the last picture of a file the duration of the one before, which an old ffmpeg does not
    know: there it is that of the format.

    Args:
        ffmpeg: the path of the program.
        single: the duration of a single picture, ticks: without any it could not be read again.

    Raises:
        VideoToolMissing: it is too old.
    """
    lasts = f"setts=pts=PTS:dts=DTS:duration=if(N\\,DTS-PREV_INDTS\\,{single})"
    return ["-bsf:v", lasts] if _is_new(ffmpeg) else []


def _is_new(ffmpeg: str) -> bool:
    version = _version(ffmpeg)
    if version is not None and version < OLDEST:
        raise VideoToolMissing(
            f"ffmpeg here is {version[0]}.{version[1]}, and video needs {OLDEST[0]}.{OLDEST[1]} or newer: install a "
            "newer one (https://ffmpeg.org/download.html), or take the library (--backend pyav)"
        )
    return version is None or version >= _NEW


@lru_cache(maxsize=8)
def _version(path: str) -> tuple[int, int] | None:
    """The version of a program; None if it does not say, as a new one that is built from its sources."""
    try:
        done = subprocess.run([path, "-version"], capture_output=True, check=False, stdin=subprocess.DEVNULL)
    except OSError:  # it cannot be run, which whoever runs it in earnest says better
        return None
    found = _VERSION.search(done.stdout)
    return None if found is None else (int(found[1]), int(found[2]))
