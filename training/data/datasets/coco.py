"""COCO files of people: DensePose-COCO (Guler et al. 2018) and COCO keypoints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from training.data.datasets.records import Annotated, CocoFile, Record
from training.data.sources import DatasetError

_KEYPOINTS = 17


class CocoPeople:
    """An annotation file beside a folder of pictures.

    Args:
        annotations: densepose_coco_2014_*.json, densepose_*2014.json, person_keypoints_*.json, or what
            `parsing-rcnn render` writes.
        images: the folder of the pictures.
    """

    def __init__(self, annotations: Path, images: Path) -> None:
        self.images = images
        self.classes: int | None = None
        # detectron2 and the paper train on COCO's valminusminival
        self.validation = bool(re.search(r"(?<!minus)minival|(?<![a-z])val(20\d\d)?$|_test", annotations.stem))
        self.coco = CocoFile.read(annotations, needed=("bbox",))
        rows = [row for found in self.coco.annotations.values() for row in found]
        kinds = {"dp_I": "DensePose", "keypoints": "keypoints"}
        self.kinds = tuple(kind for key, kind in kinds.items() if any(key in row for row in rows))
        self.name = f"{annotations.name} ({', '.join(self.kinds) or 'boxes'})"

    def __len__(self) -> int:
        return len(self.coco.images)

    def size(self, index: int) -> tuple[int, int]:
        """See `Reader`."""
        return self.coco.size(index)

    def read(self, index: int) -> Record:
        """See `Reader`."""
        about = self.coco.images[index]
        image = self.images / about["file_name"]
        if not image.is_file():
            raise DatasetError(f"{image}: missing; --images is the folder of the pictures")
        people = tuple(self._person(row) for row in self.coco.annotations[about["id"]])
        return Record(image, self.coco.size(index), people)

    def _person(self, row: dict[str, Any]) -> Annotated:
        keypoints = None
        if "keypoints" in row:
            flat = np.asarray(row["keypoints"], np.float32)
            if flat.size != 3 * _KEYPOINTS:
                where = f"{self.coco.path}: annotation {row.get('id')}"
                raise DatasetError(f"{where}: {flat.size} keypoint numbers, not {3 * _KEYPOINTS}")
            keypoints = flat.reshape(_KEYPOINTS, 3)
        return Annotated(
            self.coco.box(row), bool(row.get("iscrowd", 0)), points=self.coco.points(row), keypoints=keypoints
        )

    @classmethod
    def find(cls, path: Path, images: Path | None) -> list[CocoPeople]:
        """The file itself, or the COCO files of a folder; pictures in `images`, or in Images or images beside them."""
        files = [path] if path.suffix == ".json" else sorted(path.glob("*.json"))
        found = []
        for file in files:
            beside = [file.parent / name for name in ("Images", "images")]
            folder = images or next((f for f in beside if f.is_dir()), file.parent)
            found.append(cls(file, folder))
        return found
