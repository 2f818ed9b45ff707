"""What a caller may give as a picture, and what is said of all else."""

from __future__ import annotations

import gzip
import io
import lzma
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from parsing_rcnn.codecs.image import decode
from parsing_rcnn.codecs.picture import held, load, pixels, still
from parsing_rcnn.errors import InvalidImage, InvalidOptions

COLOURS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
NOISE = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)


def encoded(picture: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **how)
    return buffer.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def test_a_path_bytes_an_array_and_a_picture_of_pillow_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(NOISE)))
    assert load(path) == path.read_bytes()
    assert load(NOISE) is NOISE
    for given in (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), NOISE, Image.fromarray(NOISE)):
        np.testing.assert_array_equal(pixels(given), NOISE)  # type: ignore[arg-type]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pillow_s_pictures_are_turned_as_their_file_is(orientation: int) -> None:
    data = encoded(Image.fromarray(NOISE), exif=turned(orientation))
    found = pixels(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(found, decode(data))
    assert found.shape == ((40, 30, 3) if orientation < 5 else (30, 40, 3))
    np.testing.assert_array_equal(pixels(Image.fromarray(found)), found)  # no orientation any more


def test_pillow_s_pictures_are_turned_by_exif_alone_as_their_file_is() -> None:
    turn = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    for kind in ("JPEG", "WEBP"):
        data = encoded(Image.fromarray(NOISE), kind, xmp=turn)
        picture = Image.open(io.BytesIO(data))
        assert picture.getexif()[0x0112] == 6
        assert pixels(picture).shape == decode(data).shape == NOISE.shape


@pytest.mark.parametrize(("exif", "lies"), [(b"", False), (b"garbage", False), (turned(6).tobytes()[6:], True)])
def test_pillow_s_pictures_of_damaged_exif_are_turned_as_their_file_is(exif: bytes, lies: bool) -> None:
    data = encoded(Image.fromarray(NOISE), "JPEG", exif=b"Exif\0\0" + exif)
    found = pixels(Image.open(io.BytesIO(data)))
    assert found.shape == decode(data).shape == ((30, 40, 3) if lies else (40, 30, 3))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_pillow_s_pictures_of_other_modes_become_what_their_file_does(mode: str) -> None:
    if mode == "I;16":
        picture = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(NOISE).convert(mode)
    if mode in ("RGBA", "LA"):
        picture.putalpha(Image.fromarray(NOISE[..., 1]))
    np.testing.assert_array_equal(pixels(picture), decode(encoded(picture)))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_pillow_s_pictures_of_other_colours_are_rgb(mode: str) -> None:
    np.testing.assert_allclose(pixels(Image.fromarray(NOISE).convert(mode)).astype(int), NOISE, atol=3)  # rounded twice


def test_transparency_is_put_on_white() -> None:
    assert pixels(Image.new("RGBA", (2, 1), (200, 0, 0, 0))).tolist() == [[[255, 255, 255]] * 2]


def test_pillow_s_pictures_whose_white_nobody_knows_are_refused() -> None:
    grey = Image.fromarray(NOISE[..., 0])
    for mode, remedies in (("F", ["L"]), ("I", ["L", "I;16"])):
        with pytest.raises(InvalidImage, match=rf'mode "{mode}" does not say which value is white') as refused:
            load(grey.convert(mode))
        for remedy in remedies:
            assert f'picture.convert("{remedy}")' in str(refused.value)
    np.testing.assert_array_equal(pixels(grey.convert("I").convert("L")), pixels(grey))
    wide = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)
    np.testing.assert_array_equal(pixels(wide.convert("I").convert("I;16")), pixels(grey))
    graymap = Image.open(io.BytesIO(encoded(wide, "PPM")))
    assert graymap.mode == "I"
    np.testing.assert_array_equal(pixels(graymap), pixels(grey))


class Slow(io.BytesIO):
    """A file whose reader gives way to other threads."""

    def read(self, size: int | None = -1, /) -> bytes:
        time.sleep(0.0005)
        return super().read(size)


def test_threads_may_share_a_picture_that_pillow_has_not_read_yet() -> None:
    data = encoded(Image.fromarray(np.tile(NOISE, (8, 8, 1))), "JPEG", quality=95)
    wanted = pixels(Image.open(io.BytesIO(data)))
    with ThreadPoolExecutor(8) as threads:
        for _ in range(4):
            picture = Image.open(Slow(data))
            for found in threads.map(pixels, [picture] * 8):
                np.testing.assert_array_equal(found, wanted)


def test_a_damaged_file_in_pillow_is_said() -> None:
    lazy = Image.open(io.BytesIO(encoded(Image.fromarray(NOISE), "JPEG")[:-200]))
    with pytest.raises(InvalidImage, match=r"picture of Pillow cannot be read .*: give its bytes or path"):
        load(lazy)
    with pytest.raises(InvalidImage, match="it is empty"):
        load(Image.new("RGB", (0, 4)))


def test_opencv_s_arrays_are_turned_round() -> None:
    assert load(COLOURS[..., ::-1], bgr=True).tolist() == COLOURS.tolist()  # type: ignore[union-attr]
    frame = COLOURS.copy()
    load(frame, bgr=True)
    np.testing.assert_array_equal(frame, COLOURS)


@pytest.mark.parametrize("given", [b"\xff\xd8\xff", "a.jpg", Path("a.jpg"), Image.new("RGB", (4, 4))])
def test_bgr_is_of_arrays_alone(given: Any) -> None:
    with pytest.raises(InvalidOptions, match=r"^bgr: says how the channels of an array lie; .* leave bgr out$"):
        load(given, bgr=True)


