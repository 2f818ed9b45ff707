"""Reading and writing video by the program ffmpeg in a process of its own: no codec is linked into this one.

Frames come and go as raw RGB on pipes. Their times come from the filter `showinfo`, on ffmpeg's standard error, and go
out in Matroska, so a variable frame rate, a late start and sound that is copied beside stay in step.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn_client import wire
from parsing_rcnn_client.video import matroska
from parsing_rcnn_client.video.media import (
    Frame,
    VideoError,
    VideoInfo,
    VideoToolMissing,
    assumed_matrix,
    squared,
    writing,
)

CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv", ".flv", ".ts", ".mts", ".m2ts", ".3gp")
"""Suffixes of files that hold H.264 and the times of the frames, which AVI does not."""
_SHIFT = 3600.0  # seconds added on the pipe and taken off behind it: Matroska has no negative times
_HDR = ("smpte2084", "arib-std-b67")  # transfer curves of PQ and HLG
# white is 203 nits there (ITU-R BT.2408); the curve leaves what is darker nearly as it is
_TONES = (
    "zscale=t=linear:npl=203,format=gbrpf32le,tonemap=mobius:desat=0,zscale=p=bt709:t=bt709:m=bt709:r=tv,format=yuv420p"
)
_GIVES_UP = ("Error initializing output stream", "Conversion failed", "Error while opening encoder for output")
_SAYS_NOTHING = ": Invalid argument"
_SPEAKER = re.compile(r"\[[^]]* @ 0x[0-9a-f]+\] ")  # which part of ffmpeg says it
_PTS = re.compile(r"showinfo.*\bn: *(\d+) pts: *(-?\d+|NOPTS)")
_CLOCK = re.compile(r"showinfo.*config in time_base: (\d+)/(\d+)")


def tool(name: str) -> str:
    """The path of ffmpeg, ffprobe or ffplay.

    Raises:
        VideoToolMissing: it is not installed.
    """
    found = shutil.which(name)
    if found is None:
        raise VideoToolMissing(
            f"{name} is not installed, and video needs it: sh scripts/install_ffmpeg.sh, or the package ffmpeg"
        )
    return found


def start(command: Sequence[str], **pipes: Any) -> subprocess.Popen[bytes]:
    """Run ffmpeg or ffplay in a session of its own.

    Ctrl-C in a terminal goes to a whole process group, and ffmpeg must outlive it to finish its file. It ends by itself
    when its pipe does, whatever became of this process.
    """
    return subprocess.Popen(command, start_new_session=True, **pipes)


def hidden(source: str) -> str:
    """A source without user name and password, for messages; the name of a file stays as it is."""
    return wire.hidden(source) if "://" in source else source


def is_live(source: str) -> bool:
    """Whether a source is a camera or a network stream."""
    return source.isdigit() or source.startswith(("/dev/video", "rtsp://", "rtsps://", "rtmp://", "udp://", "srt://"))


def input_options(source: str, *, live: bool, patience: float = 10.0) -> list[str]:
    """ffmpeg's options that open a source."""
    if source.isdigit() or source.startswith("/dev/video"):
        return ["-f", "v4l2", "-i", f"/dev/video{source}" if source.isdigit() else source]
    options = []
    if source.startswith(("rtsp://", "rtsps://")):
        options = ["-rtsp_transport", "tcp", "-timeout", str(int(patience * 1e6))]
    elif source.startswith(("http://", "https://")):
        options = ["-rw_timeout", str(int(patience * 1e6))]
    if live:
        options += ["-fflags", "nobuffer", "-flags", "low_delay", "-analyzeduration", "1000000"]
    return [*options, "-i", source]


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
        raise VideoError(f"{hidden(source)}: nothing came within 60 seconds") from None
    document = json.loads(done.stdout or b"{}")
    streams: list[dict[str, Any]] = document.get("streams", [])
    videos = [s for s in streams if s.get("codec_type") == "video" and not s.get("disposition", {}).get("attached_pic")]
    if done.returncode != 0 or not videos or not videos[0].get("width"):
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1].replace(source, hidden(source)) if lines else "it has no pictures"
        raise VideoError(f"{hidden(source)}: cannot be read as video ({reason})")
    return _info(videos[0], any(s.get("codec_type") == "audio" for s in streams), document.get("format", {}), live)


def _info(stream: dict[str, Any], audio: bool, container: dict[str, Any], live: bool) -> VideoInfo:
    aspect = _fraction(stream.get("sample_aspect_ratio", "").replace(":", "/"))
    width, height = squared(int(stream["width"]), aspect), int(stream["height"])
    turn = next((int(d["rotation"]) for d in stream.get("side_data_list", []) if "rotation" in d), 0)
    if turn % 180:
        width, height = height, width
    untagged = stream.get("color_space", "unknown") == "unknown"
    rate = _fraction(stream.get("avg_frame_rate")) or _fraction(stream.get("r_frame_rate")) or Fraction(25)
    seconds = float(stream.get("duration") or container.get("duration") or 0)
    frames = int(stream.get("nb_frames") or round(seconds * rate)) or None
    clock = _fraction(stream.get("time_base")) or Fraction(1, 90000)
    matrix = assumed_matrix(int(stream["width"]), int(stream["height"])) if untagged else None
    hdr = not untagged and stream.get("color_transfer") in _HDR and "color_primaries" in stream
    return VideoInfo(width, height, float(rate), clock, None if live else frames, audio, live, matrix, hdr)


