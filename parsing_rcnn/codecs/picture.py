"""What a caller may give as a picture: encoded bytes, a path, or an array."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.errors import InvalidImage

Picture = bytes | str | os.PathLike[str] | NDArray[np.uint8]
"""An encoded JPEG, PNG or WebP, the path of one, or an upright uint8 [H,W,3] RGB array."""

_SHOWN = 200
"""Characters of a path in a message: a picture in base64 has millions."""


def load(picture: Picture) -> bytes | NDArray[np.uint8]:
    """The encoded bytes, read where `picture` is a path, or the array.

    Raises:
        InvalidImage: the path cannot be read, the array is no RGB picture, or `picture` is nothing of these.
    """
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise InvalidImage(
                f"an image array is uint8 [height,width,3] RGB, this one is {picture.dtype} {picture.shape}"
            )
        return picture
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return bytes(picture)
    if not isinstance(picture, (str, os.PathLike)):
        raise InvalidImage(f"{type(picture).__name__} is no picture: give bytes, a path or a uint8 [H,W,3] array")
    name = os.fsdecode(picture)
    shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
    try:
        return Path(name).read_bytes()
    except FileNotFoundError:
        raise InvalidImage(f"{shown}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte
        raise InvalidImage(f"{shown}: no file that can be read ({getattr(error, 'strerror', error)})") from None
