"""Decodes JPEG, PNG and WebP to upright RGB arrays; nothing is decoded that is too large by its header."""

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
from parsing_rcnn.limits import MAX_IMAGE_BYTES, MAX_PIXELS, MAX_SIDE

__all__ = ["ImageHeader", "ImageLimits", "check", "decode", "from_pillow", "peek"]

_MAX_SCANS = 100
_USUAL_SCANS = 16
"""A camera's progressive JPEG has about ten scans. Each is a pass over all pixels but may have only a few bytes, so
very many are an attack; a picture as large as the limit may have no more than this."""

_LOADING = threading.Lock()
"""Pillow reads a file when its pixels are first needed, and threads that share a picture would read it at once."""


@dataclass(frozen=True)
class ImageLimits:
    """Which pictures are accepted; checked before decoding.

    Attributes:
        max_bytes: of the encoded picture.
        max_pixels: width times height.
        max_side: the longer of width and height, pixels.
    """

    max_bytes: int = MAX_IMAGE_BYTES
    max_pixels: int = MAX_PIXELS
    max_side: int = MAX_SIDE


def check(data: bytes, limits: ImageLimits | None = None) -> ImageHeader:
    """Read the header and check it against the limits.

    Raises:
        InvalidImage: the header is not that of a picture.
        ImageTooLarge: a limit is exceeded.
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
        limits: which pictures are accepted (None: the defaults of `ImageLimits`).
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
    """A picture that Pillow has opened, with the same pixels as `decode` of its file.

    Two kinds of PNG are exceptions: for a transparent value of 2 or 4 bits of grey, or of 16 bits a colour, Pillow's
    picture does not say how many bits the value has, and such pixels keep their colour. Give the bytes or the path.

    Returns:
        uint8 [H,W,3] RGB, writable, upright by the EXIF orientation that the picture still has (XMP's is ignored).

    Raises:
        InvalidImage: its file is truncated, damaged or closed, or its mode cannot become RGB: "I" and "F" do not say
            which value is white, except in a PGM's "I", where it is 65535.
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
    except Exception as error:  # as below: files that Pillow opens lazily are decoded here
        raise InvalidImage(f"the picture of Pillow cannot be read ({error}): give its bytes or path") from None


def _target(header: ImageHeader, max_side: int | None) -> tuple[int, int] | None:
    """(height, width) as stored after scaling down to `max_side`, or None to keep the size."""
    if max_side is None or max(header.height, header.width) <= max_side:
        return None
    scale = max_side / max(header.height, header.width)
    return max(round(header.height * scale), 1), max(round(header.width * scale), 1)


def _filled(image: NDArray[np.uint8], header: ImageHeader) -> tuple[float, float]:
    """The shares of the height and width that the picture fills.

    libjpeg decodes M eighths of every block of eight pixels, so the last row and column may reach beyond the picture.
    """
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
    """Scale the one colour that a PNG without alpha calls transparent to eight bits.

    Pillow scales only the samples, and then none has that colour. 16 bits of grey stay 16 bits.

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
    """[H,W] of 0..65535 -> uint8 [H,W,3], rounded, and white where a value is `transparent`.

    It is done in strips, because intermediate arrays take six times the memory.
    """
    image = np.empty((*grey.shape, 3), dtype=np.uint8)
    for top in range(0, len(grey), 256):
        strip = np.clip(grey[top : top + 256].astype(np.int32), 0, 65535)
        if transparent is not None:
            strip[strip == transparent] = 65535
        image[top : top + 256] = ((strip + 128) // 257)[:, :, None]  # 65535 -> 255
    return image