def _fraction(text: str | None) -> Fraction | None:
    try:
        return Fraction(text) if text and Fraction(text) > 0 else None
    except (ValueError, ZeroDivisionError):
        return None


class FFmpegReader:
    """Frames of a file, a camera or a network stream.

    Args:
        source: a path, a URL, or the number of a camera.
        live: newest pictures matter more than all of them.
        pace: play a file at its own speed.
        loop: how often a file is repeated (for trials); 0 plays it once.

    Raises:
        VideoError: the source cannot be opened.
        VideoToolMissing: ffmpeg is not installed.
    """

    def __init__(self, source: str, *, live: bool | None = None, pace: bool = False, loop: int = 0) -> None:
        self.source = source
        self.live = is_live(source) if live is None else live
        self._info = probe(source, live=self.live)
        size = f"{self._info.width}:{self._info.height}"
        camera = source.isdigit() or source.startswith("/dev/video")  # theirs is BT.601 at any size
        size += f":in_color_matrix={self._info.matrix}" if self._info.matrix and not camera else ""
        command = [tool("ffmpeg"), "-hide_banner", "-nostats", "-nostdin", "-loglevel", "level+info"]
        command += ["-re"] if pace else []
        command += ["-stream_loop", str(loop)] if loop else []
        command += ["-copyts", *input_options(source, live=self.live), "-map", "0:V:0", "-an", "-sn", "-dn"]
        tones = f"{_TONES}," if self._info.hdr and _maps_tones() else ""
        command += ["-vf", f"{tones}scale={size},format=rgb24,showinfo=checksum=0", "-fps_mode", "passthrough"]
        command += ["-f", "rawvideo", "-"]
        self._process = start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        self._times: queue.Queue[float | None] = queue.Queue()
        self._said: deque[str] = deque(maxlen=20)
        self._closed = False
        self._listener = threading.Thread(target=self._listen, name="ffmpeg-times", daemon=True)
        self._listener.start()
        self.damaged: str | None = None
        """What ffmpeg complained about while the rest could be read, for example a broken tail."""

    @property
    def info(self) -> VideoInfo:
        """What ffprobe said."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        """The frames, in order of their times.

        Raises:
            VideoError: not one frame could be decoded.
        """
        height, width = self._info.height, self._info.width
        pipe = self._process.stdout
        assert pipe is not None
        index, last = 0, float("-inf")
        while not self._closed:
            image = np.empty((height, width, 3), np.uint8)
            if not _fill(pipe, image.data.cast("B")):
                break
            moment = self._times.get()
            # a source without times, or with times that go back, still goes on
            step = 1 / self._info.fps
            moment = last + step if moment is None or moment <= last else moment
            last = moment if moment != float("-inf") else 0.0
            yield Frame(index, last, image, time.monotonic())
            index += 1
        self._process.wait()
        self._listener.join(5)
        if self._closed:
            return
        complaint = next((line for line in reversed(self._said)), None)
        if index == 0:
            raise VideoError(f"{hidden(self.source)}: no frame could be decoded ({complaint or 'it is empty'})")
        self.damaged = complaint

    def close(self) -> None:
        """Stop ffmpeg. Safe to call twice, from any thread."""
        self._closed = True
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._times.put(None)

    def _listen(self) -> None:
        assert self._process.stderr is not None
        clock = Fraction(1)
        for raw in self._process.stderr:
            line = raw.decode(errors="replace").rstrip()
            if (found := _CLOCK.search(line)) is not None:
                clock = Fraction(int(found[1]), int(found[2]))
            elif (found := _PTS.search(line)) is not None:
                self._times.put(None if found[2] == "NOPTS" else float(int(found[2]) * clock))
            elif "[error]" in line or "[fatal]" in line:
                self._said.append(
                    line.partition("] ")[2].replace("[error] ", "").replace(self.source, hidden(self.source))
                )
        self._times.put(None)


def _maps_tones() -> bool:
    """Whether this ffmpeg can bring HDR to the range of a screen; without it HDR looks dull and grey."""
    done = subprocess.run([tool("ffmpeg"), "-hide_banner", "-filters"], capture_output=True, check=False)
    return b" zscale " in done.stdout and b" tonemap " in done.stdout


def _fill(pipe: IO[bytes], buffer: memoryview) -> bool:
    """Read a whole frame; False at the end, where a part of a frame is dropped."""
    at = 0
    while at < len(buffer):
        got = pipe.readinto(buffer[at:])  # type: ignore[attr-defined]
        if not got:
            return False
        at += got
    return True


class FFmpegWriter:
    """Writes a file, or sends a stream.

    Args:
        target: a path, or an rtsp:// or rtmp:// address.
        info: of the source: size and clock.
        sound_of: a file whose sound is copied, or made AAC where the container does not hold it as it is.
        codec: of the pictures, by ffmpeg's name.
        options: further options of the encoder.

    Raises:
        VideoError: ffmpeg refuses.
        VideoToolMissing: ffmpeg is not installed.
    """

    def __init__(
        self,
        target: str,
        info: VideoInfo,
        *,
        sound_of: str | None = None,
        codec: str = "libx264",
        options: Sequence[str] = ("-preset", "superfast", "-crf", "20"),
    ) -> None:
        self.target, self.info = target, info
        self._part = partial_of(target)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        command = [tool("ffmpeg"), "-hide_banner", "-nostats", "-nostdin", "-loglevel", "error", "-y", "-copyts"]
        command += ["-itsoffset", str(-_SHIFT), "-f", "matroska", "-i", "pipe:0"]
        command += (
            [*input_options(sound_of, live=False), "-map", "0:v", "-map", "1:a?"] if sound_of else ["-map", "0:v"]
        )
        command += ["-c:a", "copy" if _holds(self._part, sound_of) else "aac"] if sound_of else []
        even = "pad=ceil(iw/2)*2:ceil(ih/2)*2"
        command += ["-vf", f"{even},scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,setsar=1"]
        command += ["-c:v", codec, *options]
        command += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
        command += ["-fps_mode", "passthrough", "-enc_time_base", "-1"]
        command += self._container()
        self._process = start(command, stdin=subprocess.PIPE, stderr=self._log, bufsize=0)
        self._closed = False
        self._send(matroska.header(info.width, info.height))

    def _container(self) -> list[str]:
        if self.target.startswith(("rtsp://", "rtsps://")):
            return ["-f", "rtsp", "-rtsp_transport", "tcp", self.target]
        if self.target.startswith("rtmp://"):
            return ["-f", "flv", self.target]
        clock = self.info.time_base
        exact = clock.numerator == 1 and 1000 <= clock.denominator <= 1_000_000
        scale = ["-video_track_timescale", str(clock.denominator if exact else 90000)]
        mp4 = Path(self.target).suffix.lower() in (".mp4", ".m4v", ".mov")
        return [*(["-movflags", "+faststart", *scale] if mp4 else []), str(self._part)]

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        """Add a frame.

        Raises:
            VideoError: ffmpeg has stopped; the message is its own.
        """
        pixels = np.ascontiguousarray(image)
        self._send(matroska.frame_head(time + _SHIFT, pixels.nbytes))
        self._send(pixels.data.cast("B"))

    def close(self) -> None:
        """Finish the file, which then takes its name. Safe to call twice.

        Raises:
            VideoError: ffmpeg could not finish it.
        """
        if self._closed:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        code = self._process.wait()
        self._closed = True  # now, so that one whose finishing was interrupted can still be stopped
        if code != 0:
            raise self._failed()
        if self._part is not None:
            with writing(self.target):
                self._part.replace(Path(self.target).resolve())

    def abort(self) -> None:
        """Stop and leave no file."""
        if not self._closed:
            self._closed = True
            self._process.kill()
            self._process.wait()
            if self._part is not None:
                self._part.unlink(missing_ok=True)

    def _send(self, data: bytes | memoryview) -> None:
        assert self._process.stdin is not None
        left = memoryview(data)
        try:
            while left:
                left = left[self._process.stdin.write(left) :]
        except OSError:
            self._closed = True
            self._process.wait()
            raise self._failed() from None

    def _failed(self) -> VideoError:
        if self._part is not None:
            self._part.unlink(missing_ok=True)
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        # ffmpeg's last lines say that it gave up, one before them says why
        telling = [
            line for line in lines if not line.startswith(_GIVES_UP) and not line.endswith(_SAYS_NOTHING)
        ] or lines
        reason = _SPEAKER.sub("", telling[-1]) if telling else "it gave no reason"
        reason = reason.replace(str(self._part), self.target).replace(self.target, hidden(self.target))
        return VideoError(f"{hidden(self.target)}: ffmpeg cannot write it ({reason})")


def _holds(part: Path | None, sound_of: str) -> bool:
    """Whether a container takes the sound of a file as it is: ffmpeg is asked to copy a piece of it."""
    if part is None or part.suffix.lower() in (".ts", ".mts", ".m2ts"):
        return part is None  # a transport stream takes whatever it is given, and nobody can play it
    with tempfile.TemporaryDirectory() as folder:
        command = [tool("ffmpeg"), "-v", "error", "-nostdin", *input_options(sound_of, live=False), "-map", "0:a?"]
        command += ["-c", "copy", "-frames:a", "1", str(Path(folder, "sound").with_suffix(part.suffix))]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def partial_of(target: str) -> Path | None:
    """A name beside the target until it is whole, in a folder that is made; None for addresses.

    Raises:
        VideoError: there can be no such folder.
    """
    if "://" in target:
        return None
    path = Path(target).resolve()  # a link stays, what it points to is replaced
    with writing(target):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.stem}.part{Path(target).suffix}")
