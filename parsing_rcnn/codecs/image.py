"""JPEG, PNG and WebP in: upright RGB arrays out, and nothing decoded that the header shows to be too large."""

from __future__ import annotations

import io
import math
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from parsing_rcnn.codecs.header import ImageHeader, exif_orientation, peek, without_texts
from parsing_rcnn.errors import ImageTooLarge, InvalidImage, ParsingRCNNError
from parsing_rcnn.geometry import resize, turn_upright

__all__ = ["ImageHeader", "ImageLimits", "check", "decode", "from_pillow", "peek"]

_MAX_SCANS = 100
_USUAL_SCANS = 16
"""A camera's progressive JPEG has about ten scans; each is a pass over all pixels and may be of a few bytes, so very
many are an attack, and a picture as large as the limit may have no more than the usual."""

_LOADING = threading.Lock()
"""Pillow reads a file when its pixels are first asked for, and threads that share it would read it all at once."""


@dataclass(frozen=True)
class ImageLimits:
    """What is accepted, decided before decoding.

    Attributes:
        max_bytes: of the encoded picture.
        max_pixels: width times height.
        max_side: the longer of width and height, pixels.
    """

    max_bytes: int = 32 * 1024 * 1024
    max_pixels: int = 64_000_000
    max_side: int = 16384


def check(data: bytes, limits: ImageLimits | None = None) -> ImageHeader:
    """Read the header and hold it against the limits.

    Raises:
        InvalidImage: no picture, by its header.
        ImageTooLarge: beyond a limit.
        UnsupportedImage: not a JPEG, PNG or WebP.
    """
    limits = limits or ImageLimits()
    size_in_bytes = len(data) if isinstance(data, (bytes, bytearray, memoryview)) else 0
    if size_in_bytes > limits.max_bytes:
        raise ImageTooLarge(f"the image has {size_in_bytes} bytes, the limit is {limits.max_bytes}: scale it down")
    header = peek(data)
    size = f"the image is {header.width}x{header.height} pixels"
    if max(header.width, header.height) > limits.max_side:
        raise ImageTooLarge(f"{size}, the limit of a side is {limits.max_side}: scale it down")
    if header.width * header.height > limits.max_pixels:
        raise ImageTooLarge(f"{size}, the limit is {limits.max_pixels} in all: scale it down")
    scans = min(_MAX_SCANS, _USUAL_SCANS * limits.max_pixels // (header.width * header.height))
    if header.scans > scans:
        raise InvalidImage(f"the JPEG has {header.scans} scans, the limit at its size is {scans}: save it as baseline")
    return header


def decode(data: bytes, limits: ImageLimits | None = None, max_side: int | None = None) -> NDArray[np.uint8]:
    """Decode a picture.

    The EXIF orientation is applied, colour profiles are ignored, transparency is put on white, 16 bits become 8, and
    of an animation the first frame is taken.

    Args:
        data: an encoded JPEG, PNG or WebP.
        limits: what is accepted (None: the defaults of `ImageLimits`).
        max_side: scale the picture down to this longest side, pixels (None: never). A JPEG is then decoded at a
            fraction of its size, which is faster.

    Returns:
        uint8 [H,W,3] RGB, upright, C-contiguous, writable.

    Raises:
        InvalidImage: empty, truncated or damaged.
        ImageTooLarge: too many bytes or pixels, decided from the header before decoding.
        UnsupportedImage: not a JPEG, PNG or WebP.

    Example:
        >>> buffer = io.BytesIO()
        >>> Image.new("RGB", (4, 2), "red").save(buffer, "PNG")
        >>> decode(buffer.getvalue()).shape
        (2, 4, 3)
    """
    header = check(data, limits)
    data = bytes(data)
    target = _target(header, max_side)
    image = _decode_jpeg(data, header, target) if header.format == "jpeg" else _decode_pillow(data, header)
    if target is not None:
        image = resize(image, *target, _filled(image, header))
    return turn_upright(image, header.orientation)


def from_pillow(picture: Image.Image) -> NDArray[np.uint8]:
    """A picture that Pillow has opened, as `decode` has its file.

    But for two kinds of PNG: where 2 or 4 bits of grey, or 16 bits of a colour, have a transparent value, Pillow's
    picture does not say how many bits that is of, and its pixels stay as they are. Give the bytes or path of these.

    Returns:
        uint8 [H,W,3] RGB, upright by the orientation of the EXIF that it still has (XMP's is not looked at), writable.

    Raises:
        InvalidImage: its file is truncated, damaged or closed, or its mode is none that becomes RGB: of "I" and "F"
            nobody can tell which value is white, but in a PGM's "I", where it is 65535.
    """
    if picture.mode == "F" or (picture.mode == "I" and picture.format != "PPM"):
        raise InvalidImage(
            f'a picture of Pillow\'s mode "{picture.mode}" does not say which value is white: of values from 0 to 255 '
            'make picture.convert("L")' + (', of 16 bits picture.convert("I;16")' if picture.mode == "I" else "")
        )
    try:
        with _LOADING:
            picture.load()
        # not of picture.getexif(), which takes XMP's where EXIF has none
        return turn_upright(_to_rgb(picture), exif_orientation(picture.info.get("exif", b"")))
    except Exception as error:  # as below: of lazy files it is decoded here
        raise InvalidImage(f"the picture of Pillow cannot be read ({error}): give its bytes or path") from None


def _target(header: ImageHeader, max_side: int | None) -> tuple[int, int] | None:
    """(height, width) as stored after scaling down to `max_side`, or None to keep the size."""
    if max_side is None or max(header.height, header.width) <= max_side:
        return None
    scale = max_side / max(header.height, header.width)
    return max(round(header.height * scale), 1), max(round(header.width * scale), 1)


def _filled(image: NDArray[np.uint8], header: ImageHeader) -> tuple[float, float]:
    """Shares of the height and width that are of the picture: libjpeg decodes M eighths of every block of eight pixels,
    and the last row and column may begin in the picture and end beyond it."""
    rows, columns = image.shape[:2]
    if (rows, columns) == (header.height, header.width):
        return 1.0, 1.0
    sizes = [(header.height * eighths / 8, header.width * eighths / 8) for eighths in range(1, 8)]
    height, width = next(size for size in sizes if (math.ceil(size[0]), math.ceil(size[1])) == (rows, columns))
    return height / rows, width / columns


def _decode_jpeg(data: bytes, header: ImageHeader, target: tuple[int, int] | None) -> NDArray[np.uint8]:
    try:
        # libjpeg reads the last of several frame headers, `peek` the first: they must agree before memory is taken.
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        if (height, width) == (header.height, header.width):
            if target is None:
                return np.asarray(simplejpeg.decode_jpeg(data, colorspace="RGB"), dtype=np.uint8)
            # Memory for the whole picture, of which a smaller one touches its first part: libjpeg writes the whole one
            # where a kind of JPEG has no other sizes.
            buffer = np.empty((height, width, 3), dtype=np.uint8)
            sizes = {"min_height": target[0], "min_width": target[1]}
            return np.asarray(simplejpeg.decode_jpeg(data, colorspace="RGB", buffer=buffer, **sizes), dtype=np.uint8)
    except ValueError:
        pass  # CMYK, or damage that Pillow may tolerate (it says so if not)
    return _decode_pillow(data, header)


def _decode_pillow(data: bytes, header: ImageHeader) -> NDArray[np.uint8]:
    try:
        plain = without_texts(data) if header.format == "png" else data
        with Image.open(io.BytesIO(plain), formats=(header.format.upper(),)) as picture:
            # The limits were held against what `peek` read, so Pillow must have read the same.
            if picture.size != (header.width, header.height):
                raise InvalidImage(f"damaged {header.format.upper()}: its headers disagree about the size")
            picture.load()
            if header.format == "png":
                _scale_transparency(picture, depth=data[24])
            return _to_rgb(picture)
    except ParsingRCNNError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"the image is too large for the decoder ({error}): scale it down") from None
    except UnidentifiedImageError:  # whose text is an address in memory
        raise InvalidImage(f"the {header.format.upper()} is truncated or damaged: send it whole") from None
    except Exception as error:  # decoders of hostile bytes raise anything: OSError, SyntaxError, struct.error, ...
        raise InvalidImage(f"the {header.format.upper()} is truncated or damaged ({error}): send it whole") from None


