"""The sound beside the pictures. It is copied, track by track, and encoded only where it has to be."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parsing_rcnn_client.video.media import ANY_CLOCK
from parsing_rcnn_client.video.programs import input_options, is_endless, tool
from parsing_rcnn_client.video.span import Span, seeking

_TRANSPORT = (".ts", ".mts", ".m2ts")
_UNKNOWN = (None, "none", "unknown")  # what ffprobe calls a codec that it does not know


@dataclass(frozen=True)
class Sound:
    """Which sound a result gets, and how.

    Attributes:
        options: of ffmpeg, to take it beside the pictures, which it has already as its first input.
        left_out: why tracks are missing, one message each.
        any: whether any track is taken.
    """

    options: Sequence[str] = ("-map", "0:v")
    left_out: Sequence[str] = ()
    any: bool = False


def of(source: str, suffix: str | None, begin: float, span: Span | None) -> Sound:
    """The sound of a file as a result can hold it.

    Args:
        source: the file.
        suffix: of the result; None for an address.
        begin: seconds of the container's clock that are taken off all times.
        span: the piece of the source; None is all of it. Its end may be late: `cut` is exact.
    """
    document = _probed(source)
    first = _first_picture(document)
    # seeking goes by the pictures, so what is heard before the first one would be lost
    early = span is not None and first is not None and begin + span.start <= first
    names = document.get("format", {}).get("format_name", "").split(",")
    whole = not ANY_CLOCK.isdisjoint(names) and not is_endless(source)  # which would be fetched once more
    inputs = _Inputs(source, begin, span, early)
    taken: list[str] = []
    left_out: list[str] = []
    for number, stream in enumerate(s for s in document.get("streams", []) if s.get("codec_type") == "audio"):
        name = stream.get("codec_name")
        if name in _UNKNOWN:
            left_out.append(
                f"sound track {number + 1} ({stream.get('codec_tag_string', '?')}): ffmpeg does not know it"
            )
        elif not early and _holds(suffix, inputs.read(copied=True), number, whole):
            taken += inputs.mapped(number, copied=True)
        elif _works([*inputs.read(copied=False), "-map", f"0:a:{number}", "-frames:a", "1", "-f", "null", "-"]):
            taken += inputs.mapped(number, copied=False)
        else:
            left_out.append(f"sound track {number + 1} ({name}): ffmpeg can neither copy nor decode it")
    return Sound([*inputs.options, "-map", "0:v", *taken], left_out, bool(taken))


class _Inputs:
    """The source's sound as inputs of ffmpeg behind the pictures: one for tracks that are copied, one for the others,
    as what is decoded can be cut more exactly and has to be read from an earlier place.
    """

    def __init__(self, source: str, begin: float, span: Span | None, early: bool) -> None:
        self.options: list[str] = []
        self._source, self._begin, self._span, self._early = source, begin, span, early
        self._numbers: dict[bool, int] = {}  # of the inputs, by whether their tracks are copied
        self._count = 0

    def read(self, *, copied: bool) -> list[str]:
        """The options that open one."""
        span, opened = self._span, input_options(self._source, live=False)
        if span is None:
            return opened
        if copied and span.end is not None:  # or ffmpeg would read on to the end of the source
            opened = ["-t", f"{span.end - span.start:.6f}", *opened]
        if self._early:
            return opened
        return [*seeking(self._begin + (span.start if copied else span.seek)), *opened]

    def mapped(self, number: int, *, copied: bool) -> list[str]:
        """The options that take one track more, the `number`-th of the source."""
        if copied not in self._numbers:
            self._numbers[copied] = len(self._numbers) + 1
            self.options += self.read(copied=copied)
        out, self._count = self._count, self._count + 1
        taken = ["-map", f"{self._numbers[copied]}:a:{number}", f"-c:a:{out}", "copy" if copied else "aac"]
        if self._span is None:
            return taken
        if copied:  # packets are let go by their times
            return [*taken, f"-copypriorss:a:{out}", "0"]
        return [*taken, f"-filter:a:{out}", f"atrim={self._span.between(self._begin)}"]


def _probed(source: str) -> dict[str, Any]:
    """What ffprobe says about a file."""
    shown = ["-show_entries", "stream=codec_type,codec_name,codec_tag_string,start_time:stream_disposition:format"]
    command = [tool("ffprobe"), "-v", "error", "-of", "json", *shown, *input_options(source, live=False)]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    document: dict[str, Any] = json.loads(done.stdout or b"{}")
    return document


def _first_picture(document: dict[str, Any]) -> float | None:
    """The container's time of the first picture; None if ffprobe does not say."""
    for stream in document.get("streams", []):
        if stream.get("codec_type") == "video" and not stream.get("disposition", {}).get("attached_pic"):
            return float(stream["start_time"]) if "start_time" in stream else None
    return None


def _holds(suffix: str | None, opened: Sequence[str], number: int, whole: bool) -> bool:
    """Whether a container takes a track of sound as it is: ffmpeg is asked to copy a piece of it.

    Args:
        suffix: of the container; None for an address.
        opened: options that open the source.
        number: of the track, among those of sound.
        whole: copy all of it. Each packet of a transport stream has a header, and a single damaged one ends the copy.
    """
    if suffix is None or suffix.lower() in _TRANSPORT:
        return suffix is None  # a transport stream takes whatever it is given, and nobody can play it
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "sound").with_suffix(suffix)
        if os.name == "posix":  # nothing is kept: the sound of a long recording may be large
            place.symlink_to(os.devnull)
        piece = [] if whole else ["-frames:a", "1"]
        return _works([*opened, "-map", f"0:a:{number}", "-c", "copy", *piece, str(place)])


def _works(options: Sequence[str]) -> bool:
    """Whether ffmpeg does something."""
    command = [tool("ffmpeg"), "-v", "error", "-y", "-nostdin", *options]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def cut(part: Path, length: float, options: Sequence[str]) -> Path | None:
    """End a file with its pictures, without encoding anything again.

    Args:
        part: the file, which stays as it is.
        length: seconds from the first picture to the end of the last.
        options: of its container.

    Returns:
        the shorter one, beside it; None where it cannot be cut.
    """
    shorter = part.with_name(f"{part.stem}.cut{part.suffix}")
    # some containers move the clock, so that nothing is before 0 for example
    command = [tool("ffprobe"), "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=start_time"]
    printed = subprocess.run([*command, "-of", "csv=p=0", str(part)], capture_output=True, check=False).stdout.split()
    try:
        end = float(printed[0].strip(b",")) + length
    except (IndexError, ValueError):
        return None
    command = [tool("ffmpeg"), "-v", "error", "-y", "-nostdin", "-copyts", "-i", str(part), "-map", "0", "-c", "copy"]
    command += ["-t", f"{end:.6f}", *options]
    # it would be late by as much once more
    command += ["-muxdelay", "0", "-muxpreload", "0"] if part.suffix.lower() in _TRANSPORT else []
    if subprocess.run([*command, str(shorter)], capture_output=True, check=False).returncode == 0:
        return shorter
    shorter.unlink(missing_ok=True)
    return None
