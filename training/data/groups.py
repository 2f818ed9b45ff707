"""Group photos with person boxes: groups/annotations.json, a COCO file, and groups/images beside it."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.datasets.coco_file import is_flag, numbers
from training.data.sources import refuse_empty
from training.data.splits import groups_split
from training.errors import DatasetError


def read_groups(root: Path) -> dict[str, Any]:
    """The COCO file of group photos, ROOT/annotations.json, whole.

    Raises:
        DatasetError: absent, no JSON, without what a picture (id, file_name) or a person (image_id, bbox) needs, or
            with boxes or an iscrowd that are none.
    """
    path = root / "annotations.json"
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; groups needs a COCO annotation file")
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not a COCO annotation file ({error})") from error
    for kind in ("images", "annotations"):
        listed = document.get(kind) if isinstance(document, dict) else None
        if not isinstance(listed, list) or not all(isinstance(about, dict) for about in listed):
            raise DatasetError(f"{path}: not a COCO annotation file (no list of {kind})")
    names: dict[str, Any] = {}
    ids = set()
    for number, image in enumerate(document["images"]):
        own, name = image.get("id"), image.get("file_name")
        if not isinstance(own, (int, str)) or not isinstance(name, str) or not name:
            raise DatasetError(f"{path}: picture {number} has no id or no file_name")
        if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
            raise DatasetError(f"{path}: file_name {name!r}: pictures lie in images/ beside the file")
        if own in ids or name in names:
            raise DatasetError(f"{path}: image id {own!r} or file_name {name!r} is there twice")
        ids.add(own)
        names[name] = own
    for number, row in enumerate(document["annotations"]):
        said = f"{path}: annotation {row.get('id', number)}"
        if not isinstance(row.get("image_id"), (int, str)) or row["image_id"] not in ids:
            raise DatasetError(f"{said} is of image_id {row.get('image_id')!r}, which no picture has")
        listed = row.get("bbox")
        box = numbers(listed) if isinstance(listed, list) else numbers(())
        if box.shape != (4,) or not all(isinstance(v, (int, float)) for v in listed) or (box[2:] <= 0).any():
            raise DatasetError(f"{said}: bbox {listed!r} is no box x, y, w, h in pixels")
        if (crowd := row.get("iscrowd")) is not None and not is_flag(crowd):
            raise DatasetError(f"{said}: iscrowd {crowd!r} is neither 0 nor 1")
    return document


@dataclass(frozen=True)
class GroupPhotos:
    """Photos with person boxes; crowd regions are ignored."""

    images: tuple[Path, ...]
    boxes: tuple[NDArray[np.float32], ...]
    ignore: tuple[NDArray[np.float32], ...]
    complete: tuple[bool, ...]
    stretched: tuple[bool, ...]

    @classmethod
    def open(cls, root: Path, *, validation: bool = False) -> GroupPhotos:
        """The training (or validation) part of `root`.

        Raises:
            DatasetError: see `read_groups`.
            EmptySplitError: no picture is of this part.
        """
        raw = read_groups(root)
        by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for annotation in raw["annotations"]:
            by_image[annotation["image_id"]].append(annotation)
        records = {record["file_name"]: record for record in raw["images"]}
        names = groups_split(sorted(records))[1 if validation else 0]
        if not names:
            rule = "every fifth by name, from the first on, is held out"
            refuse_empty(root / "annotations.json", len(records), rule, validation=validation)
        boxes, ignore = [], []
        for name in names:
            found = by_image[records[name]["id"]]
            boxes.append(cls._xyxy([a["bbox"] for a in found if not a.get("iscrowd")]))
            ignore.append(cls._xyxy([a["bbox"] for a in found if a.get("iscrowd")]))
        return cls(
            tuple(root / "images" / n for n in names),
            tuple(boxes),
            tuple(ignore),
            tuple(records[n].get("all_people") == "yes" for n in names),
            tuple(records[n].get("aspect") != "true" for n in names),
        )

    @staticmethod
    def _xyxy(rows: list[list[float]]) -> NDArray[np.float32]:
        boxes = np.asarray(rows, np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return boxes
