"""PNG: part labels, and the pair `_IUV.png` and `_INDS.png`, named as in the first DensePose release.

Channel order: an `_IUV.png` holds I, U, V as red, green, blue, which OpenCV reads in reverse (`image[:, :, ::-1]`). The
first release wrote it by OpenCV, with I as blue, and scripts for its files expect that: `bgr` writes it so.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parsing_rcnn.stopping import check_stopped
from parsing_rcnn.taxonomy import CIHP, Taxonomy

_LEVEL = 1
"""Level of zlib: label maps are nearly as small at 1 as at 9, and several times faster to write."""

_ROWS_REPEAT = (cv2.IMWRITE_PNG_COMPRESSION, _LEVEL, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP)
"""A row of a map is much like the one above: trying every filter takes 3x the time and saves nothing."""

_LABELS = (*_ROWS_REPEAT, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
"""Labels have no patterns but runs, so this halves the bytes. U and V have others, and would grow."""

_PHOTO = _LABELS
"""Half the time of trying every filter and looking for patterns, for 1.08x the bytes (the median of 42 photos and
overlays, 0.80x to 1.29x). Paeth's filter would have 0.98x in 0.72x of the time."""


def encode_labels(labels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """Labels as a grey PNG, pixel value = class or instance: for programs, black to the eye.

    Args:
        labels: uint8 or uint16 [H,W].
    """
    return _encode(labels, 2, _LABELS)


def encode_palette(labels: NDArray[np.uint8], taxonomy: Taxonomy = CIHP) -> bytes:
    """Labels as a PNG with colours: pixel value = class for readers of palette images, a picture for people.

    Args:
        labels: uint8 [H,W].
        taxonomy: gives the colours.
    """
    picture = Image.fromarray(np.ascontiguousarray(labels)).convert("P")
    picture.putpalette(taxonomy.palette.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=_LEVEL)
    return buffer.getvalue()


def encode_iuv(iuv: NDArray[np.uint8], *, bgr: bool = False) -> bytes:
    """The IUV of a whole picture as its `_IUV.png`.

    Args:
        iuv: uint8 [H,W,3] of I (0..24), U times 255, V times 255; zero where nobody is.
        bgr: with I in the blue channel, as in the first DensePose release.
    """
    return _encode(iuv[..., ::-1] if bgr else iuv, 3, _ROWS_REPEAT)


def encode_iuv_planes(iuv: NDArray[np.uint8]) -> bytes:
    """The same from planes.

    Args:
        iuv: uint8 [3,h,w] of I, U, V, for example of one person.
    """
    if iuv.ndim != 3 or len(iuv) != 3 or 0 in iuv.shape or iuv.dtype != np.uint8:
        raise ValueError(f"cannot write {iuv.dtype} {iuv.shape} as an IUV PNG")
    return _stored(cv2.merge([iuv[2], iuv[1], iuv[0]]), _ROWS_REPEAT)


def encode_inds(instances: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """The instances of a whole picture as its `_INDS.png`: 0 is background, 1..n the person.

    Args:
        instances: uint8 or uint16 [H,W] (16 bits only with more than 255 people).
    """
    return _encode(instances, 2, _LABELS)


def encode_rgb(image: NDArray[np.uint8]) -> bytes:
    """A picture, uint8 [H,W,3] RGB, as PNG."""
    return _encode(image, 3, _PHOTO)


def encode_rgba(image: NDArray[np.uint8]) -> bytes:
    """A picture with transparency, uint8 [H,W,4] RGBA, as PNG."""
    if image.ndim != 3 or image.shape[2] != 4 or 0 in image.shape or image.dtype != np.uint8:
        raise ValueError(f"cannot write {image.dtype} {image.shape} as a PNG with transparency")
    return _stored(cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA), _PHOTO)


def to_base64(data: bytes) -> str:
    """Standard base64 in one line."""
    return base64.b64encode(data).decode("ascii")


def from_base64(text: str) -> NDArray[Any]:
    """The pixels of a PNG in base64: [H,W], or [H,W,3] in OpenCV's order, blue first."""
    return np.asarray(cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_UNCHANGED))


def _encode(image: NDArray[Any], dimensions: int, settings: tuple[int, ...]) -> bytes:
    if image.ndim != dimensions or 0 in image.shape or image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"cannot write {image.dtype} {image.shape} as a PNG of {dimensions} dimensions")
    return _stored(cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if dimensions == 3 else np.ascontiguousarray(image), settings)


def _stored(image: NDArray[Any], settings: tuple[int, ...]) -> bytes:
    check_stopped()
    done, data = cv2.imencode(".png", image, settings)
    if not done:
        raise ValueError(f"OpenCV could not write {image.dtype} {image.shape} as PNG")
    return data.tobytes()
