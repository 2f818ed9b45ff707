"""Writes video with PyAV; see `pyav`."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn_client.video.encoding import Encoding
from parsing_rcnn_client.video.media import MP4, VideoError, VideoInfo, begun, writing, written_clock
from parsing_rcnn_client.video.programs import hidden_source, local
from parsing_rcnn_client.video.pyav import library, opening
from parsing_rcnn_client.video.span import Span


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
        self._broken = False  # whether a packet of sound could not be copied
        self.left_out: list[str] = []
        """Why tracks of sound are missing, one message each."""
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
        self._sound = self._av.open(local(source), options=opening(source))
        back = self.info.start + self._span.start
        first = next((s.start_time * s.time_base for s in self._sound.streams.video if s.start_time is not None), 0)
        if self._span.start and back > first:  # seeking goes by the pictures: what is heard before them would be lost
            self._sound.seek(int(back * 10**6))
        length = float("inf") if self._span.end is None else self._span.end - self._span.start
        tracks = {}
        for number, stream in enumerate(self._sound.streams.audio, 1):
            if stream.codec_context is None:
                self.left_out.append(f"sound track {number}: PyAV does not know its codec")
            else:
                tracks[stream.index] = self._container.add_stream_from_template(stream)
        if not tracks:
            return

        def packets() -> Iterator[Any]:
            for packet in self._sound.demux(*(self._sound.streams[index] for index in tracks)):
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
            try:
                self._container.mux(self._waiting[1])
            except self._av.error.InvalidDataError:  # the head of a packet of MPEG-TS is damaged; the next may be whole
                if not self._broken:
                    self.left_out.append("pieces of the sound: they are damaged")
                self._broken = True
            self._waiting = next(self._packets, None)

    def _drop(self) -> None:
        if self._unfinished is not None:
            self._unfinished.drop()

    def _failed(self, error: Exception, hint: str = "") -> VideoError:
        self._drop()
        reason = getattr(error, "strerror", None) or str(error)
        return VideoError(f"{hidden_source(self.target)}: PyAV cannot write it ({reason}{hint})")
