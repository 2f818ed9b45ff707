"""The crowd test on a tiny data set that is drawn here, in the layout of the genuine one."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import make_eval


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four held-out and two other photos of rectangle people, seven backgrounds."""
    root = tmp_path_factory.mktemp("data")
    for name in ("ccp/images", "ccp/labels", "backgrounds"):
        (root / name).mkdir(parents=True)
    rng = np.random.default_rng(5)
    for number in (3, 13, 23, 33, 4, 14):
        labels = np.zeros((200, 120), np.uint8)
        labels[10:40, 45:70] = 13
        labels[40:110, 30:85] = 5
        labels[110:190, 35:80] = 9
        image = rng.integers(0, 255, (200, 120, 3), dtype=np.uint8)
        image[labels != 0] = (number, 200, 40)
        cv2.imwrite(str(root / f"ccp/images/{number:04d}.jpg"), image)
        cv2.imwrite(str(root / f"ccp/labels/{number:04d}.png"), labels)
    for number in range(7):
        cv2.imwrite(str(root / f"backgrounds/c{number}.jpg"), np.full((150, 260, 3), 30 * number, np.uint8))
    return root


@pytest.fixture(scope="module")
def written(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("crowd")
    make_eval.write_crowd_test(data, out, seed=7, count=12)
    return out


def test_same_seed_same_bytes_and_other_seed_differs(data: Path, written: Path, tmp_path: Path) -> None:
    assert make_eval.main(["--data", str(data), "--out", str(tmp_path / "a"), "--seed", "7", "--count", "12"]) == 0
    make_eval.write_crowd_test(data, tmp_path / "b", seed=8, count=12)
    files = sorted(path.relative_to(written) for path in written.rglob("*.*"))
    assert len(files) == 1 + 3 * 12
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (written / name).read_bytes(), name
    assert (tmp_path / "b/annotations.json").read_bytes() != (written / "annotations.json").read_bytes()


def test_boxes_areas_and_visibility_agree_with_the_maps(written: Path) -> None:
    document = json.loads((written / "annotations.json").read_text())
    sizes = {image["id"]: image for image in document["images"]}
    assert {a["image_id"] for a in document["annotations"]} == set(range(12))
    for annotation in document["annotations"]:
        image = sizes[annotation["image_id"]]
        stem = Path(image["file_name"]).stem
        instances = cv2.imread(str(written / f"instances/{stem}.png"), cv2.IMREAD_GRAYSCALE)
        assert instances.shape == (image["height"], image["width"])
        ys, xs = np.nonzero(instances == annotation["instance"])
        x, y, width, height = annotation["bbox"]
        assert (x, y, x + width, y + height) == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert annotation["area"] == len(xs)
        assert 0.4 <= annotation["visible"] <= 1
        assert height <= 0.95 * image["height"] + 2


def test_labels_lie_exactly_where_people_are(written: Path) -> None:
    for path in (written / "labels").glob("*.png"):
        labels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        instances = cv2.imread(str(written / "instances" / path.name), cv2.IMREAD_GRAYSCALE)
        assert set(np.unique(labels)) <= {0, 5, 9, 13}
        # only the one-pixel seam between the resized mask and the resized labels may differ
        assert ((labels != 0) != (instances != 0)).mean() < 0.02
        assert not np.any((labels != 0) & (instances == 0))


def test_only_held_out_pictures_are_used(written: Path) -> None:
    document = json.loads((written / "annotations.json").read_text())
    assert {a["source"] for a in document["annotations"]} <= {"0003", "0013", "0023", "0033"}
    assert {image["background"] for image in document["images"]} <= {"c0.jpg", "c3.jpg", "c6.jpg"}


def test_a_person_in_two_far_parts_is_refused_and_a_split_by_a_belt_is_not() -> None:
    mask = np.zeros((200, 60), bool)
    mask[10:90, 20:40] = mask[95:190, 20:40] = True
    mask[0:3, 55:58] = True  # speckle
    kept = make_eval.clean_mask(mask)
    assert kept is not None
    assert kept[10:90, 20:40].all()
    assert kept[95:190, 20:40].all()
    assert not kept[0:3].any()
    mask[60:130] = False
    assert make_eval.clean_mask(mask) is None
    assert make_eval.clean_mask(np.zeros((20, 20), bool)) is None


def test_visible_fraction_counts_occlusion_and_the_edge() -> None:
    def person(columns: slice, bottom: int) -> make_eval.Placed:
        alpha = np.zeros((20, 20), np.float32)
        alpha[0:10, columns] = 1
        blank = np.zeros((20, 20), np.uint8)
        return make_eval.Placed("x", bottom, np.zeros((20, 20, 3), np.uint8), blank, alpha, 100)

    assert make_eval.visible_fractions([person(np.s_[0:10], 10), person(np.s_[7:17], 12)]) == [0.7, 1.0]
    assert make_eval.visible_fractions([person(np.s_[15:20], 10)]) == [0.5]


def test_missing_data_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make_eval.main(["--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "--data" in capsys.readouterr().err


def test_absent_backgrounds_are_named(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ccp").symlink_to(data / "ccp")
    assert make_eval.main(["--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert str(tmp_path / "backgrounds") in capsys.readouterr().err
