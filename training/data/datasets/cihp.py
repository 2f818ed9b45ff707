"""CIHP (Gong et al. 2018) as it is published, and as the authors of Parsing R-CNN lay it out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.taxonomy import CIHP, MHP, Taxonomy
from training.data.datasets.coco_file import CocoFile
from training.data.datasets.records import (
    Record,
    header_size,
    people_of_maps,
    record_of_files,
    strays_of,
)
from training.data.sample import IGNORE_LABEL
from training.data.sources import read_map
from training.errors import DatasetError

_FOLDERS = ("Images", "Category_ids", "Human_ids")
_LISTED = "Images, Category_ids and Human_ids"


class RawCihp:
    """{Training,Validation}/{Images,Category_ids,Human_ids}: person k is `Category_ids` where `Human_ids` is k.

    Args:
        taxonomy: of `Category_ids`.

    Raises:
        DatasetError: no picture in a folder that is not empty.
    """

    def __init__(self, folder: Path, taxonomy: Taxonomy = CIHP) -> None:
        self.folder, self._most = folder, len(taxonomy)
        self.name = f"{'CIHP' if taxonomy == CIHP else taxonomy.name}, {folder.name}"
        self.validation = folder.name == "Validation"
        self.classes: int | None = len(taxonomy)
        self.keypoints = self.densepose = False
        self.stems = tuple(sorted(path.stem for path in (folder / "Images").glob("*.jpg")))
        if not self.stems and not _is_empty(folder):
            raise DatasetError(f"{folder / 'Images'}: no pictures NAME.jpg here; other suffixes are not read")

    def __len__(self) -> int:
        return len(self.stems)

    def useful(self, *, keypoints: bool = False) -> NDArray[np.int64]:
        """See `Reader`: all, or none."""
        return np.arange(0 if keypoints else len(self))

    def size(self, index: int) -> tuple[int, int]:
        """See `Reader`."""
        return header_size(self.folder / "Images" / f"{self.stems[index]}.jpg")

    def strays(self) -> Iterator[str]:
        """See `Reader`: maps without a picture that is read."""
        known = set(self.stems)
        maps = [path for name in _FOLDERS[1:] for path in sorted((self.folder / name).glob("*.png"))]
        yield from strays_of(self.folder / "Images", {path: path.stem for path in maps if path.stem not in known})

    def read(self, index: int) -> Record:
        """See `Reader`."""
        stem = self.stems[index]
        image = self.folder / "Images" / f"{stem}.jpg"
        size = header_size(image)
        parts = read_map(self.folder / "Category_ids" / f"{stem}.png", self._most)
        human_path = self.folder / "Human_ids" / f"{stem}.png"
        human = read_map(human_path)
        if parts.shape != size:
            path = self.folder / "Category_ids" / f"{stem}.png"
            raise DatasetError(f"{path}: {parts.shape} pixels, but {image.name} has {size}")
        people = people_of_maps(parts, human, human_path)
        unsaid = human == IGNORE_LABEL
        doubt = None
        named = unsaid & (parts > 0) & (parts < IGNORE_LABEL)  # without, 255 may well be true: nobody knows
        if named.any() and not people and not human[~unsaid].any():
            doubt = (
                f"{human_path}: the only person number is {IGNORE_LABEL}, which means not known: nothing is learnt "
                "from this picture; number people 1, 2, ..."
            )
        # a class of nobody in particular is none
        parts = np.where(unsaid & (parts > 0), np.uint8(IGNORE_LABEL), parts)
        return Record(image, size, people, parts, np.where(unsaid, np.uint8(0), human), doubt)

    @classmethod
    def find(cls, root: Path, taxonomy: Taxonomy = CIHP) -> list[RawCihp]:
        """The splits below a folder, or the folder itself when it is one.

        One whose folders are empty is a split of no pictures, which is said on standard error.

        Raises:
            DatasetError: a split lacks one of its folders, or none has a picture.
        """
        folders = [f for f in (root, root / "Training", root / "Validation") if f.is_dir()]
        splits = [f for f in folders if f != root or any((f / name).is_dir() for name in _FOLDERS[1:])]
        empty = [folder for folder in splits if _is_empty(folder)]
        if splits and empty == splits:
            raise DatasetError(f"{splits[0]}: empty; a split of CIHP holds {_LISTED}")
        for folder in splits:
            absent = [name for name in _FOLDERS if not (folder / name).is_dir()]
            if absent and folder not in empty:
                raise DatasetError(f"{folder}: no {' and no '.join(absent)}; a split of CIHP holds {_LISTED}")
        for folder in empty:
            print(f"{folder}: empty; there is nothing to train on or to measure in it", file=sys.stderr)
        return [cls(folder, taxonomy) for folder in splits]


def _is_empty(split: Path) -> bool:
    """Whether none of the folders of a split holds a file."""
    return not any(path.is_file() for name in _FOLDERS for path in (split / name).rglob("*"))


class PersonMaps:
    """The layout of the Parsing R-CNN repository: annotations/NAME_SPLIT.json, SPLIT_img, one map a person in
    SPLIT_parsing (the annotation's `parsing` names the file)."""

    def __init__(self, root: Path, annotations: Path, split: str, classes: int) -> None:
        self.root, self.split = root, split
        self.classes: int | None = classes
        self.keypoints = self.densepose = False
        self.name = f"{annotations.stem}"
        self.validation = split != "train"
        self.coco = CocoFile.read(annotations, needed=("bbox", "parsing"))

    def __len__(self) -> int:
        return len(self.coco.images)

    def useful(self, *, keypoints: bool = False) -> NDArray[np.int64]:
        """See `Reader`: all, or none."""
        return np.arange(0 if keypoints else len(self))

    def size(self, index: int) -> tuple[int, int]:
        """See `Reader`."""
        return self.coco.size(index)

    def strays(self) -> Iterator[str]:
        """See `Reader`: maps that no annotation names."""
        named = {row.get("parsing") for rows in self.coco.rows for row in rows}
        folder = self.root / f"{self.split}_parsing"
        return (f"{p}: no annotation names it" for p in sorted(folder.glob("*.png")) if p.name not in named)

    def read(self, index: int) -> Record:
        """See `Reader`."""
        image = self.root / f"{self.split}_img" / self.coco.name(index)
        rows = self.coco.rows[index]
        for row in rows:
            self.coco.box(row)  # refuses what is no box
            if not isinstance(row.get("parsing"), str):
                raise DatasetError(f"{self.coco.path}: annotation {row.get('id')} has no parsing, the file of its map")
        folder = self.root / f"{self.split}_parsing"
        return record_of_files(image, [folder / str(row.get("parsing")) for row in rows], self.classes)

    @classmethod
    def find(cls, root: Path, own: Taxonomy | None = None) -> list[PersonMaps]:
        """Splits for which there is an annotation file CIHP_*.json or MHP-v2_*.json; pictures to be tested on come
        without maps too, and are then left.

        Args:
            own: classes of one's own, whose files NAME_*.json are meant instead.

        Raises:
            DatasetError: such a file, and no pictures or maps of its split.
        """
        found = []
        known = {"CIHP": len(CIHP), "MHP-v2": len(MHP)} if own is None else {own.name: len(own)}
        for path in sorted((root / "annotations").glob("*.json")):
            dataset = next((name for name in known if path.stem.startswith(f"{name}_")), None)
            split = path.stem.removeprefix(f"{dataset}_")
            untold = split.startswith("test") and not (root / f"{split}_parsing").is_dir()
            if dataset is not None and not untold:
                for folder in (root / f"{split}_img", root / f"{split}_parsing"):
                    if not folder.is_dir():
                        raise DatasetError(f"{folder}: no such folder, but there is {path}")
                found.append(cls(root, path, split, known[dataset]))
        return found
