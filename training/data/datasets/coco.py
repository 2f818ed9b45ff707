"""COCO files of people: DensePose-COCO (Guler et al. 2018) and COCO keypoints."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.datasets.coco_doubts import doubts
from training.data.datasets.coco_file import CocoFile, NoAnnotations
from training.data.datasets.records import Annotated, Record
from training.errors import DatasetError

LEAST_KEYPOINTS = 10  # labelled ones of a picture for it to train keypoints, as in the paper's code
_SPLITS = ("train2017", "val2017", "train2014", "val2014", "test2015")


class CocoPeople:
    """An annotation file beside a folder of pictures.

    Args:
        annotations: densepose_coco_2014_*.json, densepose_*2014.json, person_keypoints_*.json, or what
            `parsing-rcnn render` writes.
        images: the folder of the pictures; given: whether somebody named it.
    """

    def __init__(self, annotations: Path, images: Path, *, given: bool = True) -> None:
        self.images, self.given = images, given
        self.classes: int | None = None
        # detectron2 and the paper train on COCO's valminusminival
        self.validation = bool(re.search(r"(?<!minus)minival|(?<![a-z])val(20\d\d)?$|_test", annotations.stem))
        self.coco = CocoFile.read(annotations, needed=("bbox",))
        kinds = {"dp_I": "DensePose", "keypoints": "keypoints"}
        self.kinds = tuple(kind for key, kind in kinds.items() if key in self.coco.keys)
        self.keypoints, self.densepose = "keypoints" in self.kinds, "DensePose" in self.kinds
        self.name = f"{annotations.name} ({', '.join(self.kinds) or 'boxes'})"

    def __len__(self) -> int:
        return len(self.coco.images)

    def useful(self, *, keypoints: bool = False) -> NDArray[np.int64]:
        """See `Reader`: with anybody who is not a crowd, or with ten labelled keypoints."""
        found = []
        for index in range(len(self)):
            rows = [row for row in self._rows(index) if not row.get("iscrowd", 0)]
            if keypoints:
                placed = [own for row in rows if (own := self.coco.keypoints(row)) is not None]
                rows = rows if sum(int((own[:, 2] > 0).sum()) for own in placed) >= LEAST_KEYPOINTS else []
            if rows:
                found.append(index)
        return np.array(found, np.int64)

    def size(self, index: int) -> tuple[int, int]:
        """See `Reader`."""
        return self.coco.size(index)

    def read(self, index: int) -> Record:
        """See `Reader`."""
        image = self.images / self.coco.name(index)
        if not image.is_file():
            raise DatasetError(f"{image}: missing; {self._remedy()}")
        people = tuple(self._person(row) for row in self._rows(index))
        return Record(image, self.coco.size(index), people)

    def strays(self) -> Iterator[str]:
        """See `Reader`: annotations that are left out or hardly right; pictures may be there for other files."""
        for rows in self.coco.rows:
            for row in filter(self.coco.flat, rows):
                name = f"{self.coco.path}: annotation {row.get('id')}"
                yield f"{name}: bbox {row['bbox']} has no extent; it is left out, training and evaluation go on"
        yield from doubts(self.coco)

    def _rows(self, index: int) -> list[dict[str, Any]]:
        """Annotations of a picture, but those whose box has no extent: the genuine COCO files hold some."""
        return [row for row in self.coco.rows[index] if not self.coco.flat(row)]

    def _person(self, row: dict[str, Any]) -> Annotated:
        keypoints = self.coco.keypoints(row)
        if keypoints is not None:
            # COCO numbers pixels; a mirror at the picture's edge needs their middles
            keypoints[keypoints[:, 2] > 0, :2] += 0.5
        return Annotated(
            self.coco.box(row),
            bool(row.get("iscrowd", 0)),
            points=self.coco.points(row),
            keypoints=keypoints,
            area=self.coco.area(row),
        )

    @classmethod
    def find(cls, path: Path, images: Path | None) -> list[CocoPeople]:
        """The file itself, or the COCO files of a folder; pictures in `images`, or where COCO's own layout has them.

        Looked for by the first picture that a file names: Images or images beside it, the folder itself, then
        train2017, val2017 and their like there or in images/, up to two folders above (COCO/annotations/FILE.json with
        COCO/train2017).

        Of a folder, files without annotations are left, and named on standard error: DensePose's download brings
        densepose_coco_2014_test.json along, which lists pictures.

        Raises:
            DatasetError: a file cannot be read, or is named itself and has no annotations.
        """
        files = [path] if path.suffix == ".json" else sorted(path.glob("*.json"))
        found = []
        for file in files:
            if file.stem.startswith("captions_"):
                continue
            try:
                found.append(cls(file, file.parent))
            except NoAnnotations:
                if file == path:
                    raise
                print(f"{file}: pictures without annotations; it is left out", file=sys.stderr)
        for reader in found:
            reader.images = images or reader._beside()
            reader.given = images is not None
        return found

    def _beside(self) -> Path:
        first = str(self.coco.images[0].get("file_name", "")) if self.coco.images else ""
        places = [place for at in self._homes() for place in _places(at)]
        there = (place for place in places if first and (place / first).is_file())
        folders = (home.parent / name for home in self._homes() for name in ("Images", "images"))
        return next(there, next((place for place in folders if place.is_dir()), self._homes()[0].parent))

    def _homes(self) -> list[Path]:
        """Where the file lies: where it is named, then, of a link, where it is."""
        own = self.coco.path.absolute()
        return list(dict.fromkeys((own, own.resolve())))

    def _remedy(self) -> str:
        if self.given:
            return "--images is the folder of the pictures"
        homes = " and ".join(str(home.parent) for home in self._homes())
        return (
            f"looked for in {homes}, its images/ and {', '.join(_SPLITS)}, up to two folders above; put the pictures "
            f"in images/ beside {self.coco.path.name}"
        )


def _places(file: Path) -> list[Path]:
    """Folders in which the pictures of an annotation file may lie."""
    above = file.parents[:3]
    places = [above[0] / "Images", above[0] / "images", above[0]]
    return places + [root / inner / split for root in above for inner in ("", "images") for split in _SPLITS]
