"""Reads format, size and orientation from a picture's header. No pixels are decoded, so a bomb costs nothing."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from parsing_rcnn.errors import InvalidImage, UnsupportedImage

Format = Literal["jpeg", "png", "webp"]

_JPEG_MAGIC = b"\xff\xd8\xff"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_NOT_ACCEPTED = (
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"%PDF", "PDF"),
    (b"<", "HTML, XML or SVG text"),
    (b"{", "JSON text"),
    (b"data:", "a data URL (send the decoded bytes)"),
    (b"/9j/", "base64 text (send the decoded bytes)"),
    (b"iVBOR", "base64 text (send the decoded bytes)"),
    (b"PK\x03\x04", "a ZIP or npz archive"),
    (b"\x93NUMPY", "a numpy array"),
)
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})
_PNG_READ = frozenset({b"eXIf", b"acTL", b"IEND"})
_WEBP_READ = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ANMF", b"EXIF"})
_EXIF_ORIENTATION = 0x0112
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers of JPEG that have no length."""
_FILL = re.compile(rb"\xff+")
_MAX_FILL = 65_536
"""Most bytes 0xFF before a marker of JPEG."""
_MAX_SEGMENTS = 4096
"""Most segments before a JPEG's frame header: 32 MiB hold 512 of full length, and a camera writes about ten."""
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_UNUSED = frozenset({*range(0xE1, 0xEE), 0xEF, 0xFE})
"""Segments of JPEG that say nothing about its pixels: all of applications but JFIF's and Adobe's, and comments."""
_UNKNOWN = frozenset({0xC8, *range(0xF0, 0xFE)})
"""Markers of JPEG that no decoder takes."""
_LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
"""Frames that libjpeg-turbo decodes at full size whatever size it is asked for, and without changing their colours."""
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
"""A marker that ends a scan's pixels; among them, 0xFF is followed by 0x00 or belongs to a restart marker."""
_SEARCHED = 2**18
"""Bytes behind a frame header in which `_MARKER` is searched for. Where 0xFF is frequent it takes a second for 32 MiB,
in which no other thread runs."""
_SLICE = 2**18
"""Bytes that numpy looks at in one go, at the most."""
_MAX_CHUNKS = 65_536
"""Most chunks of a PNG or WebP. libpng's have 8 KiB, so 32 MiB hold 4096; millions of empty ones would take seconds."""


@dataclass(frozen=True)
class ImageHeader:
    """What a picture says about itself.

    Attributes:
        format: "jpeg", "png" or "webp", by magic bytes.
        width: in pixels, as stored (before the EXIF turn).
        height: in pixels, as stored.
        orientation: EXIF orientation 1..8 (1 when absent or nonsense).
        frames: 1, or more for an animation.
        scans: passes over the pixels that a JPEG asks for; 1 otherwise.
        staged: it is a JPEG of which no row is complete before the last pass, so that its decoder holds all of it.
    """

    format: Format
    width: int
    height: int
    orientation: int = 1
    frames: int = 1
    scans: int = 1
    staged: bool = False


