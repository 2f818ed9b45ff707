"""Converts pictures of Pillow to RGB some rows at a time: what lies between takes up to four times the memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_PIXELS = 2**19
"""About as many has a strip."""


def strips(image: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Views of some rows each, from the top; of arrays of the same height and width, the same rows."""
    step = _rows(image.shape[1])
    for top in range(0, image.shape[0], step):
        yield image[top : top + step]


def to_rgb(picture: Image.Image) -> NDArray[np.uint8]:
    """A picture that Pillow has loaded -> uint8 [H,W,3] RGB: 16 bits become 8, transparency is put on white."""
    width, height = picture.size
    image = np.empty((height, width, 3), dtype=np.uint8)
    step = _rows(width)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        image[top:bottom] = _strip(picture.crop((0, top, width, bottom)))
    return image


def on_white(pixels: NDArray[np.uint8], order: str) -> NDArray[np.uint8]:
    """uint8 [h,w,4] -> uint8 [h,w,3] RGB, rounded as Pillow does.

    Args:
        pixels: C-contiguous.
        order: of the channels, "RGBA" or "BGRA".
    """
    size = (pixels.shape[1], pixels.shape[0])
    return _on_white(Image.frombuffer("RGBA", size, pixels, "raw", order, 0, 1))


def _rows(width: int) -> int:
    return max(_PIXELS // max(width, 1), 1)


def _strip(picture: Image.Image) -> NDArray[np.uint8]:
    if picture.mode.startswith("I") or picture.mode == "F":
        return _eight_bits(np.asarray(picture), picture.info.get("transparency"))
    if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        return _on_white(picture if picture.mode == "RGBA" else picture.convert("RGBA"))
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"), dtype=np.uint8)


def _on_white(picture: Image.Image) -> NDArray[np.uint8]:
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture, mask=picture)
    return np.asarray(white, dtype=np.uint8)


def _eight_bits(grey: NDArray[Any], transparent: int | None = None) -> NDArray[np.uint8]:
    """[h,w] of 0..65535 -> uint8 [h,w,1], rounded, and white where a value is `transparent`."""
    values = np.clip(grey.astype(np.int32), 0, 65535)
    if transparent is not None:
        values[values == transparent] = 65535
    return ((values + 128) // 257).astype(np.uint8)[:, :, None]  # 65535 -> 255
