"""Reads and writes video with PyAV, the optional extra `pyav`: FFmpeg's libraries in this process, not the program.

This saves copying every frame through a pipe. It is not the default because its wheels bundle codecs under the GPL, and
because a file that crashes a decoder then ends the whole process.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn_client.video import sequence
from parsing_rcnn_client.video.clock import Clock
from parsing_rcnn_client.video.encoding import Encoding
from parsing_rcnn_client.video.media import (
    ANY_CLOCK,
    MP4,
    Frame,
    VideoError,
    VideoInfo,
    VideoToolMissing,
    assumed_matrix,
    begun,
    squared,
    writing,
    written_clock,
)
from parsing_rcnn_client.video.programs import hidden_source, is_live, local
from parsing_rcnn_client.video.span import ROUNDED, Lead, Span
from parsing_rcnn_client.video.upright import UPRIGHT, swaps_sides, upright

_UNKNOWN = 2  # FFmpeg's number of an unspecified colour matrix
_HDR = 16, 18  # FFmpeg's numbers of the transfer curves PQ and HLG
_EXACT = 0x40 | 0x2000 | 0x40000  # FFmpeg's flags bicublin, full_chroma_int, accurate_rnd; without them it rounds down
_MATRICES = {"bt709": "ITU709", "bt601": "ITU601"}  # PyAV's names


def library() -> Any:
    """The module `av`.

    Raises:
        VideoToolMissing: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise VideoToolMissing(
            "PyAV is not installed: pip install 'parsing-rcnn-client[pyav]', or take the program (--backend ffmpeg)"
        ) from None
    return av


