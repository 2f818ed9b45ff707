"""CIHP (Gong et al. 2018) as it is published, and as the authors of Parsing R-CNN lay it out."""

from __future__ import annotations

from pathlib import Path

from parsing_rcnn.taxonomy import CIHP
from training.data.datasets.records import (
    CocoFile,
    Record,
    header_size,
    image_size,
    people_of_maps,
    read_map,
    record_of_files,
)
from training.data.sources import DatasetError


class RawCihp:
    """{Training,Validation}/{Images,Category_ids,Human_ids}: person k is `Category_ids` where `Human_ids` is k."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"CIHP, {folder.name}"
        self.validation = folder.name == "Validation"
        self.classes: int | None = len(CIHP)
        self.stems = tuple(sorted(path.stem for path in (folder / "Images").glob("*.jpg")))
        if not self.stems:
            raise DatasetError(f"{folder / 'Images'}: no .jpg pictures here")

    def __len__(self) -> int:
        return len(self.stems)

    def size(self, index: int) -> tuple[int, int]:
        """See `Reader`."""
        return header_size(self.folder / "Images" / f"{self.stems[index]}.jpg")

    def read(self, index: int) -> Record:
        """See `Reader`."""
        stem = self.stems[index]
        image = self.folder / "Images" / f"{stem}.jpg"
        size = image_size(image)
        parts = read_map(self.folder / "Category_ids" / f"{stem}.png", len(CIHP))
        human_path = self.folder / "Human_ids" / f"{stem}.png"
        human = read_map(human_path)
        if parts.shape != size:
            path = self.folder / "Category_ids" / f"{stem}.png"
            raise DatasetError(f"{path}: {parts.shape} pixels, but {image.name} has {size}")
        return Record(image, size, people_of_maps(parts, human, human_path), parts, human)

    @classmethod
    def find(cls, root: Path) -> list[RawCihp]:
        """The splits below a folder, or the folder itself when it is one."""
        folders = [root, *(root / name for name in ("Training", "Validation"))]
        return [cls(f) for f in folders if (f / "Category_ids").is_dir() and (f / "Human_ids").is_dir()]


class PersonMaps:
    """The layout of the Parsing R-CNN repository: annotations/NAME_SPLIT.json, SPLIT_img, one map a person in
    SPLIT_parsing (the annotation's `parsing` names the file)."""

    def __init__(self, root: Path, annotations: Path, split: str, classes: int) -> None:
        self.root, self.split = root, split
        self.classes: int | None = classes
        self.name = f"{annotations.stem}"
        self.validation = split != "train"
        self.coco = CocoFile.read(annotations, needed=("bbox", "parsing"))

    def __len__(self) -> int:
        return len(self.coco.images)

    def size(self, index: int) -> tuple[int, int]:
        """See `Reader`."""
        return self.coco.size(index)

    def read(self, index: int) -> Record:
        """See `Reader`."""
        about = self.coco.images[index]
        image = self.root / f"{self.split}_img" / about["file_name"]
        rows = self.coco.annotations[about["id"]]
        for row in rows:
            self.coco.box(row)  # refuses what is no box
        folder = self.root / f"{self.split}_parsing"
        return record_of_files(image, [folder / str(row.get("parsing")) for row in rows], self.classes)

    @classmethod
    def find(cls, root: Path) -> list[PersonMaps]:
        """Splits for which there is an annotation file CIHP_*.json or MHP-v2_*.json."""
        found = []
        for path in sorted((root / "annotations").glob("*.json")):
            dataset, _, split = path.stem.partition("_")
            classes = {"CIHP": 20, "MHP-v2": 59}.get(dataset)
            if classes is not None and (root / f"{split}_parsing").is_dir():
                found.append(cls(root, path, split, classes))
        return found
