"""Reads video with PyAV, the optional extra `pyav`: FFmpeg's libraries in this process, not the program.

This saves copying every frame through a pipe. It is not the default because its wheels bundle codecs under the GPL, and
because a file that crashes a decoder then ends the whole process.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn_client.video import sequence, tones
from parsing_rcnn_client.video.clock import Clock
from parsing_rcnn_client.video.media import (
    ANY_CLOCK,
    Frame,
    VideoError,
    VideoInfo,
    VideoToolMissing,
    assumed_matrix,
    squared,
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


def opening(source: str) -> dict[str, str]:
    """FFmpeg's options to open a file, by their names."""
    first = sequence.first(source)
    return {} if first is None else {"start_number": str(first)}


@dataclass
class _Seen:
    """What came of a source.

    Attributes:
        packets: number of packets.
        broken: number of pictures that could be decoded in part only.
    """

    packets: int = 0
    broken: int = 0

    def note(self, announced: int) -> str | None:
        """What is wrong with it; None if nothing is.

        Args:
            announced: number of packets by its container; 0 if that does not say.
        """
        if self.packets < announced:
            return f"it ends after {self.packets} of {announced} pictures"
        return f"pictures that are broken: {self.broken}" if self.broken else None


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
        self._av, self._seen = library(), _Seen()
        self._interlaced = False
        live = is_live(source) if live is None else live
        options = {"rtsp_transport": "tcp", "fflags": "nobuffer", "flags": "low_delay"} if live else opening(source)
        where, form = (f"/dev/video{source}", "v4l2") if source.isdigit() else (local(source), None)
        try:
            self._container = self._av.open(where, format=form, options=options, timeout=10.0 if live else None)
            self._stream: Any = next((s for s in self._container.streams.video if not _is_cover(s)), None)
            if self._stream is None:
                raise VideoError(f"{hidden_source(source)}: cannot be read as video (it has no pictures)")
            self._stream.thread_type = "SLICE" if live else "AUTO"
            self._frames = self._whole(self._decoded())
            self._first: Any = next(self._frames, None)  # only frames tell how they are to be turned
        except (self._av.FFmpegError, OSError) as error:
            raise VideoError(
                f"{hidden_source(source)}: cannot be read as video ({error.strerror or 'no video'})"
            ) from None
        if self._first is None:
            raise VideoError(f"{hidden_source(source)}: no frame could be decoded ({self.damaged or 'it is empty'})")
        self._info = self._describe(live)
        self._announced = 0 if live or span is not None else self._stream.frames
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
        self.damaged = clock.note(self._info.audio) or missing or self.damaged or self._seen.note(self._announced)

    def close(self) -> None:
        """Stop reading. Safe to call twice, from any thread."""
        self._closed = True

    def _packets(self, until: float) -> Iterator[tuple[float, bool]]:
        """The source's packets up to a time, as `span.Packets`."""
        with self._av.open(local(self.source), options=opening(self.source)) as container:
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
            self._frames = self._whole(self._decoded())
            self._first = next(self._frames, None)
            while (shown_at := self._next_time()) is not None and shown_at < start - ROUNDED and not self._closed:
                self._first = next(self._frames, None)
            if place is None or self._closed or not lead.lost(self._first is not None, shown_at):
                break
        self._begin = lead.number(shown_at)
        self.damaged, self._seen = None, _Seen()  # it was about what lies before the piece

    def _next_time(self) -> float | None:
        """The time of the next picture, seconds; None if it has none, or there is no next picture."""
        return None if getattr(self._first, "time", None) is None else float(self._first.time) - self._info.start

    def _decoded(self) -> Iterator[Any]:
        try:
            for packet in self._container.demux(self._stream):
                if self._closed:
                    break
                self._seen.packets += packet.size > 0  # the last one is empty
                try:
                    for picture in packet.decode():
                        self._seen.broken += picture.is_corrupt
                        yield picture
                except self._av.FFmpegError as error:  # one bad packet; from the next key frame on all is well again
                    self.damaged = str(error.strerror)
        except self._av.FFmpegError as error:
            self.damaged = str(error.strerror)
        finally:
            if self.span is None:  # else it is read again from another place
                self._container.close()

    def _whole(self, pictures: Iterator[Any]) -> Iterator[Any]:
        """The pictures without the combs of interlaced ones; see `tones.whole`."""
        graph: Any = None
        form = None
        for picture in pictures:
            self._interlaced = self._interlaced or picture.interlaced_frame
            if not self._interlaced:
                yield picture
                continue
            now = picture.width, picture.height, picture.format.name
            if now != form:  # it may change within a stream
                yield from self._pulled(graph)
                graph, form = self._combing(picture), now
            graph.push(picture)
            yield from self._pulled(graph, more=True)
        yield from self._pulled(graph)

    def _combing(self, picture: Any) -> Any:
        """Filters for pictures like this one."""
        graph = self._av.filter.Graph()
        chain = [
            graph.add_buffer(
                width=picture.width, height=picture.height, format=picture.format, time_base=picture.time_base
            ),
            graph.add(*tones.WHOLE.split("=", 1)),
            graph.add("buffersink"),
        ]
        for one, other in pairwise(chain):
            one.link_to(other)
        graph.configure()
        return graph

    def _pulled(self, graph: Any, *, more: bool = False) -> Iterator[Any]:
        """What comes out of filters; `more`: whether they will be given more, or these were all."""
        if graph is None:
            return
        if not more:
            graph.push(None)
        with suppress(self._av.error.BlockingIOError, self._av.error.EOFError):
            while True:
                yield graph.pull()

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
        known = None if live else frames
        woven = self._interlaced
        return VideoInfo(
            width, height, float(rate), clock, known, audio, live, matrix, hdr, interlaced=woven, start=start
        )


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
