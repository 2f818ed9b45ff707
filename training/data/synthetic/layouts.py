"""A rendered dataset once more, in the layouts of other datasets: one label map a person.

parsing-rcnn  annotations/CIHP_train.json, train_img/, train_parsing/: CIHP as the authors of Parsing R-CNN lay it out
mhp           train/images/, train/parsing_annos/, list/train.txt: MHP v2, whose classes are found by their names
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.taxonomy import CIHP, MHP
from training.data.sample import mask_box
from training.errors import DatasetError
from training.files import make_folder, write_png, write_text, writing

Layout = Literal["parsing-rcnn", "mhp"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
_Record = tuple[int, str, tuple[int, int], list[NDArray[np.uint8]]]  # number, stem, (height, width), people
_MHP_NAMES = {"Hat": "Cap/Hat", "UpperClothes": "Other-upper-body-clothes"}


def layout_of(name: str) -> Layout:
    """The layout of a name.

    Raises:
        DatasetError: there is none; the message lists them.
    """
    if name not in LAYOUTS:
        raise DatasetError(f"--also {name}: a layout is one of {', '.join(LAYOUTS)}")
    return name


def write_layout(dataset: Path, layout: Layout, out: Path) -> None:
    """Write a dataset of `parsing-rcnn render` in another layout; pictures are copied.

    Raises:
        DatasetError: `dataset` is no rendered dataset.
        OutputError: a file could not be written.
    """
    stems = sorted(path.stem for path in (dataset / "Category_ids").glob("*.png"))
    if not stems:
        raise DatasetError(f"{dataset / 'Category_ids'}: no .png maps here; `parsing-rcnn render` writes them")
    images, maps = _folders(layout, out)
    for folder in (images, maps):
        make_folder(folder)
    table = _classes(layout)
    records: list[_Record] = []
    for number, stem in enumerate(stems, start=1):
        with writing(images / f"{stem}.jpg"):
            shutil.copyfile(dataset / "Images" / f"{stem}.jpg", images / f"{stem}.jpg")
            for path in maps.glob(f"{stem}_*_*.png"):  # an earlier dataset had other people there
                path.unlink()
        size, people = _people(dataset, stem)
        for index, parts in enumerate(people, start=1):
            path = maps / f"{stem}_{len(people):02d}_{index:02d}.png"
            plane = table[parts]
            write_png(path, np.dstack([plane] * 3) if layout == "mhp" else plane)
        records.append((number, stem, size, people))
    if layout == "mhp":
        write_text(out / "list" / "train.txt", "\n".join(stems) + "\n")
    else:
        write_text(out / "annotations" / "CIHP_train.json", json.dumps(_document(records)))


def _folders(layout: Layout, out: Path) -> tuple[Path, Path]:
    if layout == "mhp":
        return out / "train" / "images", out / "train" / "parsing_annos"
    return out / "train_img", out / "train_parsing"


def _classes(layout: Layout) -> NDArray[np.uint8]:
    """Class ids of the layout by those of CIHP."""
    if layout == "parsing-rcnn":
        return np.arange(len(CIHP), dtype=np.uint8)
    return np.array([MHP.classes.index(_MHP_NAMES.get(name, name)) for name in CIHP.classes], np.uint8)


def _people(dataset: Path, stem: str) -> tuple[tuple[int, int], list[NDArray[np.uint8]]]:
    """(height, width) of a picture, and class ids [H,W] of every person in it."""
    category, human = (
        cv2.imread(str(dataset / folder / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
        for folder in ("Category_ids", "Human_ids")
    )
    if category is None or human is None:
        raise DatasetError(f"{dataset}: {stem}.png is missing or broken in Category_ids or Human_ids")
    people = [np.where(human == k, category, 0).astype(np.uint8) for k in np.unique(human[human > 0])]
    return (int(human.shape[0]), int(human.shape[1])), people


def _document(records: list[_Record]) -> dict[str, object]:
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number, stem, (height, width), people in records:
        images.append({"id": number, "file_name": f"{stem}.jpg", "height": height, "width": width})
        for index, parts in enumerate(people, start=1):
            box = mask_box(parts > 0)
            assert box is not None
            x1, y1, x2, y2 = (int(v) for v in box)
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": 1, "iscrowd": 0,
                    "bbox": [x1, y1, x2 - x1, y2 - y1], "area": int((parts > 0).sum()),
                    "parsing": f"{stem}_{len(people):02d}_{index:02d}.png",
                }
            )  # fmt: skip
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "supercategory": "person"}],
    }
