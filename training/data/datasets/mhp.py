"""MHP v2 (Zhao et al. 2018) as it is published: one map a person, IMAGE_NN_NN.png, in three equal channels."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from parsing_rcnn.taxonomy import MHP
from training.data.datasets.records import Record, header_size, record_of_files
from training.data.sources import DatasetError

_MASKS = ("parsing_annos", "annotations")
_SUFFIX = len("_00_00.png")  # number of people, number of the person


class RawMhp:
    """{train,val}/{images,parsing_annos}, the pictures of list/SPLIT.txt where there is one."""

    def __init__(self, root: Path, split: str) -> None:
        self.root, self.split = root, split
        self.name = f"MHP v2, {split}"
        self.validation = split != "train"
        self.classes: int | None = len(MHP)
        folder = root / split
        self.masks = next(folder / name for name in _MASKS if (folder / name).is_dir())
        listed = root / "list" / f"{split}.txt"
        if listed.is_file():
            self.stems = tuple(listed.read_text().split())
        else:
            self.stems = tuple(sorted(path.stem for path in (folder / "images").glob("*.jpg")))
        if not self.stems:
            raise DatasetError(f"{folder / 'images'}: no .jpg pictures here")
        self.files: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(self.masks.glob("*.png")):
            self.files[path.name[:-_SUFFIX]].append(path)

    def __len__(self) -> int:
        return len(self.stems)

    def size(self, index: int) -> tuple[int, int]:
        """See `Reader`."""
        return header_size(self.root / self.split / "images" / f"{self.stems[index]}.jpg")

    def read(self, index: int) -> Record:
        """See `Reader`."""
        stem = self.stems[index]
        image = self.root / self.split / "images" / f"{stem}.jpg"
        files = self.files.get(stem, [])
        if not files:
            raise DatasetError(f"{self.masks}/{stem}_NN_NN.png: no map of a person of this picture")
        return record_of_files(image, files, len(MHP))

    @classmethod
    def find(cls, root: Path) -> list[RawMhp]:
        """The splits below a folder."""
        splits = [s for s in ("train", "val") if any((root / s / m).is_dir() for m in _MASKS)]
        return [cls(root, split) for split in splits if (root / split / "images").is_dir()]
