"""Reads and writes video with the program ffmpeg in a process of its own, so that no codec is linked into this one.

Frames travel through pipes as raw RGB. Their times come from the filter `showinfo`, on ffmpeg's standard error, and are
sent in Matroska. So a variable frame rate and a late start are kept, and copied sound stays in step.
"""

from __future__ import annotations

import contextlib
import queue
import re
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn_client.video import complaints, matroska, sequence, sound, tones
from parsing_rcnn_client.video.clock import Clock
from parsing_rcnn_client.video.encoding import Encoding
from parsing_rcnn_client.video.media import Frame, SourceLost, VideoError, VideoInfo, begun, writing
from parsing_rcnn_client.video.programs import hidden_source, input_options, is_live, output_options, probe, start, tool
from parsing_rcnn_client.video.span import Lead, Span, packets_of, seeking
from parsing_rcnn_client.video.versions import passthrough

CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv", ".flv", ".ts", ".mts", ".m2ts", ".3gp")
"""Suffixes of containers that hold H.264 and the time of each frame (AVI has no times)."""
_SHIFT = 3600.0  # seconds added before the pipe and subtracted behind it, as Matroska has no negative times
_PATIENCE = 10.0  # seconds to wait for an address that takes no data
_GOODBYE = 5.0  # seconds to wait for the end of a stream, or of a file that takes no picture any more
_TERMINATED = 255  # ffmpeg's exit code after SIGTERM
_OF_THE_PIPE = "increasing dts to muxer"  # a harmless complaint: two pictures have the same time
_EXACT = ":flags=bicublin+accurate_rnd+full_chroma_int"  # the default rounds down, so each copy gets darker
_Picture = tuple[float | None, NDArray[np.uint8]]  # its time, seconds, and its pixels
_PTS = re.compile(r"showinfo.*\bn: *(\d+) pts: *(-?\d+|NOPTS)")
_CLOCK = re.compile(r"config in time_base: (\d+)/(\d+)")  # from showinfo; the line before may not have ended


