"""Files of megabytes that say nothing: none of them is read byte by byte, or again and again."""

from __future__ import annotations

import io
import re
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin

from parsing_rcnn.codecs import header
from parsing_rcnn.codecs import image as codec
from parsing_rcnn.codecs.header import without_segments
from parsing_rcnn.codecs.image import decode, from_pillow, peek
from parsing_rcnn.errors import InvalidImage

FILL = 2 * 2**20


def jpeg(mode: str = "RGB", **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((80, 80), 60).convert(mode).save(buffer, "JPEG", **how)
    return buffer.getvalue()


def half(data: bytes) -> bytes:
    begin = data.index(b"\xff\xda")
    return data[: begin + (len(data) - begin) // 2]


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"mode": "CMYK"}])
@pytest.mark.parametrize("opened", [False, True])
def test_a_jpeg_is_given_to_the_decoder_once(
    opened: bool, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """libjpeg would read all fill bytes so far anew with each block of 64 KiB."""
    calls = []
    read = JpegImagePlugin.JpegImageFile.load_read

    def counted(self: JpegImagePlugin.JpegImageFile, size: int) -> bytes:
        calls.append(size)
        return read(self, size)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load_read", counted)
    data = half(jpeg(**how)) + b"\xff" * FILL
    with pytest.raises(InvalidImage, match="image file is truncated"):
        from_pillow(Image.open(io.BytesIO(data))) if opened else decode(data)
    assert 1 <= len(calls) <= 2


@pytest.mark.parametrize(
    "filling",
    [b"\xff" * 50_000 + b"\xfe\0\2", b"\xff\xf0\xff\xff" + bytes(65_533), b"\xff\xe1\xff\xffExif\0\0" + bytes(65_527)],
    ids=["fill bytes", "unknown segments", "Exif"],
)
@pytest.mark.parametrize("before", [b"\xff\xdb", b"\xff\xda"], ids=["frame header", "scan"])
def test_the_header_of_a_jpeg_is_not_read_byte_by_byte(
    before: bytes, filling: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            reads.append(size)
            return super().read(size)

    whole = half(jpeg())
    at = whole.index(before)
    monkeypatch.setattr(codec.io, "BytesIO", Counted)
    with pytest.raises(InvalidImage, match="truncated or damaged"):
        decode(whole[:at] + filling * 5 + whole[at:])
    assert len(reads) < 1000


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_what_is_said_of_damage_holds_no_memory_of_the_decoder(kind: str) -> None:
    """Nor do the frames that it came through: the gateway has it for a while, and the file's copies would stay."""
    buffer = io.BytesIO()
    Image.effect_noise((80, 80), 60).convert("RGB").save(buffer, kind)
    data = buffer.getvalue()[:-2000]
    with pytest.raises(InvalidImage) as refused:
        decode(data)
    assert refused.value.__context__ is None
    frames = [entry.frame.f_locals for entry in refused.traceback]
    held = [
        value for names in frames for value in names.values() if isinstance(value, (bytes, io.BytesIO, Image.Image))
    ]
    assert all(value is data or value is buffer for value in held)


@pytest.mark.parametrize("junk", [b"\xff", b"\0", b"\xff\0"])
def test_what_lies_before_a_scan_is_passed_over(junk: bytes) -> None:
    whole = half(jpeg())
    at = whole.index(b"\xff\xda")
    plain = without_segments(whole[:at] + junk * 100_000 + whole[at:])
    assert len(plain) <= len(whole)
    assert plain[-50:] == whole[-50:]


def test_no_scan_at_all() -> None:
    whole = jpeg()
    with pytest.raises(InvalidImage, match="truncated or damaged"):
        decode(whole[: whole.index(b"\xff\xda")] + bytes(FILL))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_without_its_segments_has_the_same_pixels(mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = jpeg(mode, exif=exif, comment=b"hello", icc_profile=bytes(100_000))
    plain = without_segments(whole)
    assert len(plain) < len(whole) - 100_000
    with Image.open(io.BytesIO(whole)) as before, Image.open(io.BytesIO(plain)) as after:
        assert before.mode == after.mode
        assert before.tobytes() == after.tobytes()
        assert before.info.get("adobe_transform") == after.info.get("adobe_transform")


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\0", b"\xff\xd0", b"\0"])
def test_the_pattern_sees_the_beginning_of_a_scan_alone(filling: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the interpreter's lock, and takes a second for 32 MiB."""
    seen = []

    class Pattern:
        def search(self, data: bytes, at: int, end: int = 2**40) -> re.Match[bytes] | None:
            seen.append(max(min(end, len(data)) - at, 0))
            return found.search(data, at, end)

    found = header._MARKER
    monkeypatch.setattr(header, "_MARKER", Pattern())
    whole = jpeg(progressive=True)
    scans = peek(whole).scans
    assert scans > 5
    last = whole.rindex(b"\xff\xda")
    assert peek(whole[:last] + filling * (FILL // len(filling)) + whole[last:]).scans == scans
    assert max(seen) <= FILL // 4


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"\xff" * 900, b"\xff\0" * 700, b"\xff\xd3", b"\xff\x01", b"\xff\xfe", b"\xd9", b"\x07"])
    ),
    st.integers(0, 40),
    st.integers(0, 3000),
)
def test_every_marker_is_found_wherever_the_pattern_ends(parts: list[bytes], at: int, near: int) -> None:
    data = b"".join(parts)
    expected = header._MARKER.search(data, at)
    assert header._next_marker(data, at, near) == (expected and expected.start())


def test_jpegs_whose_decoder_holds_the_whole_picture() -> None:
    assert not peek(jpeg()).staged
    assert peek(jpeg(progressive=True)).staged
    one = jpeg(progressive=True)
    second = one.index(b"\xff\xda", one.index(b"\xff\xda") + 2)
    assert peek(one[:second] + b"\xff\xd9").scans == 1
    assert peek(one[:second] + b"\xff\xd9").staged
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    assert not peek(buffer.getvalue()).staged


def test_chunks_that_nobody_reads_are_counted() -> None:
    part = struct.pack(">I4sI", 0, b"tEXt", 0)
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    png = buffer.getvalue()
    assert peek(png[:33] + part * 60_000 + png[33:]).width == 4
    with pytest.raises(InvalidImage, match="more than 65536 chunks"):
        peek(png[:33] + part * 70_000 + png[33:])
