"""Finds and starts the programs ffmpeg, ffprobe and ffplay, and asks ffprobe about sources."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from parsing_rcnn_client.names import hidden
from parsing_rcnn_client.video import sequence
from parsing_rcnn_client.video.media import (
    ANY_CLOCK,
    MP4,
    VideoError,
    VideoInfo,
    VideoToolMissing,
    assumed_matrix,
    squared,
    written_clock,
)
from parsing_rcnn_client.video.upright import UPRIGHT, swaps_sides
from parsing_rcnn_client.video.versions import durations

_HDR = ("smpte2084", "arib-std-b67")  # transfer curves of PQ and HLG

_WIDE = (  # primaries, curves and matrices of wide colours without HDR; the filter zscale has to know all three
    ("bt2020", "smpte432"),
    ("bt709", "smpte170m", "bt2020-10", "bt2020-12", "iec61966-2-1"),
    ("bt709", "bt470bg", "smpte170m", "bt2020nc"),
)
_INTERLACED = ("tt", "bb", "tb", "bt")  # orders of fields

_PATIENCE = 10_000_000  # microseconds to wait for an address

_FASTEST = 240  # frames a second; if no average is known, a higher r_frame_rate is taken for a clock, not a rate


def tool(name: str) -> str:
    """The path of ffmpeg, ffprobe or ffplay.

    Raises:
        VideoToolMissing: it is not installed.
    """
    path = shutil.which(name)
    if path is None:
        raise VideoToolMissing(
            f"{name} is not installed, and video needs it: sh scripts/install_ffmpeg.sh, or the package ffmpeg"
        )
    return path


def start(command: Sequence[str], **pipes: Any) -> subprocess.Popen[bytes]:
    """Start ffmpeg or ffplay in a session of its own.

    Ctrl-C in a terminal goes to the whole process group, but ffmpeg must go on to finish its file. It ends by itself
    when its pipe is closed, whatever happens to this process.
    """
    return subprocess.Popen(command, start_new_session=True, **pipes)


def hidden_source(source: str) -> str:
    """A source without user name and password, for messages; the name of a file is not changed."""
    return hidden(source) if "://" in source else source


def is_live(source: str) -> bool:
    """Whether a source is a camera or a network stream."""
    return source.isdigit() or source.startswith(("/dev/video", "rtsp://", "rtsps://", "rtmp://", "udp://", "srt://"))


def is_endless(source: str) -> bool:
    """Whether a source is a camera or an address, http:// included: it sets the pace itself, and is opened again when
    it is lost. Anything else is a file, which is played at its own speed and ends.
    """
    return is_live(source) or ("://" in source and not source.startswith("file://"))


def input_options(source: str, *, live: bool) -> list[str]:
    """ffmpeg's options to open a source.

    Args:
        source: a path, an address, or the number of a camera.
        live: whether low delay matters more than a thorough analysis of the source.
    """
    if source.isdigit() or source.startswith("/dev/video"):
        return ["-f", "v4l2", "-i", f"/dev/video{source}" if source.isdigit() else source]
    options = []
    if source.startswith(("rtsp://", "rtsps://")):
        options = ["-rtsp_transport", "tcp", "-timeout", str(_PATIENCE)]
    elif source.startswith(("http://", "https://")):
        options = ["-rw_timeout", str(_PATIENCE)]
    if (first := sequence.first(source)) is not None:
        options = ["-start_number", str(first)]
    if live:
        options += ["-fflags", "nobuffer", "-flags", "low_delay", "-analyzeduration", "1000000"]
    return [*options, "-i", local(source)]


def output_options(target: str, info: VideoInfo) -> list[str]:
    """ffmpeg's options of the container, before the target itself.

    Args:
        target: a path, or an rtsp:// or rtmp:// address.
        info: of the source.
    """
    if target.startswith(("rtsp://", "rtsps://")):
        return ["-f", "rtsp", "-rtsp_transport", "tcp"]
    if target.startswith("rtmp://"):
        return ["-f", "flv"]
    scale = written_clock(info.time_base).denominator
    mp4 = Path(target).suffix.lower() in MP4
    # the last picture lasts as long as the one before; a single one needs a duration, or it could not be read again
    single = max(round((scale if mp4 else 1000) / info.fps), 1)
    lasts = durations(tool("ffmpeg"), single)
    return [*(["-movflags", "+faststart", "-video_track_timescale", str(scale)] if mp4 else []), *lasts]


def local(source: str) -> str:
    """A source as FFmpeg understands it: it would take a file named 12:30.mp4 for an address with the protocol 12."""
    if "://" in source or ":" not in source.partition("/")[0]:
        return source
    with suppress(OSError):  # the name is too long, for example: no file
        return f"file:{source}" if Path(source).exists() else source
    return source


def encoders() -> frozenset[str]:
    """The names of ffmpeg's encoders.

    Raises:
        VideoToolMissing: ffmpeg is not installed.
    """
    done = subprocess.run([tool("ffmpeg"), "-hide_banner", "-encoders"], capture_output=True, check=False)
    lines = done.stdout.decode(errors="replace").splitlines()
    return frozenset(words[1] for line in lines if len(words := line.split()) > 1)


def probe(source: str, *, live: bool = False) -> VideoInfo:
    """Ask ffprobe about a source.

    Raises:
        VideoError: it cannot be opened or has no pictures.
        VideoToolMissing: ffprobe is not installed.
    """
    options = input_options(source, live=live)
    command = [tool("ffprobe"), "-v", "error", "-of", "json", "-show_streams", "-show_format", *options]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise VideoError(f"{hidden_source(source)}: nothing came within 60 seconds") from None
    document = json.loads(done.stdout or b"{}")
    streams: list[dict[str, Any]] = document.get("streams", [])
    videos = [s for s in streams if s.get("codec_type") == "video" and not s.get("disposition", {}).get("attached_pic")]
    if done.returncode != 0 or not videos or not videos[0].get("width"):
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1].replace(source, hidden_source(source)) if lines else "it has no pictures"
        raise VideoError(f"{hidden_source(source)}: cannot be read as video ({reason})")
    return _info(videos[0], any(s.get("codec_type") == "audio" for s in streams), document.get("format", {}), live)


def _info(stream: dict[str, Any], audio: bool, container: dict[str, Any], live: bool) -> VideoInfo:
    aspect = _fraction(stream.get("sample_aspect_ratio", "").replace(":", "/"))
    width, height = squared(int(stream["width"]), aspect), int(stream["height"])
    if swaps_sides(_display_matrix(stream)):
        width, height = height, width
    untagged = stream.get("color_space", "unknown") == "unknown"
    least = _fraction(stream.get("r_frame_rate"))  # the lowest rate that fits all times: 1000 for milliseconds
    rate = _fraction(stream.get("avg_frame_rate")) or (least if least and least <= _FASTEST else Fraction(25))
    seconds = float(stream.get("duration") or container.get("duration") or 0)
    frames = int(stream.get("nb_frames") or round(seconds * rate)) or None
    clock = _fraction(stream.get("time_base")) or Fraction(1, 90000)
    matrix = assumed_matrix(int(stream["width"]), int(stream["height"])) if untagged else None
    hdr = not untagged and stream.get("color_transfer") in _HDR and "color_primaries" in stream
    tags = stream.get("color_primaries"), stream.get("color_transfer"), stream.get("color_space")
    wide = all(tag in known for tag, known in zip(tags, _WIDE, strict=True))
    interlaced = stream.get("field_order") in _INTERLACED
    anywhere = not live and not ANY_CLOCK.isdisjoint(container.get("format_name", "").split(","))
    start = float(container.get("start_time") or 0) if anywhere else 0.0
    return VideoInfo(
        width,
        height,
        float(rate),
        clock,
        None if live else frames,
        audio,
        live,
        matrix,
        hdr,
        wide,
        interlaced,
        start,
    )


def _display_matrix(stream: dict[str, Any]) -> list[int]:
    """The nine numbers of the display matrix, which ffprobe prints in three lines: "00000000:  0  65536  0"."""
    text = next((d["displaymatrix"] for d in stream.get("side_data_list", []) if "displaymatrix" in d), "")
    numbers = [int(number) for line in text.splitlines() for number in line.partition(":")[2].split()]
    return numbers if len(numbers) == len(UPRIGHT) else UPRIGHT


def _fraction(text: str | None) -> Fraction | None:
    try:
        return Fraction(text) if text and Fraction(text) > 0 else None
    except (ValueError, ZeroDivisionError):
        return None