@pytest.mark.parametrize(
    ("array", "remedy", "mended"),
    [
        (COLOURS[..., 0], "np.dstack([image] * 3)", lambda image: np.dstack([image] * 3)),
        (COLOURS[..., :1], "np.dstack([image] * 3)", lambda image: np.dstack([image] * 3)),
        (np.dstack([COLOURS, COLOURS[..., :1]]), "image[..., :3]", lambda image: image[..., :3]),
        (COLOURS.transpose(2, 0, 1), "image.transpose(1, 2, 0)", lambda image: image.transpose(1, 2, 0)),
        (
            COLOURS / 255,
            "(image * 255).round().astype(np.uint8)",
            lambda image: (image * 255).round().astype(np.uint8),
        ),
        (
            COLOURS.astype(np.uint16) * 257,
            "(image // 257).astype(np.uint8)",
            lambda image: (image // 257).astype(np.uint8),
        ),
        (COLOURS[None], "one picture at a time", lambda images: images[0]),
        (np.zeros((0, 4, 3), np.uint8), "it is empty", lambda _: COLOURS),
    ],
)
def test_the_error_for_a_wrong_array_says_how_to_convert_it(array: NDArray[Any], remedy: str, mended: Any) -> None:
    with pytest.raises(InvalidImage) as refused:
        load(array)
    said = str(refused.value)
    assert said.startswith(f"an image array is uint8 [height,width,3] RGB, this one is {array.dtype} {array.shape}: ")
    assert remedy in said
    assert np.asarray(load(mended(array))).shape == COLOURS.shape


def test_what_is_no_picture_is_named() -> None:
    for given, says in (
        (None, r"^NoneType is no picture: give bytes, a path, .* or a picture of Pillow$"),
        ([NOISE, NOISE], "list is no picture: .*several pictures go to analyze_many"),
        (type("Tensor", (), {"__module__": "torch"})(), r"torch tensor is no picture: .*permute\(1, 2, 0\)\.cpu\(\)"),
    ):
        with pytest.raises(InvalidImage, match=says):
            load(given)  # type: ignore[arg-type]


def test_pillow_is_imported_only_for_its_own_pictures() -> None:
    program = "import sys; from parsing_rcnn.codecs.picture import load; load(b'x'); assert 'PIL' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).resolve().parents[3])


def test_an_open_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(NOISE)))
    with path.open("rb") as file:
        assert load(file) == path.read_bytes()
        with pytest.raises(InvalidImage, match=r"^BufferedReader: nothing is left to read: seek\(0\) before"):
            load(file)
        file.seek(0)
        np.testing.assert_array_equal(pixels(file), NOISE)
    assert load(io.BytesIO(path.read_bytes())) == path.read_bytes()
    with pytest.raises(InvalidImage, match=r"^BufferedReader: it cannot be read \(read of closed file\)"):
        load(file)
    with path.open(encoding="latin-1") as text, pytest.raises(InvalidImage, match="gives str, no bytes: open files"):
        load(text)  # type: ignore[arg-type]
    with pytest.raises(InvalidImage, match=r"VideoCapture: its read.. gives tuple, no bytes: .* give the frames"):
        load(cv2.VideoCapture())  # type: ignore[arg-type]


def damaged_member() -> Any:
    """An open member of a zip, whose checksum is another one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.jpg", b"a picture")
    return zipfile.ZipFile(io.BytesIO(buffer.getvalue().replace(b"a picture", b"b picture"))).open("a.jpg")


def cut_gzip() -> Any:
    return gzip.open(io.BytesIO(gzip.compress(bytes(99))[:-4]))


def no_xz() -> Any:
    return lzma.open(io.BytesIO(b"no xz"))


class Failing:
    """Reads like a file, and fails without a word."""

    def read(self) -> bytes:
        raise RuntimeError


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (damaged_member(), r"^ZipExtFile: it cannot be read \(Bad CRC-32 for file 'a\.jpg'\)$"),
        (cut_gzip(), r"^GzipFile: it cannot be read \(Compressed file ended"),
        (no_xz(), r"^LZMAFile: it cannot be read \("),
        (Failing(), r"^Failing: it cannot be read \(RuntimeError\)$"),
    ],
    ids=["zip", "gzip", "xz", "silent"],
)
def test_whatever_an_open_file_raises_is_of_the_picture(file: Any, says: str) -> None:
    with pytest.raises(InvalidImage, match=says):
        load(file)


def test_what_is_held_does_not_change_any_more(tmp_path: Path) -> None:
    buffer = np.zeros((4, 4, 3), np.uint8)
    kept = held(buffer)
    data = bytearray(b"abc")
    kept_data = held(data)
    file = io.BytesIO(b"picture")
    assert held(file) == b"picture"
    buffer += 9
    data[:] = b"xyz"
    assert kept_data == b"abc"
    np.testing.assert_array_equal(kept, 0)  # type: ignore[arg-type]
    for same in (b"abc", "a.jpg", tmp_path):
        assert held(same) is same


def test_frames_of_one_buffer_that_is_filled_again_are_their_own() -> None:
    buffer = np.zeros((4, 4, 3), np.uint8)

    def frames() -> Iterator[NDArray[np.uint8]]:
        for number in range(5):
            buffer[:] = number
            yield buffer

    assert [int(pixels(frame)[0, 0, 0]) for frame in list(still(frames()))] == list(range(5))
