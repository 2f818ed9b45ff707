"""What a caller may give as a picture: encoded bytes, a path, an open file, an array, or a picture of Pillow."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeGuard

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.errors import InvalidImage, InvalidOptions, ParsingRCNNError

if TYPE_CHECKING:
    from PIL.Image import Image


class Readable(Protocol):
    """A file opened with mode "rb", or what reads like one."""

    def read(self) -> bytes:
        """What is left of it."""
        ...


Picture: TypeAlias = "bytes | bytearray | memoryview | str | os.PathLike[str] | Readable | NDArray[Any] | Image"
"""An encoded JPEG, PNG or WebP, the path of one, one as a file opened with mode "rb", an upright uint8 [H,W,3] RGB
array, or a picture of Pillow. The type of arrays leaves their numbers open, as that of OpenCV's frames does."""

_SHOWN = 200
"""Characters of a path that a message shows: a picture given as base64 by mistake has millions."""


def load(picture: Picture, *, bgr: bool = False) -> bytes | NDArray[np.uint8]:
    """The encoded bytes, read where `picture` is a path or an open file, or the RGB array.

    Args:
        picture: for a picture of Pillow, the EXIF turn is applied and transparency put on white, as for files.
        bgr: `picture` is a BGR array, as OpenCV has it.

    Raises:
        InvalidImage: the path or file cannot be read, the array is not an RGB picture, or `picture` is none of these.
        InvalidOptions: `bgr` although it is not an array: all others say themselves which channel is which.
    """
    if bgr and not isinstance(picture, np.ndarray):
        raise InvalidOptions(
            f"bgr: says how the channels of an array lie; this is {_kind(picture)}, which says so itself: leave bgr out"
        )
    if _of_pillow(picture):
        from parsing_rcnn.codecs.image import from_pillow

        picture = from_pillow(picture)
    if isinstance(picture, np.ndarray):
        if (wrong := misfit(picture)) is not None:
            raise InvalidImage(wrong)
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8) if bgr else picture
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return bytes(picture)
    if _is_open(picture):
        return _read(picture)
    if not isinstance(picture, (str, os.PathLike)):
        raise InvalidImage(_no_picture(picture))
    name = os.fsdecode(picture)
    shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
    try:
        return Path(name).read_bytes()
    except FileNotFoundError:
        raise InvalidImage(f"{shown}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte
        raise InvalidImage(f"{shown}: no file that can be read ({getattr(error, 'strerror', error)})") from None


def held(picture: Picture, *, bgr: bool = False) -> Picture:
    """The picture as it is now, to be looked at later: an array may be filled again meanwhile, as the one buffer of a
    camera, and Pillow has one object for all frames of an animation.

    Args:
        picture: an array is copied, one of Pillow's becomes an array, and an open file its bytes; bytes and paths stay.
        bgr: as in `load`.

    Raises:
        ParsingRCNNError: as of `load`, for a picture of Pillow or an open file.
    """
    if isinstance(picture, np.ndarray):
        return picture.copy()
    if isinstance(picture, (bytearray, memoryview)):
        return bytes(picture)
    return load(picture, bgr=bgr) if _of_pillow(picture) or _is_open(picture) else picture


def still(frames: Iterable[Picture], *, bgr: bool = False) -> Iterator[Picture]:
    """`held` of each frame. A frame that cannot be read stays as it is, and is refused where it is used."""
    for frame in frames:
        try:
            now = held(frame, bgr=bgr)
        except ParsingRCNNError:
            now = frame
        yield now


def pixels(picture: Picture, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """The upright picture, uint8 [H,W,3] RGB: decoded where `picture` is encoded, an array as it is.

    Args:
        picture: of any kind.
        size: (height, width) of a picture that was accepted before. One as large is decoded whatever the limits are.

    Raises:
        ParsingRCNNError: as of `load` and `parsing_rcnn.codecs.image.decode`.
    """
    loaded = load(picture)
    if isinstance(loaded, np.ndarray):
        return loaded
    from parsing_rcnn.codecs.image import ImageLimits, decode

    limits = ImageLimits()
    if size is not None:
        limits = replace(
            limits,
            max_bytes=max(limits.max_bytes, len(loaded)),  # the bytes were accepted before, too
            max_pixels=max(limits.max_pixels, size[0] * size[1]),
            max_side=max(limits.max_side, *size),
        )
    return decode(loaded, limits)


def misfit(array: NDArray[np.generic]) -> str | None:
    """Why an array is not a picture, and the remedy; None where it is uint8 [H,W,3]."""
    shape = array.shape
    if array.dtype == np.uint8 and array.ndim == 3 and shape[2] == 3 and 0 not in shape:
        return None
    said = f"an image array is uint8 [height,width,3] RGB, this one is {array.dtype} {shape}"
    remedy = _remedy(array)
    return f"{said}: {remedy}" if remedy else said


def _remedy(array: NDArray[np.generic]) -> str | None:
    shape = array.shape
    channels = shape[2] if array.ndim == 3 else None
    remedies = (
        (0 in shape, "it is empty"),
        (array.ndim == 4, "give one picture at a time, or all to analyze_many"),
        (array.ndim == 2 or channels == 1, "of grey make three channels, np.dstack([image] * 3)"),
        (channels == 4, "leave its transparency out, image[..., :3]"),
        (channels not in (None, 3) and shape[0] == 3, "put its channels last, image.transpose(1, 2, 0)"),
        (
            channels == 3 and array.dtype.kind == "f",
            "of values from 0 to 1 make (image * 255).round().astype(np.uint8)",
        ),
        (channels == 3 and array.dtype == np.uint16, "of 16 bits make (image // 257).astype(np.uint8)"),
    )
    return next((remedy for applies, remedy in remedies if applies), None)


def _is_open(picture: object) -> TypeGuard[Readable]:
    return hasattr(picture, "read") and not isinstance(picture, (str, os.PathLike))


def _read(picture: Readable) -> bytes:
    """What is left of an open file.

    Raises:
        InvalidImage: it cannot be read, gives no bytes, or nothing is left.
    """
    kind = type(picture).__name__
    try:
        data: object = picture.read()
    except Exception as error:  # whatever reads like a file has errors of its own, as zipfile, gzip and lzma do
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InvalidImage(f"{kind}: it cannot be read ({said})") from None
    if not isinstance(data, bytes):
        raise InvalidImage(
            f"{kind}: its read() gives {type(data).__name__}, no bytes: open files with mode 'rb'; of a video or a "
            "camera give the frames"
        )
    if not data:
        raise InvalidImage(f"{kind}: nothing is left to read: seek(0) before it is given again")
    return data


def _no_picture(thing: object) -> str:
    if any(kind.__module__.partition(".")[0] == "torch" for kind in type(thing).__mro__):
        return (
            "a torch tensor is no picture: give tensor.permute(1, 2, 0).cpu().numpy() where it is uint8 [3,H,W] RGB; "
            "of values from 0 to 1, (tensor * 255).round().byte() before that"
        )
    kinds = "give bytes, a path, an open file, a uint8 [H,W,3] RGB array or a picture of Pillow"
    several = "; several pictures go to analyze_many" if isinstance(thing, (list, tuple)) else ""
    return f"{type(thing).__name__} is no picture: {kinds}{several}"


def _kind(picture: object) -> str:
    return "a picture of Pillow" if _of_pillow(picture) else f"of type {type(picture).__name__}"


def _of_pillow(picture: object) -> TypeGuard[Image]:
    """Whether it is a picture of Pillow. Without Pillow imported it cannot be one, so this does not import it."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(picture, pillow.Image)
