"""COCO annotation files, as DensePose-COCO, COCO keypoints and the Parsing R-CNN repository write them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.codecs import rle
from parsing_rcnn.errors import ParsingRCNNError
from training.data.datasets.records import DensePosePoints
from training.errors import DatasetError

_FRAME = 256  # DensePose-COCO: side of the frame in which regions are painted and points placed
_SLACK, _SLACK_UV = 1, 1 / 255  # what rounding may put a point beyond its frame or chart: a pixel of either
_KEYPOINTS = 17
_SHOWN = 5  # categories that a message names
_Values = NDArray[np.float32]
# what is read of a COCO file's pictures and annotations: outlines, which nothing here asks for, are most of one
_OF_IMAGE = ("id", "file_name", "height", "width")
_OF_ROW = (
    *("id", "image_id", "category_id", "bbox", "iscrowd", "area", "keypoints", "parsing"),
    *("dp_masks", "dp_x", "dp_y", "dp_I", "dp_U", "dp_V"),
)


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


class NoAnnotations(DatasetError):
    """A COCO file lists pictures and says nothing of them: those of a test whose answers are kept back."""


@dataclass(frozen=True, eq=False)
class CocoFile:
    """A COCO annotation file by picture.

    Attributes:
        images: what the file says of each picture, in the order of their ids.
        rows: the annotations of each, in the same order.
        keys: that some annotation has. Keypoints and `dp_*` that are empty lists do not count.
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
            NoAnnotations: there are only pictures.
            DatasetError: no JSON, keys are absent, an id is no number or is there twice as a file's name may not be
                either, an iscrowd is neither 0 nor 1, none of several categories is called person, or no annotation is
                of that one.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8-sig"), object_hook=_lean)
            images = _by_id(document["images"])
            rows = [dict(row) for row in document["annotations"]]
            _check_values(images, rows)
            named = {category["id"]: category.get("name") for category in document.get("categories") or ()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            said = f"no {error}" if isinstance(error, KeyError) else str(error)
            bare = isinstance(error, KeyError) and error.args == ("annotations",)
            refusal = NoAnnotations if bare else DatasetError
            raise refusal(f"{path}: not a COCO annotation file ({said})") from error
        if not rows:
            raise NoAnnotations(f"{path}: no picture has any annotation")
        rows = _of_people(path, rows, named)
        known = {image["id"] for image in images}
        if len(known) < len(images):
            twice = next(a["id"] for a, b in pairwise(images) if a["id"] == b["id"])
            raise DatasetError(f"{path}: image id {twice!r} is there twice; every picture needs an id of its own")
        names = Counter(str(image["file_name"]) for image in images if "file_name" in image)
        if names and (most := names.most_common(1)[0])[1] > 1:
            raise DatasetError(
                f"{path}: file_name {most[0]!r} is there {most[1]} times, under several ids: the people of one would "
                "be background of the others; give their annotations to one of them"
            )
        annotations: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            if row.get("image_id") not in known:
                raise DatasetError(
                    f"{path}: annotation {row.get('id')} is of image {row.get('image_id')!r}, not listed"
                )
            annotations[row["image_id"]].append(row)
        keys = frozenset(key for row in rows for key, value in row.items() if value != [] or not key.startswith("dp_"))
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
        except (KeyError, TypeError, ValueError, OverflowError) as error:
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
            DatasetError: lists of unequal length, values out of range, or masks that are no 14 run lengths.
        """
        if "dp_I" not in row:
            return None
        where = f"{self.path}: annotation {row.get('id')}"
        try:
            x, y, part, u, v = (numbers(row[f"dp_{key}"]) for key in ("x", "y", "I", "U", "V"))
        except KeyError as error:
            raise DatasetError(f"{where}: has dp_I but no {error}") from error
        if not (x.ndim == 1 and x.shape == y.shape == part.shape == u.shape == v.shape):
            raise DatasetError(f"{where}: dp_x, dp_y, dp_I, dp_U and dp_V have unequal lengths, or are no numbers")
        _check_points(where, x, y, part, u, v)
        regions = _regions(where, row.get("dp_masks", []))
        return DensePosePoints(x, y, part.astype(np.int64), u.clip(0, 1), v.clip(0, 1), regions)

    def keypoints(self, row: dict[str, Any]) -> NDArray[np.float32] | None:
        """COCO's 17 keypoints of a person as the file has them, [17,3] of x, y and visibility; None without any.

        Raises:
            DatasetError: no 51 numbers, or a visibility that is none.
        """
        if "keypoints" not in row:
            return None
        flat = numbers(row["keypoints"])
        where = f"{self.path}: annotation {row.get('id')}"
        if flat.size != 3 * _KEYPOINTS:
            raise DatasetError(f"{where}: {flat.size} keypoint numbers, not {3 * _KEYPOINTS}")
        found = flat.reshape(_KEYPOINTS, 3)
        wrong = found[~np.isin(found[:, 2], (0, 1, 2)), 2]
        if wrong.size:
            raise DatasetError(
                f"{where}: a keypoint's visibility is {wrong[0]:g}; it is 0 (not labelled), 1 (hidden) or 2 (seen)"
            )
        return found


def _check_points(where: str, x: _Values, y: _Values, part: _Values, u: _Values, v: _Values) -> None:
    """Refuse what no annotation of DensePose has: the loss would be that of other points, and nobody would see it."""
    if len(part) and not (part.min() >= 1 and part.max() <= 24):
        raise DatasetError(f"{where}: dp_I is {part.min():g}..{part.max():g}, parts are 1..24")
    if (odd := part[part != np.round(part)]).size:
        raise DatasetError(f"{where}: dp_I {odd[0]:g}; a part is a whole number")
    for key, values in (("dp_x", x), ("dp_y", y)):
        wrong = values[(values < -_SLACK) | (values > _FRAME + _SLACK)]
        if wrong.size:
            raise DatasetError(
                f"{where}: {key} {wrong[0]:g}; points lie in 0..{_FRAME}, over the width and height of the bbox"
            )
    for key, values in (("dp_U", u), ("dp_V", v)):
        wrong = values[(values < -_SLACK_UV) | (values > 1 + _SLACK_UV)]
        if wrong.size:
            raise DatasetError(f"{where}: {key} {wrong[0]:g}; U and V are 0..1; divide those of an IUV picture by 255")


def _regions(where: str, masks: Any) -> NDArray[np.uint8]:
    """uint8 [256,256] of `dp_masks`, see `DensePosePoints`."""
    if not isinstance(masks, list):
        raise DatasetError(f"{where}: dp_masks {masks!r}; they are a list of 14 regions (empty ones are [])")
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
    return regions


def _not_people(path: Path, named: dict[Any, Any]) -> set[Any]:
    """Ids of the categories that are not of people: instances_*.json also has cats and kites. An only one is of people,
    whatever it is called.

    Raises:
        DatasetError: there are several, and none is called person.
    """
    others = {number for number, name in named.items() if str(name).casefold() != "person"}
    if len(others) < len(named):
        return others
    if len(named) > 1:
        listed = ", ".join(str(name) for name in named.values())
        raise DatasetError(
            f"{path}: none of its categories is called person ({listed}); call the one of people so, or leave the "
            "others out"
        )
    return set()


def _of_people(path: Path, rows: list[dict[str, Any]], named: dict[Any, Any]) -> list[dict[str, Any]]:
    """The annotations of people.

    Raises:
        DatasetError: none is, or none of several categories is called person.
    """
    others = _not_people(path, named)
    people = [row for row in rows if row.get("category_id") not in others]
    if not people:
        persons = ", ".join(f"id {number!r}" for number in named if number not in others)
        there = [f"{number!r} ({named[number]})" for number in dict.fromkeys(row["category_id"] for row in rows)]
        more = " and others" if len(there) > _SHOWN else ""
        raise DatasetError(
            f"{path}: no annotation is of category person ({persons}); they are of {', '.join(there[:_SHOWN])}{more}: "
            "give those of people its category_id"
        )
    return people


def _by_id(images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pictures in the order of their ids.

    Raises:
        ValueError: some ids are text, and others are not.
    """
    texts = [image["id"] for image in images if isinstance(image["id"], str)]
    if texts and len(texts) < len(images):
        raise ValueError(f"image id {texts[0]!r} is text, and others are numbers")
    return sorted(images, key=lambda image: image["id"])


def _check_values(images: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    """Refuse values by which pictures and people would be found wrongly.

    Raises:
        ValueError: naming the picture or the annotation.
    """
    for kind, listed in (("image", images), ("annotation", rows)):
        for about in listed:
            for key in ("id", "image_id", "category_id"):
                if isinstance(about.get(key), (list, dict)):
                    raise ValueError(f"{kind} {about.get('id')}: {key} {about[key]!r} is no number")
    for row in rows:
        if not is_flag(row.get("iscrowd", 0)):
            raise ValueError(f"annotation {row.get('id')}: iscrowd {row['iscrowd']!r} is neither 0 nor 1")


def _lean(read: dict[str, Any]) -> dict[str, Any]:
    """An object of a COCO file without what nobody asks for, as soon as it is read: that is most of the file.

    Of a picture or an annotation, null says nothing, and no more does an empty list of keypoints (`num_keypoints` 0).
    """
    kept = _OF_ROW if "image_id" in read else _OF_IMAGE if "file_name" in read else None
    if kept is None:
        return read
    found = {key: read[key] for key in kept if read.get(key) is not None}
    if found.get("keypoints") == []:
        del found["keypoints"]
    return found


def is_flag(value: Any) -> bool:
    """Whether a value is 0, 1, false or true: the text "0" would count as true."""
    return isinstance(value, (int, float)) and value in (0, 1)


def numbers(values: Any) -> NDArray[np.float32]:
    """A list of numbers; an empty array where it is none."""
    try:
        found = np.asarray(values, np.float32)
    except (TypeError, ValueError, OverflowError):
        return np.zeros(0, np.float32)
    return found if np.isfinite(found).all() else np.zeros(0, np.float32)
