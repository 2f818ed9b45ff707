"""Decodes JPEG, PNG and WebP to upright RGB arrays; nothing is decoded that is too large by its header."""

from __future__ import annotations

import io
import math
import re
import threading
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from parsing_rcnn.codecs.header import ImageHeader, exif_orientation, peek, without_segments, without_texts
from parsing_rcnn.codecs.room import Room
from parsing_rcnn.codecs.strips import to_rgb
from parsing_rcnn.codecs.webp import decode_webp
from parsing_rcnn.errors import ImageTooLarge, InvalidImage, ParsingRCNNError
from parsing_rcnn.geometry import resize, turn_upright, turned_size, within
from parsing_rcnn.limits import MAX_IMAGE_BYTES, MAX_PIXELS, MAX_SIDE

__all__ = ["ImageHeader", "ImageLimits", "check", "decode", "from_pillow", "peek", "upright_size"]

_MAX_SCANS = 100
_USUAL_SCANS = 16
"""A camera's progressive JPEG has about ten scans. Each is a pass over all pixels but may have only a few bytes, so
very many are an attack; a picture as large as the limit may have no more than this."""

_PLAIN = {"jpeg": without_segments, "png": without_texts}
"""What leaves out of a file what Pillow would read and nobody uses."""

_ROOM = Room(MAX_PIXELS)
"""For pictures that are decoded whole whatever size is wanted, with up to twelve bytes a pixel. A JPEG of one scan is
decoded row by row at its reduced size, and needs none; at its full size, for a small region of it, it does."""

_LEFT = re.compile(r" \(\d+ bytes not processed\)$")
"""What Pillow adds to its message, of a buffer of its own: it is no number of the file's."""

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


def upright_size(data: bytes) -> tuple[int, int]:
    """(height, width) of the decoded picture, by its header.

    Raises:
        InvalidImage, UnsupportedImage: the header is not that of a picture.
    """
    header = peek(data)
    return turned_size(header.height, header.width, header.orientation)


def decode(
    data: bytes, limits: ImageLimits | None = None, max_side: int | None = None, *, waits: bool = False
) -> NDArray[np.uint8]:
    """Decode a picture.

    The EXIF orientation is applied, colour profiles are ignored, transparency is put on white, 16 bits become 8, and
    of an animation the first frame is taken.

    Args:
        data: an encoded JPEG, PNG or WebP.
        limits: which pictures are accepted (None: the defaults of `ImageLimits`).
        max_side: scale the picture down to this longest side, pixels (None: never). A JPEG is then decoded at a
            fraction of its size, which is faster.
        waits: large JPEGs of one scan wait for room, too, for callers whose pictures nothing else bounds.

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
    target = within(header.height, header.width, max_side)
    if header.format == "jpeg" and not header.staged:
        with _ROOM.of(_decoded_pixels(header, target)) if waits else nullcontext():
            image = _decode_jpeg(data, header, target)
            if image is not None:
                return turn_upright(_scaled(image, header, target), header.orientation)
    image = None
    with _ROOM.of(header.width * header.height):
        if header.staged:
            image = _decode_jpeg(data, header, target)
        image = _scaled(_decode_pillow(data, header) if image is None else image, header, target)
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
            _load(picture)
        # not of picture.getexif(), which takes XMP's where EXIF has none
        return turn_upright(to_rgb(picture), exif_orientation(picture.info.get("exif", b"")))
    except Exception as error:  # as below: files that Pillow opens lazily are decoded here
        raise InvalidImage(f"the picture of Pillow cannot be read ({error}): give its bytes or path") from None


def _decoded_pixels(header: ImageHeader, target: tuple[int, int] | None) -> int:
    """About as many as a JPEG of one scan is decoded to: beyond half of its size nearly all of them."""
    if target is None or 2 * target[0] > header.height:
        return header.height * header.width
    return target[0] * target[1]


def _scaled(image: NDArray[np.uint8], header: ImageHeader, target: tuple[int, int] | None) -> NDArray[np.uint8]:
    return image if target is None else resize(image, *target, _filled(image, header))


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


def _decode_jpeg(data: bytes, header: ImageHeader, target: tuple[int, int] | None) -> NDArray[np.uint8] | None:
    """A JPEG at its reduced size; None where it is damaged, which Pillow may tolerate (it says so if not)."""
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
        pass
    return None


def _decode_pillow(data: bytes, header: ImageHeader) -> NDArray[np.uint8]:
    name = header.format.upper()
    kind: type[ParsingRCNNError]
    try:
        return _decode_other(data, header)
    except ParsingRCNNError:
        raise
    except Image.DecompressionBombError as error:
        kind, said = ImageTooLarge, f"the image is too large for the decoder ({error}): scale it down"
    except UnidentifiedImageError:  # whose text is an address in memory
        kind, said = InvalidImage, f"the {name} is truncated or damaged: send it whole"
    except Exception as error:  # decoders of hostile bytes raise anything: OSError, SyntaxError, struct.error, ...
        reason = _LEFT.sub("", str(error))
        kind, said = InvalidImage, f"the {name} is truncated or damaged ({reason}): send it whole"
    raise kind(said)  # not above, where its context would hold the decoder's memory for as long as it is held itself


def _decode_other(data: bytes, header: ImageHeader) -> NDArray[np.uint8]:
    plain = _PLAIN[header.format](data) if header.format in _PLAIN else data
    with Image.open(io.BytesIO(plain), formats=(header.format.upper(),)) as picture:
        # The limits were held against what `peek` read, so Pillow must have read the same.
        if picture.size != (header.width, header.height):
            raise InvalidImage(f"damaged {header.format.upper()}: its headers disagree about the size")
        if header.format != "webp":
            _load(picture)
            if header.format == "png":
                _scale_transparency(picture, depth=data[24])
            return to_rgb(picture)
    del picture  # which has a copy of the file
    return decode_webp(data, header.height, header.width)


def _load(picture: Image.Image) -> None:
    if hasattr(picture, "decodermaxblock") and picture.format in ("JPEG", "MPO"):
        # of many fill bytes libjpeg keeps none while it waits for more, and would read them anew with every block
        picture.decodermaxblock = max(MAX_IMAGE_BYTES, picture.decodermaxblock)
    picture.load()


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