def peek(data: bytes) -> ImageHeader:
    """Read a picture's header.

    Args:
        data: an encoded JPEG, PNG or WebP.

    Raises:
        InvalidImage: the bytes are empty, damaged or end before the size is known, or have far too many parts.
        UnsupportedImage: another type of file.
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InvalidImage(f"expected the bytes of an encoded image, got {type(data).__name__}")
    data = bytes(data)
    if not data:
        raise InvalidImage("the image is empty (0 bytes): send an encoded JPEG, PNG or WebP")
    reader = _reader(data)
    try:
        header = reader(data)
    except (struct.error, IndexError):
        raise InvalidImage(f"the image ends inside its header ({len(data)} bytes): it is truncated") from None
    if header.width < 1 or header.height < 1:
        raise InvalidImage(f"the header says {header.width}x{header.height} pixels: an image has at least one")
    return header


def is_jpeg(data: bytes) -> bool:
    """Whether a picture begins as a JPEG does; it may be damaged behind that."""
    return data.startswith(_JPEG_MAGIC)


def _reader(data: bytes) -> Callable[[bytes], ImageHeader]:
    if is_jpeg(data):
        return _peek_jpeg
    if data.startswith(_PNG_MAGIC):
        return _peek_png
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _peek_webp
    if any(magic.startswith(data[: len(magic)]) for magic in (_JPEG_MAGIC, _PNG_MAGIC, b"RIFF")) and len(data) < 12:
        raise InvalidImage(f"the image ends inside its header ({len(data)} bytes): it is truncated")
    raise UnsupportedImage(f"the bytes are {_guess(data)}: JPEG, PNG and WebP are accepted")


def _guess(data: bytes) -> str:
    if data[4:8] == b"ftyp":
        return f"an ISO media file ({data[8:12].decode('ascii', 'replace')}; HEIC, AVIF or video)"
    return next((name for magic, name in _NOT_ACCEPTED if data.startswith(magic)), "of no known image type")


def _peek_jpeg(data: bytes) -> ImageHeader:
    orientation: int | None = None
    at = 2
    for _ in range(_MAX_SEGMENTS):
        if data[at] != 0xFF:
            raise InvalidImage(f"damaged JPEG: no marker at byte {at}")
        if data[at + 1] == 0xFF and (filled := _FILL.match(data, at, at + _MAX_FILL)):
            at = filled.end() - 1
        marker = data[at + 1]
        if marker == 0xFF:
            raise InvalidImage(f"damaged JPEG: {_MAX_FILL} bytes of 0xFF and no marker after them")
        if marker == 0x00:  # not a marker: libjpeg would search for one in bytes that this loop would skip
            raise InvalidImage(f"damaged JPEG: no marker at byte {at}")
        if marker in _ALONE:
            at += 2
            continue
        if marker in (0xD9, 0xDA):
            raise InvalidImage("damaged JPEG: the pixels begin before any frame header")
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker == 0xE1 and orientation is None and data[at + 4 : at + 10] == b"Exif\x00\x00":
            orientation = exif_orientation(data[at + 10 : at + 2 + length])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            precision, height, width = struct.unpack_from(">BHH", data, at + 4)
            if precision != 8:
                raise UnsupportedImage(f"a JPEG of {precision} bits a channel: 8 are accepted")
            if marker in _LOSSLESS:
                raise UnsupportedImage("a lossless JPEG: baseline and progressive ones are accepted, or send it as PNG")
            scans, staged = _scans(data, at + 2 + length, data[at + 9], marker in _PROGRESSIVE)
            return ImageHeader("jpeg", width, height, orientation or 1, scans=scans, staged=staged)
        at += 2 + length
    raise InvalidImage(f"damaged JPEG: {_MAX_SEGMENTS} markers and no frame header among them")


def _scans(data: bytes, at: int, components: int, progressive: bool) -> tuple[int, bool]:
    """How many passes over the pixels follow the frame header, and whether no row is complete before the last.

    Where the first one has every component, the pixels are complete: the rest is not decoded, and not read here.

    Raises:
        InvalidImage: there are more passes than the components need, or far too many markers.
    """
    scans, near = 0, at + _SEARCHED
    for _ in range(_MAX_SEGMENTS):
        found = _next_marker(data, at, near)
        if found is None:
            break
        marker, at = data[found + 1], found + 2
        if marker == 0xD9 or at + 2 >= len(data):
            break
        if marker == 0xDA:
            scans += 1
            if scans == 1 and not progressive and data[at + 2] >= components:
                return 1, False
        at += max(int.from_bytes(data[at : at + 2]), 2)
    else:
        raise InvalidImage(f"the JPEG has more than {_MAX_SEGMENTS} markers among its scans: save it as baseline")
    if not progressive and scans > components:
        raise InvalidImage(
            f"the JPEG has {scans} scans, the limit of a sequential one is its {components} component(s): save it anew"
        )
    return max(scans, 1), True


def _next_marker(data: bytes, at: int, near: int) -> int | None:
    """Where the next one like `_MARKER` is, searched for with that up to `near`, with numpy from there on."""
    found = _MARKER.search(data, at, near)
    if found is not None:
        return found.start()
    at, size = max(at, near - 1), 1024
    while at < len(data) - 1:
        part = np.frombuffer(data, np.uint8, min(size + 1, len(data) - at), at)
        second = part[1:]
        ends = (part[:-1] == 0xFF) & (second + np.uint8(1) > 2) & (second & 0xF8 != 0xD0)
        first = int(ends.argmax())
        if ends[first]:
            return at + first
        at, size = at + size, min(2 * size, _SLICE)
    return None


def without_segments(jpeg: bytes) -> bytes:
    """A JPEG without its profiles, comments and fill bytes, up to its first scan. Its pixels stay the same.

    Pillow would read fill bytes and unknown segments one byte at a time, which takes 20 s for 32 MiB.
    """
    view = memoryview(jpeg)
    kept, at = [view[:2]], 2
    while (found := _next_marker(jpeg, at, at)) is not None:
        marker = jpeg[found + 1]
        end = found + 2 + int.from_bytes(jpeg[found + 2 : found + 4])
        if marker in (0xD9, 0xDA) or end > len(jpeg):
            kept.append(view[found:])
            break
        at = found + 2 if marker == 0xD8 else max(end, found + 4)
        if marker in _UNKNOWN:
            kept.append(memoryview(bytes([0xFF, marker, 0, 2])))
        elif marker not in _UNUSED:
            kept.append(view[found:at])
    return b"".join(kept) if sum(map(len, kept)) < len(jpeg) else jpeg


def _peek_png(data: bytes) -> ImageHeader:
    if data[12:16] != b"IHDR":
        raise InvalidImage("damaged PNG: the first chunk is not IHDR")
    width, height = struct.unpack_from(">II", data, 16)
    orientation: int | None = None
    frames = 1
    for kind, body in _chunks(data, _PNG_READ, start=8, order=">", tail=4):
        if kind == b"eXIf" and orientation is None:
            orientation = exif_orientation(body)
        elif kind == b"acTL":
            frames = max(struct.unpack_from(">I", body)[0], 1)
        elif kind == b"IEND":
            break
    return ImageHeader("png", width, height, orientation or 1, frames)


def without_texts(png: bytes) -> bytes:
    """A PNG without its texts and colour profile, which are not used.

    Pillow would unpack them, and takes a picture with large texts for a bomb. A truncated chunk stays as it is, and so
    does a PNG without any.
    """
    view, kept, begin, at = memoryview(png), [], 0, 8
    while at + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        end = at + 12 + length
        if kind in _TEXTS and end <= len(png):
            kept.append(view[begin:at])
            begin = end
        if kind == b"IEND":
            break
        at = end
    return b"".join([*kept, view[begin:]]) if kept else png


def _peek_webp(data: bytes) -> ImageHeader:
    size: tuple[int, int] | None = None
    orientation: int | None = None
    frames = 0
    for kind, body in _chunks(data, _WEBP_READ, start=12, order="<", tail=0):
        if kind == b"VP8X" and size is None:
            size = (1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little"))
        elif kind == b"VP8 " and size is None:
            if body[3:6] != b"\x9d\x01\x2a":
                raise InvalidImage("damaged WebP: no start code in the VP8 frame")
            width, height = struct.unpack_from("<HH", body, 6)
            size = (width & 0x3FFF, height & 0x3FFF)
        elif kind == b"VP8L" and size is None:
            (bits,) = struct.unpack_from("<I", body, 1)
            size = (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
        elif kind == b"ANMF":
            frames += 1
        elif kind == b"EXIF" and orientation is None:
            orientation = exif_orientation(body)
    if size is None:
        raise InvalidImage("damaged WebP: no image chunk")
    return ImageHeader("webp", size[0], size[1], orientation or 1, max(frames, 1))


def _chunks(
    data: bytes, wanted: frozenset[bytes], *, start: int, order: str, tail: int
) -> Iterator[tuple[bytes, bytes]]:
    """(kind, body) of each wanted chunk; the last body may be short, and what follows a broken chunk is left out.

    Raises:
        InvalidImage: there are more than `_MAX_CHUNKS`, of any kind.
    """
    head = struct.Struct(">I4s" if order == ">" else "<4sI")
    at, end = start, len(data) - 8
    for _ in range(_MAX_CHUNKS):
        if at > end:
            return
        first, second = head.unpack_from(data, at)
        length, kind = (first, second) if order == ">" else (second, first)
        if kind in wanted:
            # Pixel chunks can be megabytes and tell nothing here beyond their first bytes.
            yield kind, data[at + 8 : at + 8 + min(length, 65536)]
        at += 8 + length + tail + (length & 1 if order == "<" else 0)
    if at <= end:
        raise InvalidImage(f"the image has more than {_MAX_CHUNKS} chunks: save it anew")


def exif_orientation(exif: bytes) -> int:
    """Tag 0x0112 of the first directory of a TIFF block; 1 when it is absent or the block is damaged.

    Args:
        exif: the block, also behind the name "Exif" as JPEG has it.
    """
    exif = exif.removeprefix(b"Exif\x00\x00")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if tag == _EXIF_ORIENTATION:
                (value,) = struct.unpack_from(order + ("I" if kind == 4 else "H"), exif, entry + 8)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