class PyAVReader:
    """Frames of a file or a network stream; arguments as in `FFmpegReader`.

    Raises:
        VideoError: the source cannot be opened.
        VideoToolMissing: PyAV is not installed.
    """

    def __init__(self, source: str, *, live: bool | None = None, pace: bool = False, span: Span | None = None) -> None:
        self.source, self.span, self._pace, self._closed = source, span, pace, False
        self.damaged: str | None = None
        """What was wrong with a source that could still be read, for example a broken tail; None if nothing was."""
        self._av = library()
        live = is_live(source) if live is None else live
        options = {"rtsp_transport": "tcp", "fflags": "nobuffer", "flags": "low_delay"} if live else {}
        where, form = (f"/dev/video{source}", "v4l2") if source.isdigit() else (local(source), None)
        try:
            self._container = self._av.open(where, format=form, options=options, timeout=10.0 if live else None)
            self._stream: Any = next((s for s in self._container.streams.video if not _is_cover(s)), None)
            if self._stream is None:
                raise VideoError(f"{hidden_source(source)}: cannot be read as video (it has no pictures)")
            self._stream.thread_type = "SLICE" if live else "AUTO"
            self._frames = self._decoded()
            self._first: Any = next(self._frames, None)  # only frames tell how they are to be turned
        except (self._av.FFmpegError, OSError) as error:
            raise VideoError(
                f"{hidden_source(source)}: cannot be read as video ({error.strerror or 'no video'})"
            ) from None
        if self._first is None:
            raise VideoError(f"{hidden_source(source)}: no frame could be decoded ({self.damaged or 'it is empty'})")
        self._info = self._describe(live)
        self._begin = 0
        self._lead = Lead(self._packets, self._info.start, span) if span is not None and span.start else None

    @property
    def info(self) -> VideoInfo:
        """What the container and its first frame say about the source."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        """The frames, in order of their times.

        Raises:
            InvalidOptions: no frame lies in the span.
        """
        if self._lead is not None:
            self._go_to(self._lead)
        index, begin, clock = 0, time.monotonic(), Clock(1 / self._info.fps)
        size = self._info.width, self._info.height
        scaling = None if self._info.live or self._pace else _EXACT  # which takes too long for a live picture
        while self._first is not None and not self._closed:
            shown_at = self._next_time()
            if self.span is not None and shown_at is not None:
                if shown_at < self.span.start - ROUNDED:
                    self._first = next(self._frames, None)
                    continue
                if self.span.end is not None and shown_at >= self.span.end - ROUNDED:
                    break
            moment = clock.next(shown_at)
            begin = begin - moment if index == 0 else begin
            if self._pace:
                time.sleep(max(begin + moment - time.monotonic(), 0))
            image = _picture(self._first, size, self._info.matrix, scaling)
            yield Frame(self._begin + index, moment, image, time.monotonic())
            index += 1
            self._first = next(self._frames, None)
        if self.span is not None:
            self._container.close()
            if index == 0 and not self._closed:
                raise self.span.empty(hidden_source(self.source))
        missing = None if self.span else sequence.gap(self.source, index)
        self.damaged = clock.note(self._info.audio) or missing or self.damaged

    def close(self) -> None:
        """Stop reading. Safe to call twice, from any thread."""
        self._closed = True

    def _packets(self, until: float) -> Iterator[tuple[float, bool]]:
        """The source's packets up to a time, as `span.Packets`."""
        with self._av.open(local(self.source)) as container:
            stream = container.streams[self._stream.index]
            for packet in container.demux(stream):
                ticks = packet.dts if packet.pts is None else packet.pts
                if packet.dts is not None and packet.dts * packet.time_base > until:
                    break
                if ticks is not None and not packet.is_discard:
                    yield float(ticks * packet.time_base), packet.is_keyframe

    def _go_to(self, lead: Lead) -> None:
        """Go to the first picture of the piece. If the packets show that earlier pictures of it are missing, the source
        is read from the beginning: some decoders skip pictures after a key frame.
        """
        start = 0.0 if self.span is None else self.span.start
        for place in (lead.seek, None):
            # MPEG-TS seeks by decoding times, which begin before the times of the pictures
            self._container.seek(int((max(self._info.start - 1, 0) if place is None else place) * 10**6))
            self._frames = self._decoded()
            self._first = next(self._frames, None)
            while (shown_at := self._next_time()) is not None and shown_at < start - ROUNDED and not self._closed:
                self._first = next(self._frames, None)
            if place is None or self._closed or not lead.lost(self._first is not None, shown_at):
                break
        self._begin = lead.number(shown_at)
        self.damaged = None  # it was about what lies before the piece

    def _next_time(self) -> float | None:
        """The time of the next picture, seconds; None if it has none, or there is no next picture."""
        return None if getattr(self._first, "time", None) is None else float(self._first.time) - self._info.start

    def _decoded(self) -> Iterator[Any]:
        try:
            for packet in self._container.demux(self._stream):
                if self._closed:
                    break
                try:
                    yield from packet.decode()
                except self._av.FFmpegError as error:  # one bad packet; from the next key frame on all is well again
                    self.damaged = str(error.strerror)
        except self._av.FFmpegError as error:
            self.damaged = str(error.strerror)
        finally:
            if self.span is None:  # else it is read again from another place
                self._container.close()

    def _describe(self, live: bool) -> VideoInfo:
        stream, first = self._stream, self._first
        width, height = squared(first.width, stream.sample_aspect_ratio), first.height
        width, height = (height, width) if swaps_sides(_display_matrix(first)) else (width, height)
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        length = (
            stream.duration * stream.time_base if stream.duration else Fraction(self._container.duration or 0, 10**6)
        )
        frames = stream.frames or round(length * rate) or None
        audio = bool(self._container.streams.audio)
        matrix = assumed_matrix(first.width, first.height) if first.colorspace == _UNKNOWN else None
        hdr = matrix is None and int(first.color_trc) in _HDR  # reported only: there is no tone mapping here
        anywhere = not live and not ANY_CLOCK.isdisjoint(self._container.format.name.split(","))
        start = (self._container.start_time or 0) / 10**6 if anywhere else 0.0
        clock = stream.time_base
        return VideoInfo(width, height, float(rate), clock, None if live else frames, audio, live, matrix, hdr, start)


def _is_cover(stream: Any) -> bool:
    return "attached_pic" in str(stream.disposition).lower()


def _display_matrix(frame: Any) -> list[int]:
    matrix = frame.side_data.get("DISPLAYMATRIX")
    return UPRIGHT if matrix is None else np.frombuffer(matrix, np.int32).tolist()


def _picture(frame: Any, size: tuple[int, int], matrix: str | None, scaling: int | None) -> NDArray[np.uint8]:
    """The upright picture, uint8 [H,W,3] RGB.

    Args:
        frame: of PyAV.
        size: (width, height) of the upright picture.
        matrix: the colour matrix, as in `VideoInfo`.
        scaling: FFmpeg's flags of the conversion; None for PyAV's own.
    """
    display = _display_matrix(frame)
    wide, high = size[::-1] if swaps_sides(display) else size
    colours = None if matrix is None else _MATRICES[matrix]
    options = {"width": wide, "height": high, "src_colorspace": colours, "interpolation": scaling}
    return upright(frame.to_ndarray(format="rgb24", **options), display)


