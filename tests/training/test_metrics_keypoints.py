"""Keypoint AP: OKS and curves worked out by hand, and against other implementations of COCO's evaluation."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from training.metrics.keypoints import (
    SIGMAS,
    PictureKeypoints,
    compare,
    keypoint_average_precision,
    object_keypoint_similarity,
)
from training.metrics.matching import AREAS, COCO_IOUS

BOX = np.array([[100.0, 100, 140, 200]])
NOBODY = np.zeros((0, 17, 3))


def person(*labelled: int) -> NDArray[np.float64]:
    """All keypoints at (120, 150); those named are visible."""
    points = np.zeros((1, 17, 3))
    points[0, list(labelled)] = (120, 150, 2)
    return points


def test_similarity_by_hand() -> None:
    truth = person(0, 15)  # nose, left ankle
    found = np.full((1, 17, 2), (120.0, 150.0))
    area = np.array([1000.0])
    assert object_keypoint_similarity(found, truth, BOX, area)[0, 0] == 1
    found[0, 0] += (3, 4)  # the nose is 5 pixels off: exp(-25 / (2 * 1000 * (2 * .026)^2)), k = 2 sigma
    found[0, 1] += 99  # the eye is not labelled
    nose = math.exp(-25 / (2 * 1000 * 0.052**2))
    assert object_keypoint_similarity(found, truth, BOX, area)[0, 0] == pytest.approx((nose + 1) / 2, rel=1e-9)
    found[0, 15] -= (0, 20)  # and the ankle 20, with a scale of .178
    ankle = math.exp(-400 / (2 * 1000 * 0.178**2))
    both = object_keypoint_similarity(found, truth, BOX, area)
    assert both[0, 0] == pytest.approx((nose + ankle) / 2, rel=1e-9)
    truth[0, 15, 2] = 1  # hidden, but annotated: counts as much
    np.testing.assert_array_equal(object_keypoint_similarity(found, truth, BOX, area), both)


def test_somebody_without_keypoints_is_a_box_grown_three_times() -> None:
    # 100..140 x 100..200 grows to 60..180 x 0..300
    found = np.full((1, 17, 2), (180.0, 300.0))
    area = np.array([4000.0])
    assert object_keypoint_similarity(found, person(), BOX, area)[0, 0] == 1
    found[0] += (3, 4)
    wanted = np.exp(-25 / (2 * 4000 * (2 * SIGMAS) ** 2)).mean()
    assert object_keypoint_similarity(found, person(), BOX, area)[0, 0] == pytest.approx(wanted, rel=1e-9)


def picture(offsets: list[float], scores: list[float], *, areas: float = 1000.0) -> PictureKeypoints:
    """One person with a nose, detections whose noses are off by so many pixels."""
    found = np.full((len(offsets), 17, 3), (120.0, 150.0, 1.0))
    found[:, 0, 0] += offsets
    return compare(np.array(scores), found, person(0), BOX, np.array([areas]), np.zeros(1, bool))


def test_average_precision_by_hand() -> None:
    # OKS of an offset d is exp(-d^2 / 5.408): .69 for 1.41 pixels
    off = math.sqrt(-5.408 * math.log(0.69))
    assert picture([off], [0.5]).similarity[0, 0] == pytest.approx(0.69)
    assert keypoint_average_precision([picture([off], [0.5])], 0.65) == 1
    assert keypoint_average_precision([picture([off], [0.5])], 0.7) == 0
    # .50, .55, .60 and .65 of ten thresholds
    assert keypoint_average_precision([picture([off], [0.5])]) == pytest.approx(0.4)
    # a wrong one before the right one: precision 1/2 at all recalls
    wrong_first = picture([30, 0], [0.9, 0.8])
    assert keypoint_average_precision([wrong_first]) == pytest.approx(0.5)
    # of two the better score takes the person, though the other fits better; the second is wrong, after the curve
    assert keypoint_average_precision([picture([off, 0], [0.9, 0.8])], 0.5) == 1
    # two people, one found by a surer detection than the wrong one beside the other: 1/1 to recall 1/2 (51 of 101)
    assert keypoint_average_precision([picture([0], [0.9]), picture([30], [0.8])]) == pytest.approx(51 / 101)
    assert math.isnan(keypoint_average_precision([]))


def test_nobody_to_find_is_ignored_and_people_who_are_not_there_count() -> None:
    found = np.full((1, 17, 3), (120.0, 150.0, 1.0))
    right = picture([0], [0.5])
    for truth, crowd in ((person(), False), (person(0), True)):
        other = compare(np.array([0.9]), found, truth, BOX, np.array([1000.0]), np.array([crowd]))
        assert other.unlabelled.all()
        assert keypoint_average_precision([right, other]) == 1
    empty = compare(np.array([0.9]), found, NOBODY, np.zeros((0, 4)), np.zeros(0), np.zeros(0, bool))
    assert keypoint_average_precision([right, empty]) == pytest.approx(0.5)


def test_areas() -> None:
    medium, large = picture([0], [0.9], areas=50.0**2), picture([30], [0.8], areas=100.0**2)
    assert keypoint_average_precision([medium, large], 0.5, area=AREAS["medium"]) == 1
    assert keypoint_average_precision([medium, large], 0.99, area=AREAS["large"]) == 0
    assert keypoint_average_precision([medium], area=AREAS["small"]) != keypoint_average_precision([medium])
    border = picture([0], [0.9], areas=96.0**2)  # it belongs to both sides
    assert [keypoint_average_precision([border], area=AREAS[name]) for name in ("medium", "large")] == [1, 1]
    assert math.isnan(keypoint_average_precision([border], area=AREAS["small"]))


def test_only_the_best_twenty_count() -> None:
    scores = [0.9 - 0.01 * k for k in range(21)]
    assert keypoint_average_precision([picture([30] * 19 + [0], scores[:20])], 0.5) == pytest.approx(1 / 20)
    assert keypoint_average_precision([picture([30] * 20 + [0], scores)], 0.5) == 0


def test_other_skeletons_are_refused() -> None:
    with pytest.raises(ValueError, match=r"found: keypoints are \[people,17"):
        compare(np.ones(1), np.zeros((1, 16, 3)), NOBODY, np.zeros((0, 4)), np.zeros(0), np.zeros(0, bool))


def random_set(seed: int) -> tuple[list[dict[str, object]], list[dict[str, object]], list[PictureKeypoints]]:
    """People (some without keypoints, some crowds) and detections of 25 pictures, as COCO writes them and as we do."""
    rng = np.random.default_rng(seed)
    truth, found, pictures = [], [], []
    for image in range(1, 26):
        count = int(rng.integers(0, 6))
        low = rng.uniform(0, 200, (count, 2))
        size = rng.uniform(8, 160, (count, 2))
        points = np.concatenate([low[:, None] + rng.random((count, 17, 2)) * size[:, None], np.ones((count, 17, 1))], 2)
        points[..., 2] = rng.choice([0, 1, 2], (count, 17), p=[0.3, 0.2, 0.5])
        points[rng.random(count) < 0.2] = 0
        points[points[..., 2] == 0] = 0
        areas, crowd = size.prod(1) * rng.uniform(0.3, 0.8, count), rng.random(count) < 0.2
        origin = np.repeat(low, 2, 0)[:, None] + rng.random((2 * count, 17, 2)) * np.repeat(size, 2, 0)[:, None]
        known = np.repeat(points[..., 2:] > 0, 2, 0)
        noise = rng.normal(0, rng.uniform(0, 0.06, (2 * count, 1, 1)) * np.repeat(size, 2, 0)[:, None], origin.shape)
        near = np.where(known, np.repeat(points[..., :2], 2, 0) + noise, origin)
        far = rng.uniform(0, 300, (int(rng.integers(0, 20)), 17, 2))
        keypoints = np.concatenate([near, far])
        kept = np.flatnonzero(rng.random(len(keypoints)) < 0.8)
        keypoints = keypoints[kept]
        scores = np.round(rng.random(len(keypoints)) * np.where(kept < len(near), 1.0, 0.6), 1)
        boxes = np.concatenate([low, low + size], 1)
        for k in range(count):
            truth.append(
                {
                    "id": len(truth) + 1, "image_id": image, "category_id": 1, "iscrowd": int(crowd[k]),
                    "bbox": [*low[k].tolist(), *size[k].tolist()], "area": float(areas[k]),
                    "keypoints": points[k].ravel().tolist(), "num_keypoints": int((points[k, :, 2] > 0).sum()),
                }
            )  # fmt: skip
        for own, score in zip(keypoints, scores, strict=True):
            flat = np.concatenate([own, np.ones((17, 1))], 1).ravel().tolist()
            found.append({"image_id": image, "category_id": 1, "keypoints": flat, "score": float(score)})
        pictures.append(compare(scores, keypoints, points, boxes, areas, crowd))
    return truth, found, pictures


@pytest.mark.parametrize("judge", ["pycocotools", "faster_coco_eval"])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_coco(seed: int, judge: str) -> None:
    if judge == "pycocotools":
        coco = pytest.importorskip("pycocotools.coco", reason="pip install pycocotools to compare with it").COCO
        from pycocotools.cocoeval import COCOeval as Evaluation
    else:
        coco = pytest.importorskip("faster_coco_eval", reason="pip install faster-coco-eval to compare with it").COCO
        from faster_coco_eval import COCOeval_faster as Evaluation
    truth, found, pictures = random_set(seed)
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = coco()
        dataset.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(1, len(pictures) + 1)],
            "categories": [{"id": 1, "name": "person"}],
            "annotations": truth,
        }
        dataset.createIndex()
        evaluation = Evaluation(dataset, dataset.loadRes(found), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # AP, AP50, AP75, APm, APl
    ours = [keypoint_average_precision(pictures, threshold) for threshold in (None, 0.5, 0.75)]
    ours += [keypoint_average_precision(pictures, area=AREAS[name]) for name in ("medium", "large")]
    np.testing.assert_allclose(ours, evaluation.stats[:5], atol=1e-9)
    precision = evaluation.eval["precision"][:, :, 0, 0, -1].mean(1)
    np.testing.assert_allclose([keypoint_average_precision(pictures, t) for t in COCO_IOUS], precision, atol=1e-9)
    assert 0.1 < ours[0] < 0.9
    assert len({round(value, 3) for value in ours}) > 3
