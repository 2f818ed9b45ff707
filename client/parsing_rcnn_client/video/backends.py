"""Which program or library decodes and encodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn_client.video.encoding import Encoding
from parsing_rcnn_client.video.ffmpeg import FFmpegReader, FFmpegWriter
from parsing_rcnn_client.video.programs import encoders
from parsing_rcnn_client.video.span import Span

if TYPE_CHECKING:
    from parsing_rcnn_client.video.pyav import PyAVReader
    from parsing_rcnn_client.video.pyav_writer import PyAVWriter

BACKENDS = ("ffmpeg", "pyav")


def open_reader(
    source: str,
    backend: str = "ffmpeg",
    *,
    live: bool | None = None,
    pace: bool = False,
    span: Span | None = None,
) -> FFmpegReader | PyAVReader:
    """Frames of a source.

    Args:
        source: a path, a URL, or the number of a camera.
        backend: of `BACKENDS`.
        live: newest pictures matter more than all of them.
        pace: play a file at its own speed.
        span: the piece of a file that is read.

    Raises:
        InvalidOptions: another backend.
        VideoError: the source cannot be opened.
        VideoToolMissing: the backend is not installed.
    """
    if backend == "pyav":
        from parsing_rcnn_client.video.pyav import PyAVReader

        return PyAVReader(source, live=live, pace=pace, span=span)
    check(backend)
    return FFmpegReader(source, live=live, pace=pace, span=span)


def open_writer(
    target: str,
    reader: FFmpegReader | PyAVReader,
    backend: str = "ffmpeg",
    encoding: Encoding = Encoding(),  # noqa: B008 - frozen
) -> FFmpegWriter | PyAVWriter:
    """A file that takes a reader's pictures at their times, with its sound copied; of a piece, from 0 on.

    Raises:
        InvalidOptions: another backend, or a codec that it has not.
        VideoError: the file cannot be written.
        VideoToolMissing: the backend is not installed.
    """
    sound = reader.source if reader.info.audio else None
    if backend == "pyav":
        from parsing_rcnn_client.video.pyav_writer import PyAVWriter

        return PyAVWriter(target, reader.info, sound_of=sound, encoding=encoding, span=reader.span)
    check(backend)
    return FFmpegWriter(target, reader.info, sound_of=sound, encoding=encoding, span=reader.span)


@dataclass(frozen=True)
class Video:
    """A video file that is read, and how a result of it is written.

    Attributes:
        source: its path or address.
        backend: of `BACKENDS`.
        span: the piece of it; None is all of it.
        encoding: of the result.
    """

    source: str
    backend: str
    span: Span | None
    encoding: Encoding

    def read(self) -> FFmpegReader | PyAVReader:
        """Its frames; see `open_reader`."""
        return open_reader(self.source, self.backend, live=False, span=self.span)

    def write(self, out: Path, reader: FFmpegReader | PyAVReader) -> FFmpegWriter | PyAVWriter:
        """The result; see `open_writer`."""
        return open_writer(str(out), reader, self.backend, self.encoding)


def fitted(encoding: Encoding, target: Path, backend: str) -> Encoding:
    """An encoding with an encoder that is there; see `Encoding.fitting`.

    Raises:
        InvalidOptions: it cannot be written here; what can be instead.
        VideoToolMissing: the backend is not installed.
    """
    if backend == "pyav":
        from parsing_rcnn_client.video.pyav import library

        return encoding.fitting(target, library().codecs_available)
    return encoding.fitting(target, encoders())


def check(backend: str) -> None:
    """Refuse an unknown backend.

    Raises:
        InvalidOptions: it is none of `BACKENDS`.
    """
    if backend not in BACKENDS:
        raise InvalidOptions(f"backend {backend!r}: choose one of {', '.join(BACKENDS)}")
