"""A tiny data folder in the genuine layout, drawn by the test."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """What is imported stays: to look through it for garbage again and again takes longer than some tests."""
    gc.freeze()


def _person(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A standing figure in flat colours and its CIHP labels."""
    height, width = size
    image = rng.integers(90, 160, (height, width, 3)).astype(np.uint8)
    labels = np.zeros(size, np.uint8)
    x, top, unit = width // 2, height // 10, height // 10
    shapes = (
        (2, (x - unit // 2, top, x + unit // 2, top + unit)),  # hair
        (13, (x - unit // 3, top + unit // 3, x + unit // 3, top + unit)),  # face
        (5, (x - unit, top + unit, x + unit, top + 4 * unit)),  # upper clothes
        (15, (x - unit - unit // 2, top + unit, x - unit, top + 4 * unit)),  # right arm, on the picture's left
        (14, (x + unit, top + unit, x + unit + unit // 2, top + 4 * unit)),  # left arm
        (9, (x - unit, top + 4 * unit, x + unit, top + 7 * unit)),  # pants
        (19, (x - unit, top + 7 * unit, x, top + 8 * unit)),  # right shoe
        (18, (x, top + 7 * unit, x + unit, top + 8 * unit)),  # left shoe
    )
    for label, (x1, y1, x2, y2) in shapes:
        labels[y1:y2, x1:x2] = label
        image[y1:y2, x1:x2] = (label * 12, 255 - label * 11, (label * 37) % 255)
    return image, labels


def write_data(root: Path, photos: int = 12) -> Path:
    """ccp/, groups/ and backgrounds/ with a few small pictures."""
    rng = np.random.default_rng(0)
    for folder in ("ccp/images", "ccp/labels", "groups/images", "backgrounds"):
        (root / folder).mkdir(parents=True)
    for index in range(1, photos + 1):
        image, labels = _person(rng, (160, 100))
        cv2.imwrite(str(root / f"ccp/images/{index:04d}.jpg"), image[..., ::-1])
        cv2.imwrite(str(root / f"ccp/labels/{index:04d}.png"), labels)
    images, annotations = [], []
    for index in range(6):
        picture = np.concatenate([_person(rng, (160, 100))[0] for _ in range(2)], 1)
        name = f"g{index}.jpg"
        cv2.imwrite(str(root / "groups/images" / name), picture[..., ::-1])
        images.append(
            {"id": index, "file_name": name, "width": 200, "height": 160, "all_people": "yes", "aspect": "true"}
        )
        for person in range(2):
            box = [26 + 100 * person, 16, 48, 128]
            annotations.append(
                {"id": 2 * index + person, "image_id": index, "category_id": 1, "bbox": box, "iscrowd": 0}
            )
        annotations.append(
            {"id": 100 + index, "image_id": index, "category_id": 1, "bbox": [0, 0, 20, 20], "iscrowd": 1}
        )
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    (root / "groups/annotations.json").write_text(json.dumps(content))
    for index in range(4):
        picture = rng.integers(0, 255, (120, 160, 3)).astype(np.uint8)
        cv2.imwrite(str(root / f"backgrounds/b{index}.jpg"), picture)
    return root


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def write_rendered(root: Path) -> Path:
    """Two pictures of one flat person each, in the layout of `parsing-rcnn render`."""
    for folder in ("Images", "Category_ids", "Human_ids", "IUV"):
        (root / folder).mkdir(parents=True)
    for index in range(2):
        category = np.zeros((96, 96), np.uint8)
        category[16:80, 30:70] = 5
        iuv = np.zeros((96, 96, 3), np.uint8)
        iuv[16:80, 30:70] = (2, 100, 50)
        iuv[16:80, 30:50, 0] = 16
        cv2.imwrite(str(root / f"Images/{index:07d}.jpg"), np.full((96, 96, 3), 120, np.uint8))
        for folder, array in (("Category_ids", category), ("Human_ids", (category > 0).astype(np.uint8)), ("IUV", iuv)):
            cv2.imwrite(str(root / folder / f"{index:07d}.png"), array)
    return root


@pytest.fixture
def rendered_folder(tmp_path: Path) -> Path:
    return write_rendered(tmp_path / "rendered")
