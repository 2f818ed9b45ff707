"""What every reader gives: one picture with everything that its dataset says of it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.codecs import rle
from parsing_rcnn.codecs.header import peek
from parsing_rcnn.errors import ParsingRCNNError
from training.data.sources import DatasetError

_HEADER_BYTES = 1 << 18  # a thumbnail in EXIF may come before the size
_FRAME = 256  # DensePose-COCO: side of the frame in which regions are painted and points placed
# what is read of a COCO file's pictures and annotations: outlines, which nothing here asks for, are most of one
_OF_IMAGE = ("id", "file_name", "height", "width")
_OF_ROW = (
    *("id", "image_id", "category_id", "bbox", "iscrowd", "area", "keypoints", "parsing"),
    *("dp_masks", "dp_x", "dp_y", "dp_I", "dp_U", "dp_V"),
)


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
        crowd: a region of many people, neither person nor background.
        label: the value of this person in `Record.instances`, 0 without part labels.
        points: of DensePose; keypoints: float32 [17,3] of COCO: x, y in pixels from the picture's corner, so that the
            middle of the first pixel is .5, and visibility 0..2.
        area: pixels of the silhouette, None where nobody says.
    """

    box: NDArray[np.float32]
    crowd: bool = False
    label: int = 0
    points: DensePosePoints | None = None
    keypoints: NDArray[np.float32] | None = None
    area: float | None = None


@dataclass(frozen=True, eq=False)
class Record:
    """One picture.

    Attributes:
        image: its file.
        size: (height, width).
        people: everybody annotated.
        parts: uint8 [H,W] class ids of all people; instances: uint8 [H,W], `Annotated.label` of whoever is there.
    """

    image: Path
    size: tuple[int, int]
    people: tuple[Annotated, ...]
    parts: NDArray[np.uint8] | None = None
    instances: NDArray[np.uint8] | None = None


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
        """Picture `index`.

        Raises:
            DatasetError: a file is missing or holds what it should not; the message names it.
        """
        ...


def read_map(path: Path, classes: int | None = None) -> NDArray[np.uint8]:
    """An 8-bit label map [H,W]; of several equal channels the first (MHP v2 writes three).

    Args:
        classes: values must be smaller than this (None: any), or 255.

    Raises:
        DatasetError: missing, of another type, or with other values.
    """
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise DatasetError(f"{path}: missing, or cannot be read as a picture")
    if found.dtype != np.uint8:
        raise DatasetError(f"{path}: {found.dtype} pixels; a label map has 8 bits")
    # OpenCV's channels are in reverse: the file's first one is the last here
    plane = found if found.ndim == 2 else found[..., 2]
    if classes is not None:
        values = np.unique(plane)
        wrong = values[(values >= classes) & (values != 255)]
        if len(wrong):
            raise DatasetError(f"{path}: class {int(wrong[0])}, but the highest is {classes - 1}")
    return np.ascontiguousarray(plane)


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
            header = peek(file.read(_HEADER_BYTES))
    except (OSError, ParsingRCNNError) as error:
        raise DatasetError(f"{path}: missing, or cannot be read as a picture ({error})") from error
    return header.height, header.width


class _Texts(Sequence[Any]):
    """Values that are kept as JSON in one buffer, and read when they are asked for.

    As Python objects they take twenty times the memory, once more in every process that reads pictures: it counts
    references to them, and so writes to what it would share.
    """

    def __init__(self, values: Iterable[Any]) -> None:
        texts = [json.dumps(value, separators=(",", ":")).encode() for value in values]
        self._ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
        self._text = np.frombuffer(b"".join(texts), np.uint8)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: Any) -> Any:
        index = range(len(self))[index]  # counts from the end too, and stops an iteration
        return json.loads(self._text[self._ends[index] : self._ends[index + 1]].tobytes())


