"""MHP v2 (Zhao et al. 2018) as it is published: one map a person, IMAGE_NN_NN.png, the first of three channels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.taxonomy import MHP, Taxonomy
from training.data.datasets.records import Record, header_size, record_of_files, strays_of
from training.errors import DatasetError

_MASKS = ("parsing_annos", "annotations")
_SUFFIX = len("_00_00.png")  # number of people, number of the person
_SPLITS = {"train": "train", "val": "val", "test": "test_all"}  # and what the list of each is called


class RawMhp:
    """{train,val,test}/{images,parsing_annos}, the pictures of list/SPLIT.txt (test_all.txt) where there is one.

    Args:
        taxonomy: of the maps.
    """

    def __init__(self, root: Path, split: str, taxonomy: Taxonomy = MHP) -> None:
        self.root, self.split, self._most = root, split, len(taxonomy)
        self.name = f"{'MHP v2' if taxonomy == MHP else taxonomy.name}, {split}"
        self.validation = split != "train"
        self.classes: int | None = len(taxonomy)
        self.keypoints = self.densepose = False
        folder = root / split
        self.masks = next(folder / name for name in _MASKS if (folder / name).is_dir())
        self.listed = root / "list" / f"{_SPLITS[split]}.txt"
        self._twice: list[str] = []
        if self.listed.is_file():
            lines = self.listed.read_text(encoding="utf-8-sig").splitlines()
            counts = Counter(line.strip() for line in lines if line.strip())
            self.stems = tuple(counts)
            self._twice = [stem for stem, count in counts.items() if count > 1]
        else:
            self.stems = tuple(sorted(path.stem for path in (folder / "images").glob("*.jpg")))
        if not self.stems:
            raise DatasetError(f"{folder / 'images'}: no pictures NAME.jpg here; other suffixes are not read")
        self.files: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(self.masks.glob("*.png")):
            self.files[path.name[:-_SUFFIX]].append(path)

    def __len__(self) -> int:
        return len(self.stems)

    def useful(self, *, keypoints: bool = False) -> NDArray[np.int64]:
        """See `Reader`: all, or none."""
        return np.arange(0 if keypoints else len(self))

    def size(self, index: int) -> tuple[int, int]:
        """See `Reader`."""
        return header_size(self.root / self.split / "images" / f"{self.stems[index]}.jpg")

    def strays(self) -> Iterator[str]:
        """See `Reader`: maps of a picture that is neither listed nor there, and pictures that are listed twice."""
        images = self.root / self.split / "images"
        pictures = {path.stem for path in images.glob("*.jpg")} | set(self.stems)
        absent = sorted(self.files.keys() - pictures)
        yield from strays_of(images, {path: stem for stem in absent for path in self.files[stem]})
        for stem in self._twice:
            yield f"{self.listed}: {stem} is there more than once; it counts as one picture, take the others out"

    def read(self, index: int) -> Record:
        """See `Reader`."""
        stem = self.stems[index]
        image = self.root / self.split / "images" / f"{stem}.jpg"
        files = self.files.get(stem, [])
        if not files:
            raise DatasetError(f"{self.masks}/{stem}_NN_NN.png: no map of a person of this picture")
        people = files[0].name[-_SUFFIX:].split("_")[1]
        if people.isdigit() and int(people) != len(files):
            raise DatasetError(f"{self.masks}/{stem}_{people}_NN.png: {len(files)} maps of {int(people)} people")
        return record_of_files(image, files, self._most)

    @classmethod
    def find(cls, root: Path, taxonomy: Taxonomy = MHP) -> list[RawMhp]:
        """The splits below a folder; pictures to be tested on come without maps too, and are then left.

        Raises:
            DatasetError: another split has pictures and no maps, or one has maps and no pictures.
        """
        found = []
        for split in _SPLITS:
            pictures = (root / split / "images").is_dir()
            maps = any((root / split / name).is_dir() for name in _MASKS)
            if split == "test" and not maps:
                continue
            if pictures != maps:
                absent = " or ".join(_MASKS) if pictures else "images"
                raise DatasetError(f"{root / split}: no {absent}; a split of MHP v2 holds images and {_MASKS[0]}")
            if pictures:
                found.append(cls(root, split, taxonomy))
        return found
