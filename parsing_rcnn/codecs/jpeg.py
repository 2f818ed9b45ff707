"""JPEG out, for pictures to look at. Labels and IUV would not survive the compression; they are PNG (`codecs.png`)."""

from __future__ import annotations

from typing import Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from parsing_rcnn.errors import ImageTooLarge

QUALITY = 90

_MAX_SIDE = 65500
"""The longest side that libjpeg writes, pixels; the format has 16 bits for it."""


def encode_rgb(image: NDArray[np.uint8], quality: int = QUALITY, subsampling: Literal["444", "420"] = "444") -> bytes:
    """A picture as JPEG.

    Args:
        image: uint8 [H,W,3] RGB.
        quality: 1..100.
        subsampling: "420" halves the resolution of the colours: fewer bytes, but fringes at thin outlines and letters.

    Raises:
        ImageTooLarge: a side is longer than the format allows.
        ValueError: the image is not such an array.
    """
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape or image.dtype != np.uint8:
        raise ValueError(f"cannot write {image.dtype} {image.shape} as JPEG")
    height, width = image.shape[:2]
    if max(height, width) > _MAX_SIDE:
        raise ImageTooLarge(f"the image is {width}x{height} pixels, a JPEG has at most {_MAX_SIDE} a side: take a PNG")
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, "RGB", subsampling))