class FFmpegReader:
    """Frames of a file, a camera or a network stream.

    Args:
        source: a path, a URL, or the number of a camera.
        live: whether the newest picture matters more than getting every picture; None decides by the source.
        pace: play a file at its own speed.
        loop: how often a file is repeated, for a long video out of a short one; 0 plays it once.
        span: the piece of a file to read; frames keep their indices and times in the whole file.

    Raises:
        VideoError: the source cannot be opened.
        VideoToolMissing: ffmpeg is not installed.
    """

    def __init__(
        self,
        source: str,
        *,
        live: bool | None = None,
        pace: bool = False,
        loop: int = 0,
        span: Span | None = None,
    ) -> None:
        self.source, self.span = source, span
        self.live = is_live(source) if live is None else live
        self._info = probe(source, live=self.live)
        size = f"{self._info.width}:{self._info.height}"
        camera = source.isdigit() or source.startswith("/dev/video")  # cameras use BT.601 at any size
        size += f":in_color_matrix={self._info.matrix}" if self._info.matrix and not camera else ""
        size += "" if self.live or pace else _EXACT
        command = [tool("ffmpeg"), "-hide_banner", "-nostats", "-nostdin", "-loglevel", "level+info", "-copyts"]
        command += ["-re"] if pace else []
        command += ["-stream_loop", str(loop)] if loop else []
        command += input_options(source, live=self.live)
        command += ["-map", "0:V:0", "-an", "-sn", "-dn"]
        piece = f"trim={span.between(self._info.start)}," if span else ""
        filters = tones.whole(self._info) + piece + tones.filters(self._info)
        command += ["-vf", f"{filters}scale={size},format=rgb24,showinfo=checksum=0", *passthrough(command[0])]
        # on a clock of 1/fps, two pictures of a variable rate may get the same time, and ffmpeg would complain
        self._command = [*command, "-enc_time_base", "-1", "-f", "rawvideo", "-"]
        self._lead = Lead(packets_of(source), self._info.start, span) if span and span.start else None
        self._closed = False
        self._open(None if self._lead is None else self._lead.seek)
        self.damaged: str | None = None
        """What was wrong with a source that could still be read, for example a broken tail; None if nothing was."""

    @property
    def info(self) -> VideoInfo:
        """What ffprobe says about the source."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        """The frames, in order of their times.

        Raises:
            InvalidOptions: no frame lies in the span.
            SourceLost: ffmpeg was killed, or crashed.
            VideoError: no frame could be decoded, or ffmpeg does not report the unit of its times.
        """
        index, clock = 0, Clock(1 / self._info.fps)
        begin, picture = self._first()
        while picture is not None:
            yield Frame(begin + index, clock.next(picture[0]), picture[1], time.monotonic())
            index += 1
            picture = self._next()
        code = self._process.wait()
        self._listener.join(5)
        if self._closed:
            return
        if code < 0:
            raise SourceLost(
                f"{hidden_source(self.source)}: ffmpeg was ended by signal {-code} after {index} frames; where memory "
                "ran out have less beside it, and where a damaged file made it crash `--backend pyav` may read on"
            )
        complaint = next((line for line in reversed(self._complaints)), None)
        if index == 0 and self.span is not None and (complaint is None or (self._lead and self._lead.empty)):
            raise self.span.empty(hidden_source(self.source))
        if index == 0:
            raise VideoError(f"{hidden_source(self.source)}: no frame could be decoded ({complaint or 'it is empty'})")
        complaint = complaint or (f"ffmpeg ended with code {code}" if code else None)
        missing = None if self.span else sequence.gap(self.source, index)
        self.damaged = clock.note(self._info.audio) or missing or complaint

    def close(self) -> None:
        """Stop ffmpeg. Safe to call twice, from any thread."""
        self._closed = True
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._times.put(None)

    def _open(self, seek: float | None) -> None:
        """Start ffmpeg at a time of the container's clock, seconds; None is the beginning."""
        command = [self._command[0], *([] if seek is None else seeking(seek)), *self._command[1:]]
        self._times: queue.Queue[float | VideoError | None] = queue.Queue()
        self._complaints: deque[str] = deque(maxlen=20)
        self._process = start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        self._listener = threading.Thread(target=self._listen, name="ffmpeg-times", daemon=True)
        self._listener.start()
        if self._closed:  # by another thread, which may have stopped the process before this one
            self.close()

    def _first(self) -> tuple[int, _Picture | None]:
        """The first picture, with its index in the whole file. If the packets show that earlier pictures of the piece
        are missing, the source is read from the beginning: some decoders skip pictures after a key frame.
        """
        picture, lead = self._next(), self._lead
        if lead is None:
            return 0, picture
        if lead.seek is not None and lead.lost(picture is not None, picture and picture[0]):
            self._process.kill()
            self._listener.join(5)
            self._process.wait()
            self._open(None)
            picture = self._next()
        return lead.number(picture and picture[0]), picture

    def _next(self) -> _Picture | None:
        """The next picture with its time; None at the end."""
        pipe = self._process.stdout
        assert pipe is not None
        image = np.empty((self._info.height, self._info.width, 3), np.uint8)
        if self._closed or not _fill(pipe, image.data.cast("B")):
            return None
        moment = self._times.get()
        if isinstance(moment, VideoError):
            raise moment
        return moment, image

    def _listen(self) -> None:
        assert self._process.stderr is not None
        clock: Fraction | None = None
        for raw in self._process.stderr:
            line = raw.decode(errors="replace").rstrip()
            if (match := _CLOCK.search(line)) is not None:
                clock = Fraction(int(match[1]), int(match[2]))
            elif (match := _PTS.search(line)) is not None:
                if self._lead is not None and match[1] == "0":  # complaints about what lies before the piece
                    self._complaints.clear()
                self._times.put(None if match[2] == "NOPTS" else self._moment(int(match[2]), clock))
            elif ("[error]" in line or "[fatal]" in line) and _OF_THE_PIPE not in line:
                self._complaints.append(
                    line.partition("] ")[2].replace("[error] ", "").replace(self.source, hidden_source(self.source))
                )
        self._times.put(None)

    def _moment(self, ticks: int, clock: Fraction | None) -> float | VideoError:
        """The time of a picture, seconds; an error if the clock is unknown, as its ticks could then mean any time."""
        if clock is None:
            return VideoError(
                f"{hidden_source(self.source)}: ffmpeg does not say what the times of its pictures mean; take another "
                "version of ffmpeg, or `--backend pyav`"
            )
        return float(ticks * clock) - self._info.start


