"""Decodes WebP with OpenCV: Pillow's decoder is made for animations and holds several canvases of four channels."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.codecs.strips import on_white, strips

_DAMAGED = "failed to read next frame"
"""As Pillow says it."""
_LEAST = 32
"""Bytes that OpenCV asks for, and a WebP of one colour does not have."""
_ANIMATED, _TRANSPARENT = 0x02, 0x10
"""Bits of the flags in the chunk VP8X."""


def decode_webp(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """The pixels of a WebP or of an animation's first frame, transparency on white.

    Args:
        data: the whole file.
        height: of the canvas by the file's header, pixels.
        width: of the same.

    Returns:
        uint8 [height,width,3] RGB, as stored: the EXIF orientation is not applied.

    Raises:
        ValueError: the pixels are damaged.
    """
    extended = data[12:16] == b"VP8X"
    flags = data[20] if extended else 0
    animated = bool(flags & _ANIMATED)
    transparent = not animated or bool(flags & _TRANSPARENT)
    body = memoryview(data)[12:]
    if animated:
        left, top, still = _first_frame(body, flags)
    else:
        left, top, still = 0, 0, _still(body, height, width, flags if extended else None)
    try:
        frame = cv2.imdecode(np.frombuffer(still, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        frame = None
    if frame is None or frame.shape[0] + top > height or frame.shape[1] + left > width:
        raise ValueError(_DAMAGED)
    rows, columns, channels = frame.shape
    whole = (rows, columns) == (height, width)
    if channels == 3 and whole:
        for strip in strips(frame):
            cv2.cvtColor(strip, cv2.COLOR_BGR2RGB, dst=strip)
        return np.asarray(frame, np.uint8)
    image = np.empty((height, width, 3), np.uint8)
    if not whole:  # what the frame leaves free of the canvas is transparent, and black where nothing can be
        image[:] = 255 if transparent else 0
    inside = image[top : top + rows, left : left + columns]
    for source, target in zip(strips(frame), strips(inside), strict=True):
        if channels == 3 or not transparent:
            target[:] = source[..., 2::-1]
        else:
            target[:] = on_white(source, "BGRA")
    return image


def _first_frame(body: memoryview, flags: int) -> tuple[int, int, bytes]:
    """(left, top, WebP of this frame alone) of an animation."""
    frame = next((part for kind, part in _chunks(body) if kind == b"ANMF"), None)
    if frame is None or len(frame) < 16:
        raise ValueError(_DAMAGED)
    left, top, columns, rows = (int.from_bytes(frame[at : at + 3], "little") for at in (0, 3, 6, 9))
    return 2 * left, 2 * top, _still(frame[16:], rows + 1, columns + 1, flags)


def _still(body: memoryview, height: int, width: int, flags: int | None) -> bytes:
    """A WebP of the pixels alone: OpenCV would take what follows damaged ones for more of them."""
    parts: list[tuple[bytes, memoryview]] = []
    for kind, part in _chunks(body):
        if kind in (b"ALPH", b"VP8 ", b"VP8L"):
            parts.append((kind, part))
        if kind in (b"VP8 ", b"VP8L"):
            break
    if flags is not None:
        kind, pixels = parts[-1] if parts else (b"", memoryview(b""))
        if kind == b"VP8L" and len(pixels) > 4:
            flags |= pixels[4] & _TRANSPARENT  # it says by itself whether it has alpha: programs forget the other bit
        head = (
            struct.pack("<I", flags & _TRANSPARENT)
            + struct.pack("<I", width - 1)[:3]
            + struct.pack("<I", height - 1)[:3]
        )
        parts.insert(0, (b"VP8X", memoryview(head)))
    pieces: list[bytes | memoryview] = [b"WEBP"]
    for kind, part in parts:
        pieces += [kind, struct.pack("<I", len(part)), part, bytes(len(part) % 2)]
    still = b"".join([b"RIFF", struct.pack("<I", sum(map(len, pieces))), *pieces])
    return still if len(still) >= _LEAST else still.ljust(_LEAST, b"\0")


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    at = 0
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
