"""Box AP: cases by hand, and two COCO evaluations, the official one and a C++ one, on random pictures."""

from __future__ import annotations

import contextlib
import io
import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from training.metrics.detection import (
    PictureBoxes,
    average_precision,
    box_coverage,
    box_iou,
    mean_average_precision,
    precision_recall,
)
from training.metrics.matching import AREAS, COCO_IOUS

PERSON = [0.0, 0.0, 10.0, 100.0]
OTHER = [50.0, 0.0, 60.0, 100.0]
NOWHERE = [200.0, 0.0, 210.0, 100.0]


def picture(
    detections: list[tuple[list[float], float]], truth: list[list[float]], crowd: list[list[float]] | None = None
) -> PictureBoxes:
    return PictureBoxes(
        np.array([box for box, _ in detections], np.float32).reshape(-1, 4),
        np.array([score for _, score in detections], np.float32),
        np.array(truth, np.float32).reshape(-1, 4),
        np.array(crowd or [], np.float32).reshape(-1, 4),
    )


def test_overlaps_by_hand() -> None:
    a, b = np.array([[0, 0, 10, 10], [3, 3, 3, 9]]), np.array([[5, 0, 15, 10], [0, 0, 10, 10], [20, 20, 30, 30]])
    np.testing.assert_allclose(box_iou(a, b), [[50 / 150, 1, 0], [0, 0, 0]])
    np.testing.assert_allclose(box_coverage(a, b), [[0.5, 1, 0], [0, 0, 0]])


def test_right_wrong_right_by_hand() -> None:
    pictures = [picture([(PERSON, 0.9), (NOWHERE, 0.8), (OTHER, 0.7)], [PERSON, OTHER])]
    precision, recall, scores = precision_recall(pictures)
    np.testing.assert_allclose(precision, [1, 1 / 2, 2 / 3])
    np.testing.assert_allclose(recall, [0.5, 0.5, 1])
    np.testing.assert_allclose(scores, [0.9, 0.8, 0.7], rtol=1e-6)
    # recalls 0 .. 0.50 are read at precision 1 (51 of 101), the other 50 at 2/3
    assert average_precision(pictures) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_second_detection_of_one_person_is_wrong() -> None:
    assert average_precision([picture([(PERSON, 0.9), (PERSON, 0.8)], [PERSON, OTHER])]) == pytest.approx(51 / 101)
    precision, _, _ = precision_recall([picture([(PERSON, 0.9), (PERSON, 0.8)], [PERSON])])
    np.testing.assert_allclose(precision, [1, 0.5])


def test_crowds_and_small_people_are_neither_right_nor_wrong() -> None:
    inside_crowd = [[300.0, 0.0, 310.0, 90.0], [320.0, 0.0, 330.0, 90.0]]
    crowd = [[290.0, 0.0, 400.0, 100.0]]
    small = [500.0, 0.0, 510.0, 30.0]
    detections = [(inside_crowd[0], 0.95), (inside_crowd[1], 0.94), (small, 0.93), (PERSON, 0.5)]
    assert average_precision([picture(detections, [PERSON, small], crowd)], min_height=64) == 1.0
    assert average_precision([picture(detections, [PERSON], [])], min_height=0) == pytest.approx(0.25)
    assert math.isnan(average_precision([picture(detections, [small], crowd)], min_height=64))


def test_nothing_found_and_nobody_there() -> None:
    assert average_precision([picture([], [PERSON])]) == 0.0
    assert math.isnan(average_precision([picture([(PERSON, 0.9)], [])]))
    assert math.isnan(average_precision([]))


def test_false_people_on_pictures_without_people_cost_precision() -> None:
    found = picture([(PERSON, 0.8)], [PERSON])
    assert average_precision([found]) == 1.0
    assert average_precision([found, picture([(PERSON, 0.9)], [])]) == pytest.approx(0.5)