class PyAVWriter:
    """Writes a file; arguments as in `FFmpegWriter`, without `extra`.

    Raises:
        VideoError: the encoder or the container refuses.
        VideoToolMissing: PyAV is not installed.
    """

    def __init__(
        self,
        target: str,
        info: VideoInfo,
        *,
        sound_of: str | None = None,
        encoding: Encoding = Encoding(),  # noqa: B008 - frozen
        span: Span | None = None,
    ) -> None:
        self.target, self.info, self._closed = target, info, False
        self._span = span or Span()
        self._av, self._unfinished = library(), begun(target)
        self._sound: Any = None
        self._end = 0.0
        self._packets: Iterator[Any] = iter(())
        self._clock = written_clock(info.time_base)
        self._size = info.width + info.width % 2, info.height + info.height % 2
        mp4 = Path(target).suffix.lower() in MP4
        try:
            flags = {"movflags": "+faststart"} if mp4 else {}
            place = target if self._unfinished is None else str(self._unfinished.path)
            self._container = self._av.open(place, "w", container_options=flags)
            self._stream = self._container.add_stream(encoding.encoder, options=encoding.options)
            if tag := encoding.tag(target):
                self._stream.codec_context.codec_tag = tag
            self._stream.width, self._stream.height = self._size
            self._stream.pix_fmt, self._stream.time_base = "yuv420p", self._clock
            self._stream.codec_context.time_base = self._clock
            self._stream.codec_context.sample_aspect_ratio = Fraction(1)
            self._stream.codec_context.color_range, self._stream.codec_context.colorspace = 1, 1  # video levels, BT.709
            self._stream.codec_context.color_primaries, self._stream.codec_context.color_trc = 1, 1
            if sound_of is not None:
                self._open_sound(sound_of)
            self._container.start_encoding()  # so that the container refuses now, not after the first analysis
        except (self._av.FFmpegError, OSError, ValueError) as error:
            hint = "" if self._sound is None else "; a container may not hold the sound of its source: .mkv does"
            raise self._failed(error, hint) from None
        self._waiting = next(self._packets, None)

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        """Add a frame."""
        height, width = image.shape[:2]
        edge = self._size[1] - height, self._size[0] - width
        if any(edge):
            image = np.pad(image, ((0, edge[0]), (0, edge[1]), (0, 0)))
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(
            format="yuv420p", dst_colorspace="ITU709", src_color_range="JPEG", dst_color_range="MPEG"
        )
        time -= self._span.start
        frame.pts, frame.time_base = round(time / self._clock), self._clock
        try:
            self._copy_sound(until=time)
            self._mux(frame)
            self._end = time + 1 / self.info.fps
        except (self._av.FFmpegError, OSError, ValueError) as error:
            self.abort()
            raise self._failed(error) from None

    def close(self, *, cut: bool = False) -> None:
        """Finish the file, which then gets its final name. Safe to call twice.

        Args:
            cut: end the sound with the last picture; without it all the sound is kept.
        """
        if self._closed:
            return
        try:
            self._mux(None)
            self._copy_sound(until=self._end if cut else float("inf"))
            self._container.close()
        except (self._av.FFmpegError, OSError, ValueError) as error:
            self._closed = True
            raise self._failed(error) from None
        finally:
            if self._sound is not None:
                self._sound.close()
        self._closed = True  # only now, so that `abort` still works if this is interrupted
        if self._unfinished is not None:
            with writing(self.target):
                self._unfinished.finish()

    def abort(self) -> None:
        """Stop and leave no file behind."""
        if not self._closed:
            self._closed = True
            self._container.close()
            self._drop()

    def _open_sound(self, source: str) -> None:
        self._sound = self._av.open(local(source))
        back = self.info.start + self._span.start
        if self._span.start:
            self._sound.seek(int(back * 10**6))
        length = float("inf") if self._span.end is None else self._span.end - self._span.start
        tracks = {s.index: self._container.add_stream_from_template(s) for s in self._sound.streams.audio}

        def packets() -> Iterator[Any]:
            for packet in self._sound.demux(*self._sound.streams.audio):
                if packet.dts is not None:  # the last one of each stream is empty
                    behind = round(back / packet.time_base)
                    packet.dts, packet.pts = packet.dts - behind, packet.pts - behind
                    moment = float(packet.dts * packet.time_base)
                    if (self._span.start and moment < 0) or moment >= length:
                        continue
                    packet.stream = tracks[packet.stream.index]
                    yield moment, packet

        self._packets = packets()

    def _mux(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            # for the last picture, which has no next one: else a file with a single picture would last no time
            packet.duration = round(1 / self.info.fps / packet.time_base)
            self._container.mux(packet)

    def _copy_sound(self, until: float) -> None:
        while self._waiting is not None and self._waiting[0] <= until:
            self._container.mux(self._waiting[1])
            self._waiting = next(self._packets, None)

    def _drop(self) -> None:
        if self._unfinished is not None:
            self._unfinished.drop()

    def _failed(self, error: Exception, hint: str = "") -> VideoError:
        self._drop()
        reason = getattr(error, "strerror", None) or str(error)
        return VideoError(f"{hidden_source(self.target)}: PyAV cannot write it ({reason}{hint})")