def _scale_transparency(picture: Image.Image, depth: int) -> None:
    """Bring the one colour that a PNG without alpha calls transparent to eight bits: Pillow does so with the samples
    alone, and then none has that colour. 16 bits of grey stay 16 bits.

    Args:
        depth: bits of a sample in the file.
    """
    colour = picture.info.get("transparency")
    if picture.mode == "L" and depth in (2, 4) and isinstance(colour, int):
        highest = 2**depth - 1
        picture.info["transparency"] = (colour & highest) * (255 // highest)
    elif picture.mode == "RGB" and depth == 16 and isinstance(colour, tuple):
        picture.info["transparency"] = tuple(value >> 8 for value in colour)


def _to_rgb(picture: Image.Image) -> NDArray[np.uint8]:
    if picture.mode.startswith("I") or picture.mode == "F":
        return _eight_bits(np.asarray(picture), picture.info.get("transparency"))
    if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        picture = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        white = Image.new("RGB", picture.size, "white")
        white.paste(picture, mask=picture)
        return np.array(white, dtype=np.uint8)
    return np.array(picture.convert("RGB"), dtype=np.uint8)


def _eight_bits(grey: NDArray[Any], transparent: int | None = None) -> NDArray[np.uint8]:
    """[H,W] of 0..65535 -> uint8 [H,W,3], rounded, and white where it is `transparent`; in strips, because what lies
    between takes six times the memory."""
    image = np.empty((*grey.shape, 3), dtype=np.uint8)
    for top in range(0, len(grey), 256):
        strip = np.clip(grey[top : top + 256].astype(np.int32), 0, 65535)
        if transparent is not None:
            strip[strip == transparent] = 65535
        image[top : top + 256] = ((strip + 128) // 257)[:, :, None]  # 65535 -> 255
    return image
