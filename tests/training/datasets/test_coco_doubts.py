"""COCO files that can be read and can hardly be right: `datasets check` says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.datasets.layouts import picture, run
from training.data.datasets.check import find_datasets
from training.errors import DatasetError

Rows = list[dict[str, Any]]
HEIGHT, WIDTH = 40, 60


def coco(root: Path) -> Path:
    """Two pictures of two people each, whose boxes and keypoints overhang by a pixel as genuine ones do."""
    joints = [20.0, 10.0, 2, 61.0, -1.0, 1] + [30.0, 20.0, 2] * 13 + [900.0, 900.0, 0] * 2
    rows = [
        {"id": n, "image_id": n // 2, "category_id": 1, "bbox": [5.0 + n, -0.5, 56.0 - n, 41.0], "keypoints": joints}
        for n in range(4)
    ]
    crowd = {"id": 4, "image_id": 1, "category_id": 1, "bbox": [0, 0, 60, 40], "iscrowd": 1, "keypoints": [1] * 51}
    images = [{"id": n, "file_name": f"{n}.jpg", "height": HEIGHT, "width": WIDTH} for n in range(2)]
    for about in images:
        picture(root / "images" / str(about["file_name"]))
    path = root / "train.json"
    path.write_text(json.dumps({"images": images, "annotations": [*rows, crowd]}))
    return path


def fractions(rows: Rows) -> None:
    for row in rows:
        row["bbox"] = [value / (HEIGHT if i % 2 else WIDTH) for i, value in enumerate(row["bbox"])]


def corners(rows: Rows) -> None:
    for row in rows:
        x, y, width, height = row["bbox"]
        row["bbox"] = [x, y, x + width, y + height]


def joint_fractions(rows: Rows) -> None:
    for row in rows:
        row["keypoints"] = [v / WIDTH if i % 3 < 2 else v for i, v in enumerate(row["keypoints"])]


NO_POINTS = {key: [] for key in ("dp_I", "dp_x", "dp_y", "dp_U", "dp_V")}
CASES: tuple[tuple[Callable[[Rows], object], str], ...] = (
    (fractions, "all boxes lie within 1.01667 pixels of the corner, like fractions"),
    (corners, "2 of 5 boxes end far outside their picture, the first of annotation 2, [7.0, -0.5, 61.0, 40.5]"),
    (lambda rows: rows[1]["bbox"].__setitem__(0, 5000), "1 of 5 boxes end far outside their picture, the first of"),
    (lambda rows: rows[2]["bbox"].__setitem__(0, -40.0), "annotation 2, [-40.0, -0.5, 54.0, 41.0]"),
    (joint_fractions, "all keypoints lie within 1.01667 pixels of the corner, like fractions"),
    (lambda rows: rows[0]["keypoints"].__setitem__(3, 9000), "1 of 4 people have labelled keypoints far outside their"),
    (lambda rows: rows.append(dict(rows[1], id=9)), "1 of 6 boxes are there twice in their picture"),
    (lambda rows: rows[2].update(id=1), "1 annotation ids are there more than once, the first 1"),
    (lambda rows: [row.update(iscrowd=1) for row in rows], "nobody to learn from: all annotations have iscrowd 1"),
    (lambda rows: rows[1].update(NO_POINTS), "dp_I is empty in all 1 annotations that have it: no IUV is learnt"),
)


@pytest.mark.parametrize(("damage", "says"), CASES, ids=[says for _, says in CASES])
def test_what_can_hardly_be_right_is_named(tmp_path: Path, damage: Callable[[Rows], object], says: str) -> None:
    path = coco(tmp_path)
    assert run(str(path))[0] == 0, run(str(path))[1]
    document = json.loads(path.read_text())
    damage(document["annotations"])
    path.write_text(json.dumps(document))
    code, output = run(str(path))
    assert (code, says in output.replace("\n", "")) == (1, True), output
    assert "2 pictures" in output  # training reads them all the same


@pytest.mark.parametrize("box", ["a", []], ids=["no list", "empty"])
def test_boxes_that_cannot_be_read_are_named_and_nothing_else_is_said_of_them(tmp_path: Path, box: object) -> None:
    path = coco(tmp_path)
    document = json.loads(path.read_text())
    document["annotations"] = [dict(row, bbox=box) for row in document["annotations"] if not row.get("iscrowd")]
    path.write_text(json.dumps(document))
    code, output = run(str(path))
    assert code == 1
    assert f"annotation 0: bbox {box} is no box x, y, w, h" in output.replace("\n", "")
    assert "nobody to learn from" not in output
    assert "no annotation has" not in output
    (document["annotations"][0]["iscrowd"], document["annotations"][0]["bbox"]) = (1, [0, 0, 60, 40])
    del document["annotations"][1:]
    path.write_text(json.dumps(document))
    assert "nobody to learn from" in run(str(path))[1]


def test_a_picture_under_two_ids_is_refused(tmp_path: Path) -> None:
    """Each would show the people of the other as background."""
    path = coco(tmp_path)
    document = json.loads(path.read_text())
    document["images"][1]["file_name"] = "0.jpg"
    path.write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=r"file_name '0\.jpg' is there 2 times, under several ids"):
        find_datasets(path)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = coco(tmp_path)
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert run(str(path))[0] == 0


def test_pictures_lie_beside_a_link_or_beside_what_it_names(tmp_path: Path) -> None:
    path, store = coco(tmp_path / "own"), tmp_path / "store"
    store.mkdir()
    path.rename(store / "all.json")
    path.symlink_to(store / "all.json")
    assert find_datasets(path)[0].read(0).image == tmp_path / "own/images/0.jpg"
    (tmp_path / "own/images").rename(store / "images")
    assert find_datasets(path)[0].read(0).image == store / "images/0.jpg"


def test_where_pictures_were_looked_for_is_said(tmp_path: Path) -> None:
    path = coco(tmp_path)
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError) as told:
        find_datasets(path)[0].read(0)
    assert f"looked for in {tmp_path}, its images/ and train2017" in str(told.value)
    assert "put the pictures in images/ beside train.json" in str(told.value)
    assert "--images" not in str(told.value)  # which train does not have
    with pytest.raises(DatasetError, match="--images is the folder"):
        find_datasets(path, tmp_path)[0].read(0)


def test_pictures_that_evaluate_refuses_are_named(tmp_path: Path) -> None:
    path = coco(tmp_path)
    document = json.loads(path.read_text())
    picture(tmp_path / "images/0.bmp")
    document["images"][0]["file_name"] = "0.bmp"
    path.write_text(json.dumps(document))
    code, output = run(str(path))
    assert code == 1
    assert "0.bmp: can be trained on, but evaluate takes only JPEG" in output.replace("\n", "")