def random_set(seed: int, *, fixed_width: bool) -> list[PictureBoxes]:
    """Pictures with people, crowds, good and bad detections and ties of score."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(25):
        count = int(rng.integers(0, 6))
        low = rng.uniform(0, 150, (count, 2))
        size = np.stack(
            [np.full(count, 40.0) if fixed_width else rng.uniform(5, 90, count), rng.uniform(5, 150, count)], 1
        )
        people = np.concatenate([low, low + size], 1)
        crowd = rng.random(count) < 0.2
        near = np.repeat(people, 2, 0) + rng.normal(0, 6, (2 * count, 4))
        if fixed_width:
            near[:, 2] = near[:, 0] + 40
        far_low = rng.uniform(0, 200, (3, 2))
        far = np.concatenate([far_low, far_low + np.stack([np.full(3, 40.0), rng.uniform(5, 150, 3)], 1)], 1)
        boxes = np.concatenate([near, far])
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        boxes = boxes[rng.random(len(boxes)) < 0.8]
        scores = np.round(rng.random(len(boxes)), 1)
        pictures.append(PictureBoxes(boxes, scores, people[~crowd], people[crowd]))
    return pictures


JUDGES = ("pycocotools", "faster_coco_eval")


def official(
    judge: str, pictures: list[PictureBoxes], area: tuple[float, float] = AREAS["all"], most: int = 100
) -> NDArray[np.float64]:
    """AP at .50:.05:.95 by another implementation, people and detections outside of `area` ignored."""
    if judge == "pycocotools":
        coco = pytest.importorskip("pycocotools.coco", reason="pip install pycocotools to compare with it").COCO
        from pycocotools.cocoeval import COCOeval as Evaluation
    else:
        coco = pytest.importorskip("faster_coco_eval", reason="pip install faster-coco-eval to compare with it").COCO
        from faster_coco_eval import COCOeval_faster as Evaluation

    def row(box: NDArray[np.float64], image: int, **more: float) -> dict[str, object]:
        width, height = (box[2:] - box[:2]).tolist()
        return {
            "image_id": image,
            "category_id": 1,
            "bbox": [*box[:2].tolist(), width, height],
            "area": width * height,
            **more,
        }

    truth, found = [], []
    for image, p in enumerate(pictures, 1):
        truth += [row(box, image, iscrowd=0) for box in p.truth]
        truth += [row(box, image, iscrowd=1) for box in p.crowd]
        found += [row(box, image, score=float(score)) for box, score in zip(p.boxes, p.scores, strict=True)]
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = coco()
        dataset.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(1, len(pictures) + 1)],
            "categories": [{"id": 1, "name": "person"}],
            "annotations": [{**annotation, "id": number} for number, annotation in enumerate(truth, 1)],
        }
        dataset.createIndex()
        evaluation = Evaluation(dataset, dataset.loadRes(found), "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [list(area)], ["all"]
        evaluation.params.maxDets = [1, 2, most]
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"][:, :, 0, 0, -1].mean(1))


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_coco(seed: int, judge: str) -> None:
    pictures = random_set(seed, fixed_width=False)
    expected = official(judge, pictures)
    assert 0.05 < expected[0] < 0.95
    ours = [average_precision(pictures, iou=iou) for iou in COCO_IOUS]
    np.testing.assert_allclose(ours, expected, atol=1e-9)
    assert mean_average_precision(pictures) == pytest.approx(expected.mean())


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("seed", range(5))
def test_small_people_agree_with_coco(seed: int, judge: str) -> None:
    # all boxes are 40 wide, so a least area is a least height
    pictures = random_set(seed + 100, fixed_width=True)
    expected = official(judge, pictures, (40 * 64, 1e10))
    ours = [average_precision(pictures, iou=iou, min_height=64) for iou in COCO_IOUS]
    np.testing.assert_allclose(ours, expected, atol=1e-9)
    assert abs(expected[0] - official(judge, pictures)[0]) > 1e-3


@pytest.mark.parametrize("judge", JUDGES)
def test_the_most_detections_of_a_picture_agree_with_coco(judge: str) -> None:
    rng = np.random.default_rng(7)
    pictures = []
    for picture in random_set(300, fixed_width=False):
        away = rng.uniform(400, 500, (100, 2))  # from everybody, and surer than half of the others
        boxes = np.concatenate([picture.boxes, np.concatenate([away, away + 9], 1)])
        scores = np.concatenate([picture.scores, np.full(100, 0.45)])
        pictures.append(replace(picture, boxes=boxes, scores=scores))
    expected = official(judge, pictures)
    ours = [average_precision(pictures, iou=iou) for iou in COCO_IOUS]
    np.testing.assert_allclose(ours, expected, atol=1e-9)
    assert abs(expected[0] - official(judge, pictures, most=200)[0]) > 1e-3


@pytest.mark.parametrize("judge", JUDGES)
def test_people_in_the_same_place_agree_with_coco(judge: str) -> None:
    # equal overlaps: who takes whom decides what the next detection finds
    near, far = np.array([0.0, 0, 40, 100]), np.array([10.0, 0, 50, 100])
    pictures = [
        PictureBoxes(np.array([near, far, near]), np.array([0.9, 0.8, 0.8]), np.array([near, near]), far[None]),
        PictureBoxes(np.array([far, near]), np.array([0.7, 0.9]), np.array([far, near, far]), np.zeros((0, 4))),
    ]
    ours = [average_precision(pictures, iou=iou) for iou in COCO_IOUS]
    np.testing.assert_allclose(ours, official(judge, pictures), atol=1e-9)
