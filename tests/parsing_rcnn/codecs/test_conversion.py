"""What comes out is what Pillow's own conversion of the whole picture gives, and takes little memory on the way."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from parsing_rcnn.codecs import strips
from parsing_rcnn.codecs.image import decode, from_pillow
from parsing_rcnn.errors import InvalidImage

ROOT = Path(__file__).resolve().parents[3]
SIZES = [(1, 1), (7, 5), (33, 17), (16, 64)]


@pytest.fixture(autouse=True)
def in_several_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "_PIXELS", 100)


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    return Image.fromarray(values)


def encoded(picture: Image.Image, kind: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **how)
    return buffer.getvalue()


def whole(data: bytes) -> NDArray[np.uint8]:
    """The upright picture on white, converted at once."""
    with Image.open(io.BytesIO(data)) as picture:
        upright = ImageOps.exif_transpose(picture)
    if "A" in upright.mode or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        white = Image.new("RGB", upright.size, "white")
        white.paste(upright, mask=upright)
        upright = white
    return np.asarray(upright.convert("RGB"))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_png(mode: str, size: tuple[int, int]) -> None:
    data = encoded(noise(size).convert(mode), "PNG")
    assert np.array_equal(decode(data), whole(data))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("clear", [3, bytes(range(0, 256, 16))])
def test_palettes_with_transparency(clear: int | bytes, size: tuple[int, int]) -> None:
    data = encoded(noise(size).convert("RGB").quantize(16), "PNG", transparency=clear)
    assert np.array_equal(decode(data), whole(data))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["PA", "RGBa", "CMYK", "YCbCr", "HSV"])
def test_pictures_of_pillow(mode: str, size: tuple[int, int]) -> None:
    before = {"PA": "LA", "RGBa": "RGBA"}.get(mode, "RGB")
    picture = noise(size).convert(before).convert(mode)
    upright = picture
    if before != "RGB":
        upright = Image.new("RGB", size, "white")
        upright.paste(picture.convert("RGBA"), mask=picture.convert("RGBA"))
    assert np.array_equal(from_pillow(picture), np.asarray(upright.convert("RGB")))


@pytest.mark.parametrize("size", SIZES)
def test_sixteen_bits(size: tuple[int, int]) -> None:
    grey = np.asarray(noise(size))[..., :2].copy().view(np.uint16)[..., 0]
    expected = np.rint(grey / 257).astype(np.uint8)
    assert np.array_equal(decode(encoded(Image.fromarray(grey), "PNG")), np.dstack([expected] * 3))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize(
    "how", [{"lossless": True}, {"lossless": True, "exact": True}, {"quality": 30}, {"quality": 90, "method": 6}]
)
def test_webp(how: dict[str, Any], mode: str, size: tuple[int, int]) -> None:
    data = encoded(noise(size).convert(mode), "WEBP", **how)
    assert np.array_equal(decode(data), whole(data))
    extended = encoded(noise(size).convert(mode), "WEBP", icc_profile=b"profile", **how)
    assert np.array_equal(decode(extended), whole(data))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_webp_turned_by_exif(orientation: int, mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(noise((33, 17)).convert(mode), "WEBP", exif=exif)
    assert np.array_equal(decode(data), whole(data))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("how", [{"lossless": True}, {"quality": 50}, {"allow_mixed": True}])
def test_animated_webp(how: dict[str, Any], mode: str, size: tuple[int, int]) -> None:
    frames = [noise(size, seed).convert(mode) for seed in (1, 2)]
    data = encoded(
        frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=40, background=(9, 8, 7, 6), **how
    )
    assert np.array_equal(decode(data), whole(data))


@pytest.mark.parametrize("flags", [0x02, 0x12])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [False, True])
def test_a_first_frame_that_is_smaller_than_its_canvas(lossless: bool, mode: str, flags: int) -> None:
    still = encoded(noise((10, 6)).convert(mode), "WEBP", lossless=lossless)
    pixels = still[12:] if still[12:16] != b"VP8X" else still[30:]
    frame = b"".join(struct.pack("<I", value)[:3] for value in (2, 3, 9, 5, 40)) + b"\0" + pixels
    parts = [
        (b"VP8X", bytes([flags, 0, 0, 0]) + struct.pack("<I", 32)[:3] + struct.pack("<I", 16)[:3]),
        (b"ANIM", bytes(6)),
        (b"ANMF", frame),
        (b"ANMF", frame),
    ]
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(part)) + part for kind, part in parts)
    data = b"RIFF" + struct.pack("<I", len(body)) + body
    found = decode(data)
    assert found.shape == (17, 33, 3)
    assert found[0, 0, 0] == (255 if flags & 0x10 else 0)
    assert np.array_equal(found, whole(data))


def test_lossless_webp_whose_metadata_forget_its_alpha() -> None:
    still = encoded(noise((10, 6)).convert("RGBA"), "WEBP", lossless=True)
    assert still[12:16] == b"VP8L"
    head = bytes([0x08, 0, 0, 0]) + struct.pack("<I", 9)[:3] + struct.pack("<I", 5)[:3]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + head + still[12:]
    data = b"RIFF" + struct.pack("<I", len(body)) + body
    assert np.array_equal(decode(data), whole(data))
    assert np.array_equal(decode(data), decode(still))


@pytest.mark.parametrize("how", [{}, {"save_all": True}])
def test_damaged_webp(how: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    more = {"append_images": [noise((33, 17), 1)]} if "save_all" in how else {}
    data = encoded(noise((33, 17)), "WEBP", lossless=True, **how, **more)
    with pytest.raises(InvalidImage, match=r"WEBP is truncated or damaged \(could not create decoder object\): send"):
        decode(data[: len(data) // 2])
    begin = data.index(b"VP8L") + 13
    with pytest.raises(InvalidImage, match=r"WEBP is truncated or damaged \(failed to read next frame\): send"):
        decode(data[:begin] + bytes(400) + data[begin + 400 :])
    assert capfd.readouterr().err == ""


def test_what_follows_damaged_pixels_of_a_webp_is_not_read_as_more_of_them() -> None:
    data = encoded(noise((33, 17)).convert("RGB"), "WEBP", quality=50)
    length = struct.unpack_from("<I", data, 16)[0]
    short = length // 4 & ~1
    rest = b"EXIF" + struct.pack("<I", length - short - 8) + data[20 + short + 8 : 20 + length]
    head = struct.pack("<I", 0x08) + struct.pack("<I", 32)[:3] + struct.pack("<I", 16)[:3]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + head + b"VP8 " + struct.pack("<I", short) + data[20 : 20 + short]
    cut = b"RIFF" + struct.pack("<I", len(body + rest)) + body + rest
    with pytest.raises(InvalidImage, match="failed to read next frame"):
        decode(cut)


PEAK = """
import re, sys
from pathlib import Path
from parsing_rcnn.codecs.image import decode
def most():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
data = sys.stdin.buffer.read()
before = most()
try:
    decode(data)
except Exception as error:
    assert "damaged" in str(error), error
print(most() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize(
    "kind", ["RGB png", "RGBA png", "LA png", "I;16 png", "RGBA webp", "cut webp", "animated webp"]
)
def test_memory_of_decoding(kind: str) -> None:
    """Bytes of a pixel at the peak: 8 at the most, where 14 to 22 were."""
    side = 4000
    mode, _, format = kind.partition(" ")
    picture = Image.new(mode if mode in ("RGB", "LA", "I;16") else "RGBA", (side, side), 77 if mode == "I;16" else None)
    how: dict[str, Any] = {"compress_level": 1}
    if format == "webp":
        how = {"lossless": True, "quality": 0, "method": 0}
    if mode == "animated":
        how |= {"save_all": True, "append_images": [Image.new("RGBA", (side, side), "red")]}
    data = encoded(picture, format, **how)
    if mode == "cut":
        data = data[:25] + bytes(len(data) - 25)
    done = subprocess.run([sys.executable, "-c", PEAK], input=data, capture_output=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) / side**2 < 10.5