def _fill(pipe: IO[bytes], buffer: memoryview) -> bool:
    """Read a whole frame into a buffer; False at the end, even if there was still a part of a frame."""
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
        info: of the source; gives the size and the clock.
        sound_of: a file whose sound is copied, or converted to AAC if the container cannot hold it.
        encoding: the codec and the quality.
        extra: further options of the encoder.
        span: the piece of the source whose sound is taken; its beginning becomes 0 in the file.

    Raises:
        VideoError: the file cannot be begun, or ffmpeg refuses.
        VideoToolMissing: ffmpeg is not installed.
    """

    def __init__(
        self,
        target: str,
        info: VideoInfo,
        *,
        sound_of: str | None = None,
        encoding: Encoding = Encoding(),  # noqa: B008 - frozen
        extra: Sequence[str] = (),
        span: Span | None = None,
    ) -> None:
        self.target, self.info = target, info
        command = [tool("ffmpeg"), "-hide_banner", "-nostats", "-nostdin", "-loglevel", "error", "-y", "-copyts"]
        command += ["-itsoffset", str(info.start - _SHIFT), "-f", "matroska", "-i", "pipe:0"]
        suffix = None if "://" in target else Path(target).suffix
        heard = sound.of(sound_of, suffix, info.start, span) if sound_of else sound.Sound()
        command += heard.options
        even = "pad=ceil(iw/2)*2:ceil(ih/2)*2"
        command += ["-vf", f"{even},scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,setsar=1"]
        command += ["-c:v", encoding.encoder]
        command += [text for name, value in encoding.options.items() for text in (f"-{name}", value)]
        command += ["-tag:v", tag] if (tag := encoding.tag(target)) else []
        command += extra
        command += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
        command += [*passthrough(command[0]), "-enc_time_base", "-1"]
        # pictures are moved to the clock of the sound, and then both together back to 0
        back = info.start + (span.start if span else 0.0)
        command += ["-output_ts_offset", f"{-back:.6f}"] if back else []
        self._options = output_options(target, info)
        self.left_out = heard.left_out
        """Why tracks of sound are missing, one message each."""
        self._closed, self._sound = False, heard.any
        self._first: float | None = None  # time of the first frame
        self._length = 0.0  # seconds from there to the end of the last frame
        self._waited: float | None = None  # seconds after which ffmpeg was ended because the target took nothing
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._unfinished = begun(target)
        self._part = None if self._unfinished is None else self._unfinished.path
        try:
            command += [*self._options, str(self._part or target)]
            self._process = start(command, stdin=subprocess.PIPE, stderr=self._log, bufsize=0)
        except OSError:
            if self._unfinished is not None:
                self._unfinished.drop()
            raise
        self._send(matroska.header(info.width, info.height))

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        """Add a frame.

        Raises:
            VideoError: ffmpeg has stopped (the message says why), or an address takes no data any more.
        """
        pixels = np.ascontiguousarray(image)
        with self._in_time():
            self._send(matroska.frame_head(time + _SHIFT, pixels.nbytes))
            self._send(pixels.data.cast("B"))
        self._first = time if self._first is None else self._first
        self._length = time - self._first + 1 / self.info.fps

    def close(self, *, cut: bool = False) -> None:
        """Finish the stream, or the file, which then gets its final name. Safe to call twice.

        Args:
            cut: end the sound with the last picture; without it all the sound is kept.

        Raises:
            VideoError: ffmpeg could not finish it.
        """
        if self._closed:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:  # a long file may need time; but an address that takes no data would never end
            code = self._process.wait(_GOODBYE if self._part is None else None)
        except subprocess.TimeoutExpired:
            code = self._stop(_GOODBYE)
        self._closed = True  # only now, so that `abort` still works if this is interrupted
        if code != 0:
            raise self._failed()
        self._take_name(cut=cut and self._sound)

    def interrupt(self) -> None:
        """Finish while another thread hangs in `write`, which then fails: a file ends with the picture before.

        Raises:
            VideoError: ffmpeg could not finish the file.
        """
        if self._closed:
            return
        self._closed = True
        if self._part is None:
            self._stop()
            return
        self._process.terminate()  # ffmpeg then completes the file
        try:
            code = self._process.wait(_GOODBYE)
        except subprocess.TimeoutExpired:
            code = self._stop(_GOODBYE)
        if code not in (0, _TERMINATED):
            raise self._failed()
        self._take_name()

    def abort(self) -> None:
        """Stop and leave no file behind."""
        if not self._closed:
            self._closed = True
            self._stop()
            if self._unfinished is not None:
                self._unfinished.drop()

    @contextlib.contextmanager
    def _in_time(self) -> Iterator[None]:
        """Limits the time to send to an address, as a server that hangs, or a dead network, would block forever. A file
        has no limit, because nobody knows how long it may take.
        """
        if self._part is not None:
            yield
            return
        watch = threading.Timer(_PATIENCE, self._stop, (_PATIENCE,))
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()

    def _stop(self, waited: float | None = None) -> int:
        """Kill ffmpeg and return its exit code; `waited`, for the message: seconds for which it took nothing."""
        self._waited = waited
        self._process.kill()
        return self._process.wait()

    def _take_name(self, *, cut: bool = False) -> None:
        if self._unfinished is not None:
            shorter = sound.cut(self._unfinished.path, self._length, self._options) if cut else None
            with writing(self.target):
                self._unfinished.finish(shorter)

    def _send(self, data: bytes | memoryview) -> None:
        assert self._process.stdin is not None
        left = memoryview(data)
        try:
            while left:
                left = left[self._process.stdin.write(left) :]
        except OSError:
            if self._closed:  # by another thread, which now owns the file
                raise VideoError(f"{hidden_source(self.target)}: was stopped") from None
            self._closed = True
            self._process.wait()
            raise self._failed() from None

    def _failed(self) -> VideoError:
        if self._unfinished is not None:
            self._unfinished.drop()
        self._log.seek(0)
        reason = complaints.reason(self._log.read().decode(errors="replace"))
        reason = reason if self._waited is None else f"nothing was taken there for {self._waited:.0f} s"
        reason = reason.replace(str(self._part), self.target).replace(self.target, hidden_source(self.target))
        return VideoError(f"{hidden_source(self.target)}: ffmpeg cannot write it ({reason})")
