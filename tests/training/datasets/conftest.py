"""Tiny folders in the layouts in which datasets are published."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from parsing_rcnn.codecs import rle
from tests.training.datasets.layouts import per_person, picture, save, two_people


@pytest.fixture
def cihp(tmp_path: Path) -> Path:
    parts, human = two_people()
    for split, count in (("Training", 2), ("Validation", 1)):
        for index in range(count):
            picture(tmp_path / split / "Images" / f"{index:07d}.jpg")
            save(tmp_path / split / "Category_ids" / f"{index:07d}.png", parts)
            save(tmp_path / split / "Human_ids" / f"{index:07d}.png", human)
    return tmp_path


@pytest.fixture
def mhp(tmp_path: Path) -> Path:
    picture(tmp_path / "train/images/12.jpg")
    picture(tmp_path / "train/images/99.jpg")  # not in the list
    for number, own in enumerate(per_person()):
        save(tmp_path / f"train/parsing_annos/12_02_0{number}.png", np.dstack([own] * 3))
    (tmp_path / "list").mkdir()
    (tmp_path / "list/train.txt").write_text("12\n")
    return tmp_path


@pytest.fixture
def repository_layout(tmp_path: Path) -> Path:
    picture(tmp_path / "train_img/a.jpg")
    rows = []
    for number, own in enumerate(per_person()):
        save(tmp_path / f"train_parsing/a-{number}.png", own)
        rows.append({"id": number, "image_id": 7, "bbox": [1, 1, 9, 9], "parsing": f"a-{number}.png", "category_id": 1})
    document = {"images": [{"id": 7, "file_name": "a.jpg"}], "annotations": rows, "categories": [{"id": 1}]}
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/CIHP_train.json").write_text(json.dumps(document))
    return tmp_path


@pytest.fixture
def densepose(tmp_path: Path) -> Path:
    picture(tmp_path / "images/p.jpg")
    torso = np.zeros((256, 256), np.uint8)
    torso[64:128] = 1
    row = {
        "id": 1,
        "image_id": 3,
        "bbox": [4, 4, 14, 26],
        "category_id": 1,
        "dp_masks": [rle.encode(torso)] + [[]] * 13,
        "dp_x": [128.0, 10.0],
        "dp_y": [100.0, 20.0],
        "dp_I": [2.0, 24.0],
        "dp_U": [0.25, 0.5],
        "dp_V": [0.75, 1.0],
    }
    crowd = {"id": 2, "image_id": 3, "bbox": [0, 0, 60, 40], "iscrowd": 1, "category_id": 1, "keypoints": [1] * 51}
    document = {"images": [{"id": 3, "file_name": "p.jpg", "height": 40, "width": 60}], "annotations": [row, crowd]}
    (tmp_path / "densepose_coco_2014_minival.json").write_text(json.dumps(document))
    return tmp_path
