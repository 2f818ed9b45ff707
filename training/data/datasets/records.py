"""What every reader gives: one picture with everything that its dataset says of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.codecs.header import peek
from parsing_rcnn.errors import InvalidImage, ParsingRCNNError
from training.data.sample import IGNORE_LABEL, mask_box
from training.data.sources import read_map
from training.errors import DatasetError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")  # suffixes of what may be meant as one
_HEADER_BYTES = 1 << 18  # enough for nearly all; a thumbnail in EXIF may come before the size


@dataclass(frozen=True, eq=False)
class DensePosePoints:
    """Annotated points of a person (Guler et al. 2018).

    Attributes:
        x, y: float32 [k] in the 256x256 frame of the person's box.
        part: int64 [k], 1..24; u, v: float32 [k] in 0..1.
        regions: uint8 [256,256], 1..14 (`parsing_rcnn.taxonomy.DENSEPOSE_COARSE`), 0 where nothing is painted.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    part: NDArray[np.int64]
    u: NDArray[np.float32]
    v: NDArray[np.float32]
    regions: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Annotated:
    """One person.

    Attributes:
        box: float32 [4], (x1, y1, x2, y2) in pixels.
        crowd: a region of many people, or of somebody of whom nothing is known: neither person nor background.
        label: the value of this person in `Record.instances`, 0 without part labels.
        points: of DensePose; keypoints: float32 [17,3] of COCO: x, y in pixels from the picture's corner, so that the
            middle of the first pixel is .5, and visibility 0..2.
        area: pixels of the silhouette, None where nobody says.
        parts: uint8, the classes of this person alone in the pixels of the box, where a dataset has a map a person:
            also where others are in front in `Record.parts`.
    """

    box: NDArray[np.float32]
    crowd: bool = False
    label: int = 0
    points: DensePosePoints | None = None
    keypoints: NDArray[np.float32] | None = None
    area: float | None = None
    parts: NDArray[np.uint8] | None = None

    def map_in(self, record: Record) -> NDArray[np.uint8]:
        """This person's classes on the whole picture of a record with parts, [H,W]; 0 where the person is not, and 255
        where nobody says who or what is there."""
        assert record.parts is not None
        if self.parts is None:
            found = np.where(record.instances == self.label, record.parts, 0).astype(np.uint8)
        else:
            found = np.zeros(record.size, np.uint8)
            x1, y1, x2, y2 = self.box.astype(int)
            found[y1:y2, x1:x2] = self.parts
        found[(found == 0) & (record.parts == IGNORE_LABEL)] = IGNORE_LABEL
        return found


@dataclass(frozen=True, eq=False)
class Record:
    """One picture.

    Attributes:
        image: its file.
        size: (height, width).
        people: everybody annotated.
        parts: uint8 [H,W] class ids of all people; instances: uint8 [H,W], `Annotated.label` of whoever is there.
        doubt: a sentence on maps that can be read and are hardly right.
    """

    image: Path
    size: tuple[int, int]
    people: tuple[Annotated, ...]
    parts: NDArray[np.uint8] | None = None
    instances: NDArray[np.uint8] | None = None
    doubt: str | None = None


