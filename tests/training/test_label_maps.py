"""Label maps as different programs write them: read as the numbers that they hold, or refused by name."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from parsing_rcnn.codecs.png import encode_palette
from parsing_rcnn.taxonomy import CIHP, MHP
from training.data.datasets.cihp import RawCihp
from training.data.datasets.mhp import RawMhp
from training.data.shrink import shrink
from training.data.sources import LabelledPhotos, read_map
from training.errors import DatasetError

LABELS = np.zeros((40, 60), np.uint8)
LABELS[5:35, 10:50], LABELS[5:12, 10:50], LABELS[30:35, 10:50] = 5, 13, 255


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def indexed(labels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    picture = Image.fromarray(labels).convert("P")
    picture.putpalette(palette.tobytes())
    return png(picture)


def of_greys(labels: NDArray[np.uint8]) -> bytes:
    """What a lossless compressor makes of a grey PNG of few values: colours that are in it, numbered anew."""
    values, numbers = np.unique(labels, return_inverse=True)
    return indexed(numbers.reshape(labels.shape).astype(np.uint8), np.repeat(values[:, None], 3, 1))


def channels(*planes: NDArray[np.uint8]) -> bytes:
    return png(Image.fromarray(np.dstack(planes)))


def shallow(labels: NDArray[Any], bits: int) -> bytes:
    """A grey PNG of fewer bits, the numbers as they are."""
    rows = np.unpackbits(labels.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :].reshape(len(labels), -1)
    packed = b"".join(b"\0" + np.packbits(row).tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", labels.shape[1], labels.shape[0], bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(packed)), (b"IEND", b""))
    body = (struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


NOTHING = np.zeros_like(LABELS)
SOLID = np.full_like(LABELS, 255)
READ = {
    "grey": png(Image.fromarray(LABELS)),
    "grey and alpha": channels(LABELS, SOLID),
    "CIHP's palette": indexed(LABELS, np.resize(CIHP.palette, (256, 3))),
    "MHP's palette": indexed(LABELS, np.resize(MHP.palette, (256, 3))),
    "a palette of greys": of_greys(LABELS),
    "three equal channels": channels(LABELS, LABELS, LABELS),
    "red alone": channels(LABELS, NOTHING, NOTHING),
    "four channels": channels(LABELS, LABELS, LABELS, SOLID),
}
REFUSED = {
    "colours": (png(Image.fromarray(np.resize(CIHP.palette, (256, 3))[LABELS])), "three unequal channels"),
    "green alone": (channels(NOTHING, LABELS, NOTHING), "three unequal channels"),
    "4 bits of grey": (shallow(LABELS % 14, 4), "grey of 4 bits, which decoders spread over 0..255"),
    "1 bit of grey": (shallow(LABELS > 0, 1), "grey of 1 bits, which decoders spread over 0..255"),
    "16 bits": (png(Image.fromarray(LABELS.astype(np.uint16))), "uint16 pixels; a label map has 8 bits"),
    "other classes": (png(Image.fromarray(np.where(LABELS == 13, 58, LABELS))), "class 58, but the highest is 19"),
    "a palette of other classes": (
        indexed(np.where(LABELS == 13, 58, LABELS), np.resize(MHP.palette, (256, 3))),
        "class 58, but the highest is 19",
    ),
    "half a palette PNG": (READ["CIHP's palette"][:-40], "cannot be read as a picture"),
    "nothing": (b"", "cannot be read as a picture"),
}


def photos(root: Path, data: bytes) -> Path:
    """Labelled photos in the layout of ccp, all with this label map."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for number in range(1, 5):
        cv2.imwrite(str(root / f"images/{number:04d}.jpg"), np.full((*LABELS.shape, 3), 99, np.uint8))
        (root / f"labels/{number:04d}.png").write_bytes(data)
    return root


