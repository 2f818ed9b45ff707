"""The interfaces that every video backend has: readers give frames with their times; writers and sinks take them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.errors import EngineUnavailable, ParsingRCNNError
from parsing_rcnn_client.names import real_path
from parsing_rcnn_client.unfinished import Unfinished


class VideoError(ParsingRCNNError):
    """A source cannot be read, or an output cannot be written; the message says which one and why."""

    status = 400
    code = "video"
    title = "The video cannot be read or written"


class SourceLost(VideoError):
    """The program that reads a source has died: the frames so far are good, but there would have been more."""


class VideoToolMissing(EngineUnavailable):
    """The program that decodes and encodes is not installed."""


@contextmanager
def writing(target: str | Path) -> Iterator[None]:
    """Turns errors of the system while a file is written into `VideoError`.

    Raises:
        VideoError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise VideoError(f"{target}: cannot be written ({error.strerror or error})") from None


def begun(target: str) -> Unfinished | None:
    """Begin the file beside a target that becomes the target when it is complete. The folder is created.

    Returns:
        The file; None if the target is an address.

    Raises:
        InvalidOptions: a live stream is writing its lines into the target.
        VideoError: the file cannot be created.
    """
    if "://" in target:
        return None
    path = real_path(Path(target))  # a link stays; the file that it points to is replaced
    with writing(target):
        path.parent.mkdir(parents=True, exist_ok=True)
        return Unfinished(path, f".{path.stem}.part{Path(target).suffix}")


def dropped(part: Path) -> None:
    """Delete an unfinished file. Errors are ignored: callers have a more important one to report."""
    with suppress(OSError):
        part.unlink(missing_ok=True)


@dataclass(frozen=True)
class VideoInfo:
    """What is known before the first frame.

    Attributes:
        width, height: of the upright picture, in square pixels.
        fps: nominal frames a second; only the times of the frames are exact.
        time_base: seconds of one tick of the source's clock.
        frames: estimated number of frames; None if the source does not say.
        audio: whether there is sound to copy.
        live: whether it is a camera or a stream, which has no end and cannot wait.
        matrix: the colour matrix (luma and chroma to RGB) to assume if the source names none; None if it names one.
        hdr: whether the brightness is coded by PQ or HLG, beyond the range of an ordinary screen.
        wide: whether the colours are those of BT.2020 or Display P3, without HDR.
        interlaced: whether each picture is of two moments, one in the odd lines and one in the even ones.
        start: where the container's clock begins, seconds. It is subtracted from all times, of pictures and of sound.
    """

    width: int
    height: int
    fps: float
    time_base: Fraction = Fraction(1, 90000)
    frames: int | None = None
    audio: bool = False
    live: bool = False
    matrix: str | None = None
    hdr: bool = False
    wide: bool = False
    interlaced: bool = False
    start: float = 0.0


MP4 = (".mp4", ".m4v", ".mov")
"""Suffixes of the containers whose clock is chosen when they are written."""


def written_clock(source: Fraction) -> Fraction:
    """Seconds of one tick of a file that is written: those of its source, if they are a simple fraction which players
    take; else 1/90000.

    Example:
        >>> written_clock(Fraction(1, 12800)), written_clock(Fraction(1001, 30000))
        (Fraction(1, 12800), Fraction(1, 90000))
    """
    exact = source.numerator == 1 and 1000 <= source.denominator <= 1_000_000
    return source if exact else Fraction(1, 90000)


ANY_CLOCK = frozenset({"mpegts", "mpeg", "hls"})
"""FFmpeg's names of containers whose clock may begin anywhere, hours after 0 for example. In all others a late start
is meant and is kept."""


def assumed_matrix(width: int, height: int) -> str:
    """The colour matrix of a video that names none: BT.709 from 720 lines on, as players assume and FFmpeg does not.

    Example:
        >>> assumed_matrix(1280, 720), assumed_matrix(720, 576)
        ('bt709', 'bt601')
    """
    return "bt709" if width >= 1280 or height > 576 else "bt601"


def squared(width: int, aspect: Fraction | None) -> int:
    """The width of a picture after its pixels are made square; an even number if it changes.

    Args:
        width: of the stored picture, pixels.
        aspect: width of a pixel divided by its height; None if the source does not say.

    Example:
        >>> squared(720, Fraction(16, 15)), squared(101, None)
        (768, 101)
    """
    if aspect is None or aspect == 1 or not 1 / 8 < aspect < 8:  # beyond that the file must be wrong
        return width
    return max(2 * round(width * aspect / 2), 2)


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video.

    Attributes:
        index: from 0.
        time: of presentation, seconds of the source's own clock; if that clock may begin anywhere, since its beginning.
        image: uint8 [H,W,3] RGB, upright.
        arrived: time.monotonic() when it was read.
        opened: how often its source had been opened before; tracks do not go on from one opening to the next.
    """

    index: int
    time: float
    image: NDArray[np.uint8] = field(repr=False)
    arrived: float = 0.0
    opened: int = 0


class Reader(Protocol):
    """Frames of a source, in order."""

    @property
    def info(self) -> VideoInfo:
        """What is known about the source."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """The frames. Can be iterated once."""
        ...

    def close(self) -> None:
        """Stop reading. Safe to call twice, from any thread."""
        ...


class Writer(Protocol):
    """Takes frames in order."""

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        """Add uint8 [H,W,3] RGB at a time in the source's clock, seconds."""
        ...

    def close(self, *, cut: bool = False) -> None:
        """Finish the output. Safe to call twice.

        Args:
            cut: end the sound with the last picture; without it all the sound of the source is kept.
        """
        ...

    def abort(self) -> None:
        """Stop and leave no file behind, unless it is finished."""
        ...


class SinkClosed(Exception):
    """Nobody watches any more, for example because the window was closed: the work ends, without an error."""


class Sink(Protocol):
    """Where annotated frames go."""

    def show(self, image: NDArray[np.uint8], seconds: float) -> str | None:
        """Show or send a picture.

        Args:
            image: uint8 [H,W,3] RGB.
            seconds: since the start.

        Returns:
            None, or why the picture was lost although the output goes on: it will be tried again.

        Raises:
            SinkClosed: nobody watches any more.
            VideoError: the output failed.
        """
        ...

    def close(self) -> None:
        """Finish. Safe to call twice."""
        ...

    def abort(self) -> None:
        """Finish while another thread is still in `show`: that call then ends, and its picture is lost."""
        ...
