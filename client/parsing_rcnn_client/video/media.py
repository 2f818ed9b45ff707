"""The interfaces of video: readers give frames with their times, writers and sinks take them, with any backend."""

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
from parsing_rcnn_client.unfinished import Unfinished


class VideoError(ParsingRCNNError):
    """A source cannot be read, or an output cannot be written; the message says which and why."""

    status = 400
    code = "video"
    title = "The video cannot be read or written"


class SourceLost(VideoError):
    """The program that read a source has died: the frames before are good, but there were more."""


class VideoToolMissing(EngineUnavailable):
    """The program that decodes and encodes is not installed."""


@contextmanager
def writing(target: str | Path) -> Iterator[None]:
    """Around what writes a file.

    Raises:
        VideoError: instead of the system's error.
    """
    try:
        yield
    except OSError as error:
        raise VideoError(f"{target}: cannot be written ({error.strerror or error})") from None


def begun(target: str) -> Unfinished | None:
    """A file beside the target until it is whole, in a folder that is made; None for addresses.

    Raises:
        InvalidOptions: a stream writes its lines into the target.
        VideoError: there can be no such file.
    """
    if "://" in target:
        return None
    path = Path(target).resolve()  # of a link, the file that it points to is replaced
    with writing(target):
        path.parent.mkdir(parents=True, exist_ok=True)
        return Unfinished(path, f".{path.stem}.part{Path(target).suffix}")


def dropped(part: Path | None) -> None:
    """Delete an unfinished file. Errors are ignored, for the caller has a more important one to report."""
    if part is not None:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@dataclass(frozen=True)
class VideoInfo:
    """What is known before the first frame.

    Attributes:
        width, height: of the upright picture, in square pixels.
        fps: nominal frames a second; the times of the frames are what counts.
        time_base: seconds of one tick of the source's clock.
        frames: how many, where the source says; an estimate.
        audio: whether there is sound to copy.
        live: a camera or a stream, which has no end and cannot wait.
        matrix: by which luma and chroma become colours where the source does not say; None where it does.
        hdr: brightness by PQ or HLG, more than a screen has.
        start: seconds that are taken off all times, of pictures and sound alike: where the container's clock begins.
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
    start: float = 0.0


ANY_CLOCK = frozenset({"mpegts", "mpeg", "hls"})
"""FFmpeg's names of containers whose clock begins anywhere, for example hours after 0; in others the start counts."""


def assumed_matrix(width: int, height: int) -> str:
    """The colour matrix of a video that names none: players take BT.709 from 720 lines on, which FFmpeg never does.

    Example:
        >>> assumed_matrix(1280, 720), assumed_matrix(720, 576)
        ('bt709', 'bt601')
    """
    return "bt709" if width >= 1280 or height > 576 else "bt601"


def squared(width: int, aspect: Fraction | None) -> int:
    """The width of a picture when its pixels, `aspect` times as wide as high, become square; even where it changes.

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
        time: of presentation in the source's own clock, seconds; since its beginning where that clock begins anywhere.
        image: uint8 [H,W,3] RGB, upright.
        arrived: time.monotonic() when it was read.
        opened: how often its source had been opened before: nobody is followed from one time to the next.
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
        """What is known of the source."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """The frames; once."""
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
        """Finish the output, with all the sound of its source or, `cut`, that of the pictures. Safe to call twice."""
        ...

    def abort(self) -> None:
        """Stop and leave no file, unless it is finished."""
        ...


class SinkClosed(Exception):
    """Nobody watches any more, as after a window was closed: the work ends, without an error."""


class Sink(Protocol):
    """Where annotated frames go."""

    def show(self, image: NDArray[np.uint8], seconds: float) -> str | None:
        """uint8 [H,W,3] RGB, seconds since the start.

        Returns:
            why the picture is lost, where the output will be tried again.

        Raises:
            SinkClosed: nobody looks any more.
            VideoError: the output failed.
        """
        ...

    def close(self) -> None:
        """Finish. Safe to call twice."""
        ...

    def abort(self) -> None:
        """Finish while another thread is still in `show`: that call ends, and its picture is lost."""
        ...
