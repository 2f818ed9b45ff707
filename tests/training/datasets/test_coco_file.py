"""COCO annotation files in memory."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from training.data.datasets.coco import CocoPeople
from training.errors import DatasetError

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


@pytest.mark.parametrize("wrong", ["no", 5, ["a"] * 51, [1, 2, 3]])
def test_training_of_keypoints_refuses_what_are_none(tmp_path: Path, wrong: object) -> None:
    path = coco_file(tmp_path / "person_keypoints_train2017.json")
    document = json.loads(path.read_text())
    document["annotations"][7]["keypoints"] = wrong
    path.write_text(json.dumps(document))
    (reader,) = CocoPeople.find(path, tmp_path)
    assert reader.useful().tolist() == list(range(PICTURES))
    with pytest.raises(DatasetError, match=r"annotation 7: . keypoint numbers, not 51"):
        reader.useful(keypoints=True)


def changed(path: Path, **values: object) -> CocoPeople:
    """The reader of the file with other values in annotation 7, which is of the picture with the same number."""
    document = json.loads(coco_file(path).read_text())
    document["annotations"][7].update(values)
    path.write_text(json.dumps(document))
    for number in range(PICTURES):
        (path.parent / f"{number}ä.jpg").touch()
    (reader,) = CocoPeople.find(path, path.parent)
    return reader


POINTS = ("dp_masks", "dp_I", "dp_x", "dp_y", "dp_U", "dp_V")


@pytest.mark.parametrize(
    "nothing",
    [
        dict.fromkeys(POINTS),
        {"keypoints": None},
        {"keypoints": [], "num_keypoints": 0},
        {"area": None},
        {"iscrowd": None, "category_id": None},
        {**dict.fromkeys(POINTS), "keypoints": None, "area": None},
    ],
    ids=str,
)
def test_null_and_empty_say_nothing(tmp_path: Path, nothing: dict[str, object]) -> None:
    reader = changed(tmp_path / "person_keypoints_train2017.json", **nothing)
    assert (reader.keypoints, reader.densepose) == (True, False)
    assert reader.useful(keypoints=True).tolist() == list(range(PICTURES))
    person = reader.read(7).people[0]
    assert person.points is None
    assert not person.crowd
    assert (person.keypoints is None) == ("keypoints" in nothing)
    assert person.area == (None if "area" in nothing else 2400.125)


def test_points_without_masks_are_points(tmp_path: Path) -> None:
    lists = {"dp_I": [2], "dp_x": [9.0], "dp_y": [8.0], "dp_U": [0.5], "dp_V": [0.5]}
    points = changed(tmp_path / "densepose_train2014.json", **lists, dp_masks=None).read(7).people[0].points
    assert points is not None
    assert points.part.tolist() == [2]
    assert not points.regions.any()
    with pytest.raises(DatasetError, match="annotation 7: has dp_I but no 'dp_U'"):
        changed(tmp_path / "densepose_train2014.json", **{**lists, "dp_U": None}).read(7)


def test_empty_lists_of_points_are_no_densepose(tmp_path: Path) -> None:
    empty: dict[str, object] = {key: [] for key in POINTS}
    reader = changed(tmp_path / "densepose_train2014.json", **empty)
    assert (reader.densepose, reader.name) == (False, "densepose_train2014.json (keypoints)")
    one = {"dp_I": [2], "dp_x": [9.0], "dp_y": [8.0], "dp_U": [0.5], "dp_V": [0.5]}
    assert changed(tmp_path / "densepose_train2014.json", **one).densepose


def categories(path: Path, *names: str) -> CocoPeople:
    """The reader of a file whose annotations are of so many categories in turn."""
    document = json.loads(coco_file(path).read_text())
    document["categories"] = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    for number, row in enumerate(document["annotations"]):
        row["category_id"] = number % len(names) + 1
    path.write_text(json.dumps(document))
    (reader,) = CocoPeople.find(path, path.parent)
    return reader


@pytest.mark.parametrize(
    ("names", "people"),
    [
        (("person", "dog"), PEOPLE // 2),
        (("Person", "Dog", "Car", "Kite"), PEOPLE // 4),
        (("dog", "PERSON"), PEOPLE // 2),
        (("pedestrian",), PEOPLE),  # an only one
    ],
)
def test_of_several_categories_people_are_persons(tmp_path: Path, names: tuple[str, ...], people: int) -> None:
    reader = categories(tmp_path / "instances_train2017.json", *names)
    assert sum(len(rows) for rows in reader.coco.rows) == people


def test_annotations_of_which_none_is_of_a_person_are_refused(tmp_path: Path) -> None:
    path = coco_file(tmp_path / "train.json")
    document = json.loads(path.read_text())
    document["categories"] = [{"id": 1, "name": "cat"}, {"id": 2, "name": "person"}]
    path.write_text(json.dumps(document))
    with pytest.raises(DatasetError) as refusal:
        CocoPeople.find(path, tmp_path)
    assert str(refusal.value).startswith(
        f"{path}: no annotation is of category person (id 2); they are of 1 (cat): give those of people"
    )


def test_several_categories_and_no_person_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"is called person \(pedestrian, dog, car\); call the one of people so"):
        categories(tmp_path / "instances_train2017.json", "pedestrian", "dog", "car")