class Reader(Protocol):
    """Pictures of one split of one dataset, in a fixed order.

    Attributes:
        name: what people call it.
        validation: whether its authors keep it for measuring; a folder's splits of this kind are never trained on.
        classes: of its part labels, background included; None where it has none.
        keypoints, densepose: whether there are any, and any annotated points of DensePose.
    """

    name: str
    validation: bool
    classes: int | None
    keypoints: bool
    densepose: bool

    def __len__(self) -> int: ...

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of picture `index`, without decoding it.

        Raises:
            DatasetError: the file is missing or no picture.
        """
        ...

    def useful(self, *, keypoints: bool = False) -> NDArray[np.int64]:
        """Indices of the pictures that somebody can be learnt from; `keypoints`: by keypoints."""
        ...

    def strays(self) -> Iterator[str]:
        """What lies there and belongs to no picture, one sentence a file."""
        ...

    def read(self, index: int) -> Record:
        """Picture `index`; its own pixels are not decoded, and not looked at beyond the header.

        Raises:
            DatasetError: a file is missing or holds what it should not; the message names it.
        """
        ...


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """A picture as stored, uint8 [H,W,3] RGB: labels are of its pixels before any EXIF turn.

    Raises:
        DatasetError: missing or no picture.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise DatasetError(f"{path}: missing, or cannot be read as a picture")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def as_labelled(path: Path) -> bytes | NDArray[np.uint8]:
    """A picture for an analyzer: the file, or its pixels where EXIF would have it turned and its labels are not.

    Raises:
        DatasetError: missing or no picture.
    """
    try:
        data = path.read_bytes()
        return data if peek(data).orientation == 1 else read_pixels(path)
    except (OSError, ParsingRCNNError) as error:
        raise DatasetError(f"{path}: missing, or cannot be read as a picture ({error})") from error


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture as stored; all of it is decoded.

    Raises:
        DatasetError: missing or no picture.
    """
    height, width = read_pixels(path).shape[:2]
    return height, width


def header_size(path: Path) -> tuple[int, int]:
    """(height, width) by the first bytes of a picture, as stored (EXIF orientation is not applied).

    Raises:
        DatasetError: missing or no picture.
    """
    try:
        with path.open("rb") as file:
            first = file.read(_HEADER_BYTES)
            try:
                header = peek(first)
            except InvalidImage:
                header = peek(first + file.read())
    except (OSError, ParsingRCNNError) as error:
        raise DatasetError(f"{path}: missing, or cannot be read as a picture ({error})") from error
    return header.height, header.width


def people_of_maps(parts: NDArray[np.uint8], instances: NDArray[np.uint8], where: Path) -> tuple[Annotated, ...]:
    """Everybody in a pair of maps, boxes around what is visible. Parts where nobody is make no person, and no more does
    255 in the map of people: nobody says whose pixels these are.

    Raises:
        DatasetError: the maps have unequal sizes.
    """
    if parts.shape != instances.shape:
        raise DatasetError(f"{where}: {instances.shape} pixels, but the class map has {parts.shape}")
    people = []
    for label in np.unique(instances[(instances > 0) & (instances != IGNORE_LABEL)]):
        box = mask_box((instances == label) & (parts > 0))
        if box is not None:
            people.append(Annotated(box, label=int(label)))
    return tuple(people)


def strays_of(images: Path, maps: Mapping[Path, str]) -> Iterator[str]:
    """What to say of maps whose picture is not read: where it lies otherwise, once a picture.

    Args:
        images: the folder of the pictures; maps: each with the name that its picture should have, without .jpg.
    """
    named = set(maps.values())
    lying = {
        path.stem: path
        for path in (sorted(images.rglob("*")) if named else ())
        if path.stem in named and path.suffix.lower() in PICTURE_SUFFIXES
    }
    for path in lying.values():
        yield f"{path}: not read, and so its maps are not; pictures are NAME.jpg in {images} itself: move or rename it"
    for path, stem in maps.items():
        if stem not in lying:
            yield f"{path}: a map of no picture in {images}"


def record_of_files(image: Path, files: Sequence[Path], classes: int | None) -> Record:
    """A picture, which is not decoded, whose people have a class map each, as files; where two overlap, the later one
    is in front in the maps of the picture, and everybody keeps an own one.

    What is 255 in one of them belongs to nobody: it makes no box larger and hides no one. Somebody of whom nothing else
    is known is a region where people may be.

    Args:
        classes: see `read_map`.

    Raises:
        DatasetError: a file is missing, broken, or not of the picture's size.
    """
    size = header_size(image)
    parts, instances, unsaid = np.zeros(size, np.uint8), np.zeros(size, np.uint8), np.zeros(size, bool)
    people = []
    for label, path in enumerate(files, start=1):
        own = read_map(path, classes)
        if own.shape != size:
            raise DatasetError(f"{path}: {own.shape} pixels, but {image.name} has {size}")
        ignored = own == IGNORE_LABEL
        mask = (own > 0) & ~ignored
        parts[mask], instances[mask] = own[mask], label
        unsaid |= ignored
        box = mask_box(mask)
        if box is not None:
            x1, y1, x2, y2 = box.astype(int)
            people.append(Annotated(box, label=label, parts=own[y1:y2, x1:x2].copy()))
        elif (box := mask_box(ignored)) is not None:
            people.append(Annotated(box, crowd=True))
    parts[unsaid & (instances == 0)] = IGNORE_LABEL
    return Record(image, size, tuple(people), parts, instances)
