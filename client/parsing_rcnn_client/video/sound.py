"""The sound beside the pictures, which is copied and not decoded."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from parsing_rcnn_client.video.programs import input_options, tool
from parsing_rcnn_client.video.span import Span, seeking

_TRANSPORT = (".ts", ".mts", ".m2ts")


def holds(suffix: str | None, sound_of: str) -> bool:
    """Whether a container takes the sound of a file as it is: ffmpeg is asked to copy a piece of it.

    Args:
        suffix: of the container; None for an address.
        sound_of: the file.
    """
    if suffix is None or suffix.lower() in _TRANSPORT:
        return suffix is None  # a transport stream takes whatever it is given, and nobody can play it
    with tempfile.TemporaryDirectory() as folder:
        command = [tool("ffmpeg"), "-v", "error", "-nostdin", *input_options(sound_of, live=False), "-map", "0:a?"]
        command += ["-c", "copy", "-frames:a", "1", str(Path(folder, "sound").with_suffix(suffix))]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def options(source: str, suffix: str | None, begin: float, span: Span | None) -> list[str]:
    """ffmpeg's options that take the sound of a file beside the pictures that it has already.

    Args:
        source: the file.
        suffix: of the result; None for an address.
        begin: seconds of the container's clock that are taken off all times.
        span: the piece of the source; None is all of it. Its end may be late: `cut` is exact.
    """
    copied = holds(suffix, source)
    taken = [*input_options(source, live=False), "-map", "0:v", "-map", "1:a?", "-c:a", "copy" if copied else "aac"]
    if span is None:
        return taken
    if not copied:
        return [*seeking(begin + span.seek), *taken, "-af", f"atrim={span.between(begin)}"]
    if span.end is not None:  # or ffmpeg would read on to the end of the source
        taken = ["-t", f"{span.end - span.start:.6f}", *taken]
    return [*seeking(begin + span.start), *taken, "-copypriorss:a", "0"]  # packets are let go by their times


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