@pytest.mark.parametrize("kind", READ)
def test_numbers_are_read_in_whatever_way_they_are_kept(tmp_path: Path, kind: str) -> None:
    found = LabelledPhotos.open(photos(tmp_path / "ccp", READ[kind]))
    np.testing.assert_array_equal(found.read(0)[1], LABELS)
    shrink(tmp_path, tmp_path / "out", 60, 90, lambda paths, _: paths)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "out/ccp/labels/0001.png"), cv2.IMREAD_UNCHANGED), LABELS)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_holds_no_numbers_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    data, says = REFUSED[kind]
    photos(tmp_path / "ccp", data)
    with pytest.raises(DatasetError, match=rf"0001\.png: .*{says}") as refusal:
        LabelledPhotos.open(tmp_path / "ccp")
    remedies = ("as an 8-bit grey PNG", "correct the map, or name the class in model.taxonomy")
    assert "read as a picture" in says or any(remedy in str(refusal.value) for remedy in remedies)


def test_the_gateways_own_maps_with_colours_are_read(tmp_path: Path) -> None:
    (tmp_path / "map.png").write_bytes(encode_palette(np.where(LABELS == 255, 0, LABELS)))
    np.testing.assert_array_equal(read_map(tmp_path / "map.png", len(CIHP)), np.where(LABELS == 255, 0, LABELS))


def test_a_label_map_of_another_size_is_named(tmp_path: Path) -> None:
    found = LabelledPhotos.open(photos(tmp_path, png(Image.fromarray(LABELS[:9]))))
    with pytest.raises(DatasetError, match=r"0001\.png: \(9, 60\) pixels, but 0001\.jpg has \(40, 60\)"):
        found.read(0)


def test_nobody_is_nobody_in_any_number_of_bits(tmp_path: Path) -> None:
    (tmp_path / "map.png").write_bytes(shallow(np.zeros((6, 8)), 1))
    assert not read_map(tmp_path / "map.png").any()


COLOURS = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]], np.uint8)  # of PASCAL VOC


def four_people() -> NDArray[np.uint8]:
    people = np.zeros((40, 160), np.uint8)
    for number in range(4):
        people[5:35, 5 + 38 * number : 35 + 38 * number] = number + 1
    return people


def test_people_by_a_palette_are_as_many_as_there_are(tmp_path: Path) -> None:
    people, split = four_people(), tmp_path / "Training"
    for folder in ("Images", "Category_ids", "Human_ids"):
        (split / folder).mkdir(parents=True)
    cv2.imwrite(str(split / "Images/1.jpg"), np.full((40, 160, 3), 99, np.uint8))
    cv2.imwrite(str(split / "Category_ids/1.png"), np.where(people > 0, 5, 0))
    (split / "Human_ids/1.png").write_bytes(indexed(people, COLOURS))
    (reader,) = RawCihp.find(tmp_path)
    assert [person.label for person in reader.read(0).people] == [1, 2, 3, 4]
    (split / "Human_ids/1.png").write_bytes(png(Image.fromarray(COLOURS[people])))  # the archive's folder of colours
    with pytest.raises(DatasetError, match=r"Human_ids/1\.png: three unequal channels"):
        reader.read(0)


def test_mhp_is_read_from_red_as_it_is_published(tmp_path: Path) -> None:
    people, folder = four_people(), tmp_path / "train"
    for name in ("images", "parsing_annos"):
        (folder / name).mkdir(parents=True)
    cv2.imwrite(str(folder / "images/7.jpg"), np.full((40, 160, 3), 99, np.uint8))
    for number, label in enumerate((4, 5, 12, 58), 1):
        own = np.where(people == number, label, 0).astype(np.uint8)
        data = channels(own, np.zeros_like(own), np.zeros_like(own)) if number % 2 else indexed(own, MHP.palette)
        (folder / f"parsing_annos/7_04_0{number}.png").write_bytes(data)
    (reader,) = RawMhp.find(tmp_path)
    parts = [person.parts for person in reader.read(0).people]
    assert [np.unique(own).tolist() for own in parts if own is not None] == [[4], [5], [12], [58]]
