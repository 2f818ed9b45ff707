"""Pictures in: what Pillow writes is read back, and hostile bytes give an error that says what to do."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from parsing_rcnn.codecs.image import ImageLimits, check, decode, peek
from parsing_rcnn.errors import ImageTooLarge, InvalidImage, ParsingRCNNError, UnsupportedImage

FORMATS = ["JPEG", "PNG", "WEBP"]


def photo(height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Smooth, so that lossy formats keep it, and different in every corner and channel."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.rint(np.stack([x, y, (x + y) / 2], axis=2) * 200 + 20).astype(np.uint8)


def encode(image: NDArray[Any] | Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def png_of(width: int, height: int, *chunks: tuple[bytes, bytes], colour: int = 2, depth: int = 8) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("format", FORMATS)
def test_a_picture_is_read_as_rgb(format: str) -> None:
    image = photo()
    decoded = decode(encode(image, format, quality=95))
    assert decoded.shape == image.shape
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    assert decoded.flags.writeable
    assert np.abs(decoded.astype(int) - image).max() <= (0 if format == "PNG" else 12)


@pytest.mark.parametrize("format", FORMATS)
def test_errors_about_damage_show_no_internals(format: str) -> None:
    whole = encode(photo(), format, quality=95)
    said = set()
    for length in range(30, len(whole), 7):
        try:
            decode(whole[:length])
        except InvalidImage as error:
            said.add(error.detail)
    assert said
    assert not [text for text in said if "0x" in text or "<" in text]


def test_lossless_webp_is_exact() -> None:
    assert np.array_equal(decode(encode(photo(), "WEBP", lossless=True)), photo())


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photo(), format, exif=exif, quality=95)
    with Image.open(io.BytesIO(data)) as picture:
        upright = np.asarray(ImageOps.exif_transpose(picture).convert("RGB")).astype(int)
    decoded = decode(data)
    assert decoded.shape == upright.shape
    assert np.abs(decoded - upright).max() <= 3
    header = peek(data)
    assert (header.format, header.width, header.height) == (format.lower(), 64, 48)
    assert header.orientation == orientation


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_a_nonsense_orientation_is_ignored(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert peek(encode(photo(), "JPEG", exif=exif)).orientation == 1


def test_big_endian_exif() -> None:
    exif = Image.Exif()
    exif.endian = ">"
    exif[0x0112] = 6
    assert peek(encode(photo(), "JPEG", exif=exif)).orientation == 6


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr"])
def test_other_colour_modes(mode: str) -> None:
    picture = Image.fromarray(photo()).convert(mode)
    data = encode(picture, "JPEG" if mode in ("CMYK", "YCbCr") else "PNG")
    expected = np.asarray(picture.convert("RGB")).astype(int)
    assert np.abs(decode(data) - expected).max() <= (12 if mode in ("CMYK", "YCbCr") else 0)


def test_grey_jpeg() -> None:
    decoded = decode(encode(photo()[:, :, 0], "JPEG", quality=95))
    assert np.array_equal(decoded[..., 0], decoded[..., 1])
    assert np.abs(decoded[..., 0].astype(int) - photo()[:, :, 0]).max() <= 6


def test_sixteen_bits_become_eight() -> None:
    grey = (photo()[:, :, 0].astype(np.uint16)) * 257
    decoded = decode(encode(grey, "PNG"))
    assert np.array_equal(decoded, np.repeat(photo()[:, :, :1], 3, axis=2))


def test_sixteen_bit_colour() -> None:
    row = b"\x00" + struct.pack(">6H", 65535, 0, 257 * 100, 0, 65535, 257 * 7)
    data = png_of(2, 1, (b"IDAT", zlib.compress(row)), depth=16)
    assert decode(data).tolist() == [[[255, 0, 100], [0, 255, 7]]]


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_alpha_is_put_on_white(format: str) -> None:
    image = np.zeros((2, 3, 4), np.uint8)
    image[0, :, 3] = [0, 128, 255]
    image[1, :, 3] = 255
    decoded = decode(encode(image, format, **({"lossless": True, "exact": True} if format == "WEBP" else {})))
    assert decoded[0, :, 0].tolist() == [255, 127, 0]
    assert (decoded[1] == 0).all()


def test_a_transparent_palette_entry_is_white() -> None:
    picture = Image.new("P", (2, 1), 0)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    assert decode(encode(picture, "PNG", transparency=0)).tolist() == [[[255, 255, 255], [0, 0, 255]]]


GREY, RGB = 0, 2


@pytest.mark.parametrize(
    ("colour", "depth", "row", "clear", "other"),
    [
        (GREY, 1, [0b01000000], [0], 255),
        (GREY, 1, [0b10000000], [1], 0),
        (GREY, 2, [0b10010000], [2], 85),
        (GREY, 4, [0x5A], [5], 170),
        (GREY, 4, [0x5A], [0xF5], 170),  # of fewer bits than 16 the lowest count
        (GREY, 8, [7, 9], [7], 9),
        (GREY, 16, [0x12, 0x34, 0x12, 0x35], [0x1234], 18),
        (RGB, 8, [1, 2, 3, 9, 9, 9], [1, 2, 3], 9),
        (RGB, 16, [1, 2, 3, 4, 5, 6] + 6 * [9], [0x102, 0x304, 0x506], 9),
    ],
)
def test_a_transparent_colour_is_white(colour: int, depth: int, row: list[int], clear: list[int], other: int) -> None:
    """Two pixels, the first of the colour that the file calls transparent."""
    transparent = (b"tRNS", struct.pack(f">{len(clear)}H", *clear))
    data = png_of(2, 1, transparent, (b"IDAT", zlib.compress(bytes([0, *row]))), colour=colour, depth=depth)
    assert decode(data).tolist() == [[[255] * 3, [other] * 3]]


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(format: str) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], duration=50, **options)
    assert peek(data).frames == 3
    assert (decode(data) == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("format", "name"), [("GIF", "GIF"), ("BMP", "BMP"), ("TIFF", "TIFF"), ("PDF", "PDF"), ("AVIF", "AVIF")]
)
def test_other_types_are_named_and_refused(format: str, name: str) -> None:
    with pytest.raises(UnsupportedImage, match=f"{name}.*JPEG, PNG and WebP are accepted"):
        decode(encode(photo(), format))


@pytest.mark.parametrize(
    "data", [b"hello, I am a text file", b"<svg/>", b'{"image": 1}', b"\x00" * 64, b"RIFFxxxxWAVEfmt "]
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedImage, match="JPEG, PNG and WebP are accepted"):
        decode(data)


def test_base64_text_is_recognised() -> None:
    with pytest.raises(UnsupportedImage, match=r"base64.*decoded bytes"):
        decode(b"/9j/4AAQSkZJRgABAQAAAQ")


@pytest.mark.parametrize("value", ["a string", None, 3, photo()])
def test_a_wrong_python_type(value: Any) -> None:
    with pytest.raises(InvalidImage, match="expected the bytes"):
        decode(value)


def test_nothing_at_all() -> None:
    with pytest.raises(InvalidImage, match="empty"):
        decode(b"")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_refused(format: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(noise, format)
    with pytest.raises(InvalidImage):
        decode(data[: max(int(len(data) * share), 9)])


@pytest.mark.parametrize("format", FORMATS)
def test_one_pixel(format: str) -> None:
    assert decode(encode(np.full((1, 1, 3), 90, np.uint8), format, quality=95)).shape == (1, 1, 3)


def test_a_bomb_is_refused_by_its_header() -> None:
    # 60000x60000 pixels in 100 bytes: decoding would take 10 GB.
    data = png_of(60000, 60000, (b"IDAT", zlib.compress(b"\x00" * 100)))
    with pytest.raises(ImageTooLarge, match=r"60000x60000.*16384"):
        decode(data)
    with pytest.raises(ImageTooLarge, match=r"16000x16000.*64000000"):
        decode(png_of(16000, 16000, (b"IDAT", zlib.compress(b"\x00" * 100))))


def test_a_jpeg_whose_header_lies_is_refused() -> None:
    data = bytearray(encode(photo(), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)
    with pytest.raises(ImageTooLarge, match="65500x65500"):
        decode(bytes(data))


def test_a_second_frame_header_does_not_get_past_the_limit() -> None:
    data = encode(photo(), "JPEG")
    at = data.index(b"\xff\xc0")
    length = struct.unpack_from(">H", data, at + 2)[0] + 2
    frame = bytearray(data[at : at + length])
    frame[5:9] = struct.pack(">HH", 16000, 16000)
    with pytest.raises(ParsingRCNNError):
        decode(data[:at] + data[at : at + length] + bytes(frame) + data[at + length :])


def test_a_progressive_jpeg_of_very_many_scans_is_refused() -> None:
    data = encode(photo(), "JPEG", progressive=True)
    assert 2 <= peek(data).scans <= 20
    assert decode(data).shape == (48, 64, 3)
    at = data.rindex(b"\xff\xda")
    with pytest.raises(InvalidImage, match="scans, the limit at its size is 100"):
        decode(data[:-2] + data[at:-2] * 200 + data[-2:])


def test_limits() -> None:
    data = encode(photo(), "PNG")
    with pytest.raises(ImageTooLarge, match="bytes, the limit is 10"):
        decode(data, ImageLimits(max_bytes=10))
    with pytest.raises(ImageTooLarge, match=r"64x48.*limit is 3071"):
        decode(data, ImageLimits(max_pixels=64 * 48 - 1))
    with pytest.raises(ImageTooLarge, match=r"64x48.*side is 63"):
        decode(data, ImageLimits(max_side=63))
    assert check(data, ImageLimits(len(data), 64 * 48, 64)).width == 64


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("orientation", [1, 6])
def test_max_side_scales_down_and_never_up(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(photo(480, 640), format, exif=exif, quality=95)
    small = decode(data, max_side=100)
    assert small.shape == ((75, 100, 3) if orientation == 1 else (100, 75, 3))
    whole = decode(data, max_side=5000)
    assert max(whole.shape) == 640
    # The gradient is the same at any size: corner colours stay.
    assert np.abs(small[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int) - whole[[0, 0, -1, -1], [0, -1, 0, -1]]).max() <= 5


def test_other_buffers() -> None:
    data = encode(photo(), "PNG")
    assert np.array_equal(decode(bytearray(data)), photo())
    assert np.array_equal(decode(memoryview(data)), photo())


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_bytes_give_a_picture_or_a_clear_error(format: str, data: st.DataObject) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = bytearray(encode(photo(16, 16), format, exif=exif))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    try:
        image = decode(bytes(raw[:cut]), ImageLimits(max_pixels=1_000_000))
    except (InvalidImage, ImageTooLarge, UnsupportedImage):
        return
    assert image.ndim == 3
    assert image.dtype == np.uint8


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x20\x00\x00\x00WEBP"]), st.binary(max_size=80)
)
def test_random_bytes_are_refused(magic: bytes, tail: bytes) -> None:
    with pytest.raises((InvalidImage, UnsupportedImage, ImageTooLarge)):
        decode(magic + tail)


def test_a_large_picture_may_have_the_usual_scans_only() -> None:
    data = encode(photo(), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    many = data[:at] + data[at:-2] * 12 + data[-2:]  # each is a pass over all pixels, however few its bytes are
    scans = peek(many).scans
    assert 16 < scans < 100
    check(many)
    check(data, ImageLimits(max_pixels=64 * 48))
    with pytest.raises(InvalidImage, match=f"has {scans} scans, the limit at its size is 16"):
        check(many, ImageLimits(max_pixels=64 * 48))


def test_sixteen_bits_become_the_nearest_eight() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(512, 128)  # more rows than one strip
    wanted = np.rint(values / 257.0).astype(np.uint8)
    seen = decode(encode(Image.fromarray(values), "PNG"))
    np.testing.assert_array_equal(seen, np.repeat(wanted[:, :, None], 3, axis=2))


@pytest.mark.parametrize("after", [False, True])
def test_texts_and_profiles_of_a_png_are_not_read(after: bool) -> None:
    """As image generators write them: a few KB that become a MB. The turn is read, wherever it stands."""
    large = zlib.compress(b"a" * 1_300_000)
    exif = struct.pack(">4sIHHHIHH", b"MM\0*", 8, 1, 0x0112, 3, 1, 6, 0)
    texts = [
        (b"zTXt", b"workflow\0\0" + large),
        (b"iTXt", b"prompt\0\1\0\0\0" + large),
        *[(b"tEXt", b"note\0" + b"a" * 500_000)] * 3,
        (b"tEXt", b"transparency\0black"),
        (b"iCCP", b"profile\0\0" + large),
        (b"eXIf", exif),
        (b"zTXt", b"more\0\7" + large),
    ]
    rows = np.pad(photo().reshape(48, -1), ((0, 0), (1, 0)))
    pixels = [(b"IDAT", zlib.compress(rows.tobytes()))]
    png = png_of(64, 48, *(pixels + texts if after else texts + pixels))
    assert np.array_equal(decode(png), np.rot90(photo(), -1))
    half = png[: png.index(b"zTXt") + len(large) // 2]
    with pytest.raises(InvalidImage, match=r"truncated or damaged.*: send it whole"):
        decode(half)


_IDAT = struct.pack(">I4sI", 0, b"IDAT", zlib.crc32(b"IDAT"))


@pytest.mark.parametrize(
    ("format", "part"),
    [("JPEG", b"\xff"), ("JPEG", b"\xff\xd0"), ("JPEG", b"\xff\xfe\0\2"), ("PNG", _IDAT), ("WEBP", b"ANMF\0\0\0\0")],
    ids=["fill bytes", "restart markers", "comments", "PNG chunks", "WebP chunks"],
)
def test_a_header_of_millions_of_parts_is_given_up(format: str, part: bytes) -> None:
    data = encode(photo(), format)
    at = {"JPEG": 2, "PNG": 33, "WEBP": len(data)}[format]  # where a decoder would skip them
    with pytest.raises(InvalidImage, match=r"65536|4096"):
        peek(data[:at] + part * (31 * 2**20 // len(part)) + data[at:])


def test_orientations_by_the_thousand_are_not_all_read() -> None:
    def exif(orientation: int) -> bytes:
        entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
        return b"MM\0*" + struct.pack(">IH", 8, 1) + entry

    blocks = [exif(6), *[exif(3)] * 1000]
    jpeg = encode(photo(), "JPEG")
    segments = [b"\xff\xe1" + struct.pack(">H", 8 + len(b)) + b"Exif\0\0" + b for b in blocks]
    assert peek(jpeg[:2] + b"".join(segments) + jpeg[2:]).orientation == 6  # the first one, as Pillow does
    assert peek(png_of(4, 4, *[(b"eXIf", b) for b in blocks])).orientation == 6


def test_pictures_of_many_parts_are_read() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    # a colour profile of 4 MB lies in 64 KiB segments; comments and fill bytes come on top
    jpeg = encode(photo(), "JPEG", exif=exif, icc_profile=bytes(4_000_000))
    many = jpeg[:2] + b"\xff\xfe\0\6abcd" * 2000 + b"\xff" * 5000 + jpeg[2:]
    header = peek(many)
    assert (header.width, header.height, header.orientation) == (64, 48, 6)
    assert np.array_equal(decode(many), decode(jpeg))
    rows = np.pad(photo(64, 96).reshape(64, -1), ((0, 0), (1, 0)))  # the first byte of a row is its filter: none
    pixels = zlib.compress(rows.tobytes(), 0)
    pieces = [(b"IDAT", pixels[at : at + 1]) for at in range(len(pixels))]  # more than 32 MiB hold of libpng's 8 KiB
    assert len(pieces) > 4096
    png = png_of(96, 64, *pieces, (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    assert np.array_equal(decode(png), np.rot90(photo(64, 96), -1))