@dataclass(frozen=True, eq=False)
class CocoFile:
    """A COCO annotation file by picture.

    Attributes:
        images: what the file says of each picture, in the order of their ids.
        rows: the annotations of each, in the same order.
        keys: that some annotation has.
    """

    path: Path
    images: Sequence[dict[str, Any]]
    rows: Sequence[list[dict[str, Any]]]
    keys: frozenset[str]

    @classmethod
    def read(cls, path: Path, needed: tuple[str, ...] = ()) -> CocoFile:
        """Read and check the file.

        Args:
            needed: keys of which some annotation must have all.

        Raises:
            DatasetError: no JSON, or keys are absent.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"), object_hook=_lean)
            images = sorted(document["images"], key=lambda image: image["id"])
            rows = [dict(row) for row in document["annotations"]]
            named = {category["id"]: category.get("name") for category in document.get("categories") or ()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            said = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise DatasetError(f"{path}: not a COCO annotation file ({said})") from error
        if "person" in named.values():  # instances_*.json also has cats and kites
            rows = [row for row in rows if named.get(row.get("category_id"), "person") == "person"]
        known = {image["id"] for image in images}
        annotations: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            if row.get("image_id") not in known:
                raise DatasetError(f"{path}: annotation {row.get('id')} is of image {row.get('image_id')}, not listed")
            annotations[row["image_id"]].append(row)
        keys = frozenset(key for row in rows for key in row)
        for key in needed:
            if key not in keys:
                raise DatasetError(f"{path}: no annotation has {key!r}")
        return cls(path, _Texts(images), _Texts(annotations[image["id"]] for image in images), keys)

    def name(self, index: int) -> str:
        """File name of picture `index`.

        Raises:
            DatasetError: the file does not say.
        """
        about = self.images[index]
        if not isinstance(about.get("file_name"), str):
            raise DatasetError(f"{self.path}: image {about.get('id')} has no file_name")
        return str(about["file_name"])

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of picture `index`.

        Raises:
            DatasetError: the file does not say.
        """
        about = self.images[index]
        try:
            return int(about["height"]), int(about["width"])
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{self.path}: image {about.get('id')} has no height and width") from error

    def box(self, row: dict[str, Any]) -> NDArray[np.float32]:
        """(x1, y1, x2, y2) of an annotation.

        Raises:
            DatasetError: not four numbers, or of no extent.
        """
        box = numbers(row.get("bbox", ()))
        if box.shape != (4,) or (box[2:] <= 0).any():
            raise DatasetError(f"{self.path}: annotation {row.get('id')}: bbox {row.get('bbox')} is no box x, y, w, h")
        return np.concatenate([box[:2], box[:2] + box[2:]])

    @staticmethod
    def flat(row: dict[str, Any]) -> bool:
        """Whether an annotation's box is four numbers, and of no extent: COCO's own 2206849 is."""
        box = numbers(row.get("bbox", ()))
        return box.shape == (4,) and bool((box[2:] <= 0).any())

    def area(self, row: dict[str, Any]) -> float | None:
        """Pixels of an annotation's silhouette; None where the file does not say.

        Raises:
            DatasetError: no number, or a negative one.
        """
        if "area" not in row:
            return None
        area = numbers(row["area"])
        if area.shape != () or area < 0:
            raise DatasetError(f"{self.path}: annotation {row.get('id')}: area {row['area']} is no number of pixels")
        return float(area)

    def points(self, row: dict[str, Any]) -> DensePosePoints | None:
        """DensePose annotation of a person, None without one.

        Raises:
            DatasetError: lists of unequal length, parts out of range, or masks that are no 14 run lengths.
        """
        if "dp_I" not in row:
            return None
        where = f"{self.path}: annotation {row.get('id')}"
        try:
            x, y, part, u, v = (numbers(row[f"dp_{key}"]) for key in ("x", "y", "I", "U", "V"))
        except KeyError as error:
            raise DatasetError(f"{where}: has dp_I but no {error}") from error
        if not x.shape == y.shape == part.shape == u.shape == v.shape:
            raise DatasetError(f"{where}: dp_x, dp_y, dp_I, dp_U and dp_V have unequal lengths, or are no numbers")
        if len(part) and not (part.min() >= 1 and part.max() <= 24):
            raise DatasetError(f"{where}: dp_I is {part.min():g}..{part.max():g}, parts are 1..24")
        masks = row.get("dp_masks", [])
        if len(masks) not in (0, 14):
            raise DatasetError(f"{where}: {len(masks)} dp_masks; there are 14 regions (empty ones are [])")
        regions = np.zeros((_FRAME, _FRAME), np.uint8)
        for number, mask in enumerate(masks, start=1):
            if mask:
                try:
                    found = rle.decode(mask)
                except (ParsingRCNNError, ValueError, KeyError, TypeError) as error:
                    raise DatasetError(f"{where}: dp_masks, region {number}: no run lengths ({error})") from error
                if found.shape != regions.shape:
                    raise DatasetError(f"{where}: dp_masks of {found.shape}, not {regions.shape}")
                regions[found > 0] = number
        single = (values.astype(np.float32) for values in (x, y, u, v))
        sx, sy, su, sv = single
        return DensePosePoints(sx, sy, part.astype(np.int64), su, sv, regions)


def _lean(read: dict[str, Any]) -> dict[str, Any]:
    """An object of a COCO file without what nobody asks for, as soon as it is read: that is most of the file."""
    kept = _OF_ROW if "image_id" in read else _OF_IMAGE if "file_name" in read else read
    return {key: read[key] for key in kept if key in read}


def numbers(values: Any) -> NDArray[np.float32]:
    """A list of numbers; an empty array where it is none."""
    try:
        found = np.asarray(values, np.float32)
    except (TypeError, ValueError):
        return np.zeros(0, np.float32)
    return found if np.isfinite(found).all() else np.zeros(0, np.float32)


def people_of_maps(parts: NDArray[np.uint8], instances: NDArray[np.uint8], where: Path) -> tuple[Annotated, ...]:
    """Everybody in a pair of maps, boxes around what is visible. Parts where nobody is make no person.

    Raises:
        DatasetError: the maps have unequal sizes.
    """
    if parts.shape != instances.shape:
        raise DatasetError(f"{where}: {instances.shape} pixels, but the class map has {parts.shape}")
    people = []
    for label in np.unique(instances[instances > 0]):
        rows, columns = np.nonzero((instances == label) & (parts > 0))
        if len(rows):
            box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
            people.append(Annotated(box, label=int(label)))
    return tuple(people)


def record_of_files(image: Path, files: Sequence[Path], classes: int) -> Record:
    """A picture whose people have a class map each, as files; where two overlap, the later one is in front.

    Raises:
        DatasetError: a file is missing, broken, or not of the picture's size.
    """
    size = image_size(image)
    parts, instances = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    for label, path in enumerate(files, start=1):
        own = read_map(path, classes)
        if own.shape != size:
            raise DatasetError(f"{path}: {own.shape} pixels, but {image.name} has {size}")
        mask = own > 0
        parts[mask], instances[mask] = own[mask], label
    return Record(image, size, people_of_maps(parts, instances, image), parts, instances)
