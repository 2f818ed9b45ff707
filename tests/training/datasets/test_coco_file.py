"""COCO annotation files in memory."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from training.data.datasets.coco import CocoPeople
from training.data.sources import DatasetError

PICTURES, PEOPLE = 100, 2000


def coco_file(path: Path) -> Path:
    """Like person_keypoints_train2017.json: outlines are the most of it."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "id": number,
            "image_id": number % PICTURES,
            "category_id": 1,
            "iscrowd": 0,
            "area": 2400.125,
            "bbox": [10.5, 20.25, 30.0, 40.75],
            "num_keypoints": 17,
            "keypoints": rng.integers(1, 3, 51).tolist(),
            "segmentation": [rng.random(80).round(2).tolist()],
        }
        for number in range(PEOPLE)
    ]
    images = [{"id": n, "file_name": f"{n}ä.jpg", "height": 90, "width": 160} for n in reversed(range(PICTURES))]
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": [{"id": 1, "name": "person"}]}))
    return path


def test_an_annotation_file_takes_less_memory_than_disk(tmp_path: Path) -> None:
    """Every process of every GPU holds it: a gigabyte each, once."""
    path = coco_file(tmp_path / "person_keypoints_train2017.json")
    CocoPeople.find(path, tmp_path)  # what only the first file takes
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    (reader,) = CocoPeople.find(path, tmp_path)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(reader) == PICTURES
    assert held < 400 * PEOPLE
    assert held < path.stat().st_size


def test_what_is_read_is_what_the_file_says(tmp_path: Path) -> None:
    (reader,) = CocoPeople.find(coco_file(tmp_path / "person_keypoints_train2017.json"), tmp_path)
    assert (reader.keypoints, reader.densepose) == (True, False)
    assert reader.useful(keypoints=True).tolist() == list(range(PICTURES))
    assert [reader.size(index) for index in (0, PICTURES - 1)] == [(90, 160)] * 2
    (tmp_path / "7ä.jpg").touch()
    record = reader.read(7)  # pictures are in the order of their ids, whatever the file's
    assert record.image.name == "7ä.jpg"
    assert len(record.people) == PEOPLE // PICTURES
    assert record.people[0].area == 2400.125
    assert record.people[0].box.tolist() == [10.5, 20.25, 40.5, 61.0]


@pytest.mark.parametrize("wrong", [None, 5, ["a"] * 51, [1, 2, 3]])
def test_training_of_keypoints_refuses_what_are_none(tmp_path: Path, wrong: object) -> None:
    path = coco_file(tmp_path / "person_keypoints_train2017.json")
    document = json.loads(path.read_text())
    document["annotations"][7]["keypoints"] = wrong
    path.write_text(json.dumps(document))
    (reader,) = CocoPeople.find(path, tmp_path)
    assert reader.useful().tolist() == list(range(PICTURES))
    with pytest.raises(DatasetError, match=r"annotation 7: . keypoint numbers, not 51"):
        reader.useful(keypoints=True)
