"""Passes over a JPEG's pixels, which a few bytes each may ask for."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from parsing_rcnn.codecs.header import peek
from parsing_rcnn.codecs.image import check, decode
from parsing_rcnn.errors import InvalidImage

EOI = b"\xff\xd9"


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def encoded(**options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(64 * 48 * 3, dtype=np.uint8).reshape(48, 64, 3)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def in_scans(scans: int, frame: int = 0xC0, between: bytes = b"") -> bytes:
    """A sequential JPEG of 16 x 16 pixels with a scan for one component after the other, over and over."""
    buffer = io.BytesIO()
    Image.new("L", (16, 16)).save(buffer, "JPEG")
    grey = buffer.getvalue()
    before = grey[: grey.index(b"\xff\xc0")]
    tables = grey[grey.index(b"\xff\xc4") : grey.index(b"\xff\xda")]
    components = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    head = segment(frame, struct.pack(">BHHB", 8, 16, 16, 3) + components)
    pixels = grey[grey.index(b"\xff\xda") + 10 : -2]
    body = b"".join(segment(0xDA, bytes([1, 1 + i % 3, 0, 0, 63, 0])) + pixels + between for i in range(scans))
    return before + head + tables + body + EOI


@pytest.mark.parametrize("frame", [0xC0, 0xC1])
def test_a_sequential_jpeg_has_a_scan_for_each_component_at_most(frame: int) -> None:
    assert peek(in_scans(3, frame)).scans == 3
    assert decode(in_scans(3, frame)).shape == (16, 16, 3)
    with pytest.raises(InvalidImage, match=r"has 4 scans, the limit .* is its 3 component\(s\): save it anew"):
        check(in_scans(4, frame))
    with pytest.raises(InvalidImage, match="has 3000 scans"):
        check(in_scans(3000, frame))
    with pytest.raises(InvalidImage, match="more than 4096 markers among its scans: save it as baseline"):
        check(in_scans(5000, frame))


def test_an_end_inside_a_comment_is_none() -> None:
    with pytest.raises(InvalidImage, match="has 50 scans"):
        check(in_scans(50, between=segment(0xFE, EOI)))


@pytest.mark.parametrize("progressive", [False, True])
def test_what_follows_the_picture_has_no_scans_of_it(progressive: bool) -> None:
    """A telephone writes a video behind a photo."""
    photo = encoded(progressive=progressive)
    whole = photo + b"\xff\xda\0\0" * 200
    assert check(whole).scans == peek(photo).scans
    assert np.array_equal(decode(whole), decode(photo))


def test_half_a_picture_has_a_header() -> None:
    photo = encoded(progressive=True)
    for end in range(photo.index(b"\xff\xc2") + 19, len(photo), 7):
        assert peek(photo[:end]).width == 64
