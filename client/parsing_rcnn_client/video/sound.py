"""The sound beside the pictures, which is copied and not decoded."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from parsing_rcnn_client.video.programs import input_options, tool

_TRANSPORT = (".ts", ".mts", ".m2ts")


def holds(part: Path | None, sound_of: str) -> bool:
    """Whether a container takes the sound of a file as it is: ffmpeg is asked to copy a piece of it."""
    if part is None or part.suffix.lower() in _TRANSPORT:
        return part is None  # a transport stream takes whatever it is given, and nobody can play it
    with tempfile.TemporaryDirectory() as folder:
        command = [tool("ffmpeg"), "-v", "error", "-nostdin", *input_options(sound_of, live=False), "-map", "0:a?"]
        command += ["-c", "copy", "-frames:a", "1", str(Path(folder, "sound").with_suffix(part.suffix))]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def cut(part: Path, length: float, options: Sequence[str]) -> None:
    """End a file with its pictures, without encoding anything again. What cannot be cut stays whole.

    Args:
        part: the file.
        length: seconds from the first picture to the end of the last.
        options: of its container.
    """
    shorter = part.with_name(f"{part.stem}.cut{part.suffix}")
    # some containers move the clock, so that nothing is before 0 for example
    command = [tool("ffprobe"), "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=start_time"]
    said = subprocess.run([*command, "-of", "csv=p=0", str(part)], capture_output=True, check=False).stdout.split()
    try:
        end = float(said[0].strip(b",")) + length
    except (IndexError, ValueError):
        return
    command = [tool("ffmpeg"), "-v", "error", "-y", "-nostdin", "-copyts", "-i", str(part), "-map", "0", "-c", "copy"]
    command += ["-t", f"{end:.6f}", *options]
    # it would be late by as much once more
    command += ["-muxdelay", "0", "-muxpreload", "0"] if part.suffix.lower() in _TRANSPORT else []
    if subprocess.run([*command, str(shorter)], capture_output=True, check=False).returncode == 0:
        shorter.replace(part)
    shorter.unlink(missing_ok=True)
