"""Frames of JPEGs: passes over the pixels, which a few bytes each may ask for, and kinds that are not read."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parsing_rcnn.codecs.header import peek
from parsing_rcnn.codecs.image import check, decode
from parsing_rcnn.errors import InvalidImage, UnsupportedImage

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


def flat(frame: int, side: int = 1000) -> bytes:
    """What follows the first marker of a JPEG of pixels that are all alike: a bit codes each. Lossless as 0xC3."""
    components = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    head = segment(frame, struct.pack(">BHHB", 8, side, side, 3) + components)
    table = segment(0xC4, bytes([0, 1, *[0] * 15, 0]))
    return head + table + segment(0xDA, bytes([3, 1, 0, 2, 0, 3, 0, 1, 0, 0])) + bytes(-(-3 * side * side // 8)) + EOI


def hidden() -> bytes:
    """A lossless JPEG that who takes 0xFF 0x00 for a marker passes over, to a baseline frame of its size behind it."""
    picture = flat(0xC3, 390)
    passed = struct.pack(">H", len(picture) + 2) + picture
    baseline = segment(0xC0, struct.pack(">BHHB", 8, 390, 390, 1) + bytes([1, 0x11, 0]))
    return b"\xff\xd8\xff\x00" + passed + baseline + segment(0xDA, bytes([1, 1, 0, 0, 63, 0])) + EOI


@pytest.mark.parametrize("frame", [0xC3, 0xC7, 0xCB, 0xCF])
def test_lossless_frames_are_refused(frame: int) -> None:
    with pytest.raises(UnsupportedImage, match="a lossless JPEG: baseline and progressive ones are accepted"):
        peek(b"\xff\xd8" + flat(frame))


def test_nothing_is_passed_over_where_libjpeg_would_look() -> None:
    with pytest.raises(InvalidImage, match="no marker at byte 2"):
        peek(hidden())


def test_a_picture_that_libjpeg_does_not_scale_has_room() -> None:
    """Whatever is taken for another kind of frame, nothing is written beyond the memory. A child, which would crash."""
    decoded = (
        "import sys; from parsing_rcnn.codecs import image; header = image.ImageHeader('jpeg', 1000, 1000); "
        "print(image._decode_jpeg(sys.stdin.buffer.read(), header, (200, 200)).shape)"
    )
    root = Path(__file__).resolve().parents[3]
    data = b"\xff\xd8" + flat(0xC3)
    done = subprocess.run([sys.executable, "-c", decoded], input=data, capture_output=True, cwd=root, check=False)
    assert (done.returncode, done.stdout) == (0, b"(250, 250, 3)\n"), done.stderr


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
