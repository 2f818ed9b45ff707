"""Which program or library decodes and encodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn_client.video.ffmpeg import FFmpegReader, FFmpegWriter

if TYPE_CHECKING:
    from parsing_rcnn_client.video.pyav import PyAVReader, PyAVWriter

BACKENDS = ("ffmpeg", "pyav")


def open_reader(
    source: str, backend: str = "ffmpeg", *, live: bool | None = None, pace: bool = False
) -> FFmpegReader | PyAVReader:
    """Frames of a source.

    Args:
        source: a path, a URL, or the number of a camera.
        backend: of `BACKENDS`.
        live: newest pictures matter more than all of them.
        pace: play a file at its own speed.

    Raises:
        InvalidOptions: another backend.
        VideoError: the source cannot be opened.
        VideoToolMissing: the backend is not installed.
    """
    if backend == "pyav":
        from parsing_rcnn_client.video.pyav import PyAVReader

        return PyAVReader(source, live=live, pace=pace)
    check(backend)
    return FFmpegReader(source, live=live, pace=pace)


def open_writer(target: str, reader: FFmpegReader | PyAVReader, backend: str = "ffmpeg") -> FFmpegWriter | PyAVWriter:
    """A file that takes a reader's pictures at their times, with its sound copied.

    Raises:
        InvalidOptions: another backend.
        VideoError: the file cannot be written.
        VideoToolMissing: the backend is not installed.
    """
    sound = reader.source if reader.info.audio else None
    if backend == "pyav":
        from parsing_rcnn_client.video.pyav import PyAVWriter

        return PyAVWriter(target, reader.info, sound_of=sound)
    check(backend)
    return FFmpegWriter(target, reader.info, sound_of=sound)


def check(backend: str) -> None:
    """Refuse a backend that there is not.

    Raises:
        InvalidOptions: it is none of `BACKENDS`.
    """
    if backend not in BACKENDS:
        raise InvalidOptions(f"backend {backend!r}: choose one of {', '.join(BACKENDS)}")
