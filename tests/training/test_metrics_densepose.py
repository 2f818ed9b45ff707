"""GPS on a strip of points whose distances are known; AP by hand and by COCO's own accumulation."""

from __future__ import annotations

import contextlib
import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from training.metrics.densepose import (
    BodySurface,
    PicturePoints,
    gps_average_precision,
    nearest_of_part,
    point_similarity,
    read_cells,
)
from training.metrics.matching import AREAS, COCO_IOUS


def strip() -> BodySurface:
    """Part 2 (trunk) has points at 0, 1, 2, 3 decimetres; part 24 (head) one at a metre; every point is an anchor."""
    x = np.array([0.0, 0.1, 0.2, 0.3, 1.0], np.float32)
    position = np.stack([x, np.zeros(5), np.zeros(5)], 1).astype(np.float32)
    uv = np.stack([x, np.full(5, 0.5)], 1).astype(np.float32)
    return BodySurface(
        position,
        np.array([2, 2, 2, 2, 24], np.uint8),
        uv,
        np.arange(5, dtype=np.int16),
        np.abs(x[:, None] - x) * np.float32(1.5),  # the way over the skin is longer than the straight line
    )


def test_points_are_the_nearest_of_their_part() -> None:
    found = strip().points(np.array([2, 2, 24, 0]), np.array([0.12, 0.9, 0.0, 0.5]), np.full(4, 0.5))
    assert found.tolist() == [1, 3, 4, -1]


def test_distances_near_and_far() -> None:
    a, b = np.array([0, 0, 0, 2, -1]), np.array([0, 1, 4, 3, 1])
    np.testing.assert_allclose(strip().geodesic(a, b), [0, 0.15, 1.5, 0.15, np.inf], rtol=1e-5)
    for scale, wanted in ((0.6, 0.09), (0.5, 0.05)):  # below 8 cm over the skin the straight line is taken
        smaller = replace(strip(), position=strip().position * scale, distances=strip().distances * scale)
        np.testing.assert_allclose(smaller.geodesic(a, b)[1], wanted, rtol=1e-5)


def test_nothing_is_nearer_on_the_skin_than_in_a_straight_line() -> None:
    """Points share anchors: the way between these may be shorter than the points are apart."""
    shared = replace(strip(), anchor=np.array([0, 1, 1, 1, 4], np.int16))
    np.testing.assert_allclose(shared.geodesic(np.array([0, 0]), np.array([1, 3])), [0.15, 0.3], rtol=1e-6)


def test_similarity_of_each_part_at_the_distance_between_its_annotators() -> None:
    # metres of Guler et al.'s evaluation: torso, hands, feet, upper legs, lower legs, upper arms, lower arms, head
    metres = {2: 0.351, 4: 0.107, 6: 0.126, 10: 0.237, 14: 0.173, 18: 0.142, 22: 0.128, 24: 0.150}  # last part of each
    parts = np.arange(1, 25)
    distances = np.array([next(scale for last, scale in metres.items() if part <= last) for part in parts])
    np.testing.assert_allclose(point_similarity(distances, parts), np.full(24, math.exp(-0.5)), rtol=1e-9)


def test_similarity_has_a_scale_for_each_part() -> None:
    values = point_similarity(np.array([0.0, 0.351, 0.150, np.inf]), np.array([1, 2, 23, 5]))
    np.testing.assert_allclose(values, [1, math.exp(-0.5), math.exp(-0.5), 0])


def test_average_precision_by_hand() -> None:
    perfect = [PicturePoints(np.array([0.9, 0.8]), np.array([[1.0, 0.0], [0.0, 0.7]]))]
    assert gps_average_precision(perfect, 0.5) == 1.0
    # the second person counts up to 0.70: 5 of 10 thresholds; at the others recall ends at one half (51 of 101)
    assert math.isclose(gps_average_precision(perfect), (5 + 5 * 51 / 101) / 10)
    doubled = [PicturePoints(np.array([0.9, 0.8]), np.array([[1.0], [1.0]]))]
    assert gps_average_precision(doubled, 0.5) == 1.0  # the false one comes last
    missed = [PicturePoints(np.zeros(0), np.zeros((0, 2)))]
    assert gps_average_precision(missed, 0.5) == 0.0
    assert math.isnan(gps_average_precision([PicturePoints(np.zeros(0), np.zeros((0, 0)))], 0.5))


def test_a_part_without_points_is_nowhere() -> None:
    parts, charts = np.array([2, 2]), np.array([[0.0, 0.0], [1.0, 1.0]])
    found = nearest_of_part(parts, charts, np.array([5, 2]), np.array([0.1, 0.9]), np.array([0.0, 0.9]))
    assert found.tolist() == [-1, 1]


def test_cells_are_read_where_they_lie() -> None:
    cells = np.zeros((3, 4, 4), np.uint8)
    cells[:, 1, 2] = (7, 255, 51)
    box = np.array([10.0, 20.0, 18.0, 28.0])  # cells of two pixels
    part, u, v = read_cells(cells, box, np.array([14.0, 15.9, 16.0, 9.0, 15.0]), np.array([22.0, 23.9, 22.0, 22.0, 29]))
    assert part.tolist() == [7, 7, 0, 0, 0]
    assert u[:2].tolist() == [1.0, 1.0]
    assert v[:2].tolist() == [0.2, 0.2]


def points(scores: list[float], similarity: list[list[float]], **more: Any) -> PicturePoints:
    arrays = {name: np.array(value) for name, value in more.items()}
    return PicturePoints(np.array(scores), np.array(similarity).reshape(len(scores), -1), **arrays)


def test_only_the_best_twenty_detections_count() -> None:
    scores = np.linspace(0.9, 0.5, 21).tolist()
    similarity = [[0.0]] * 20 + [[1.0]]
    assert gps_average_precision([points(scores, similarity)], 0.5) == 0.0
    assert gps_average_precision([points(scores[1:], similarity[1:])], 0.5) == pytest.approx(1 / 20)


def test_people_without_points_are_neither_right_nor_wrong() -> None:
    found = points([0.9, 0.8], [[0.0, 0.0], [0.0, 1.0]], pointless=[True, False], box_overlap=[[0.8, 0], [0, 1]])
    assert gps_average_precision([found], 0.5) == 1.0
    # less of the same box, or somebody with points in it: wrong
    assert gps_average_precision([replace(found, box_overlap=np.array([[0.79, 0], [0, 1]]))], 0.5) == 0.5
    assert gps_average_precision([replace(found, pointless=np.array([False, False]))], 0.5) == pytest.approx(51 / 202)
    # one such person excuses one detection, a crowd all
    twice = points(
        [0.9, 0.8, 0.7],
        [[0.0, 0.0], [0.0, 0.0], [0.0, 1.0]],
        pointless=[True, False],
        box_overlap=[[0.9, 0], [0.9, 0], [0, 1]],
    )
    assert gps_average_precision([twice], 0.5) == 0.5
    assert gps_average_precision([replace(twice, crowd=np.array([True, False]))], 0.5) == 1.0


def test_whoever_fits_somebody_who_counts_is_right_by_somebody_who_does_not() -> None:
    """The published code asks at the highest threshold whether a detection is ignored, and counts by that at all."""
    found = points([0.9], [[0.0, 0.7]], areas=[5000, 500], box_areas=[5000], box_overlap=[[0.9, 0.0]])
    medium = [gps_average_precision([found], threshold, area=AREAS["medium"]) for threshold in (0.5, 0.7, 0.75)]
    assert medium == [1.0, 1.0, 0.0]
    apart = replace(found, box_overlap=np.array([[0.79, 0.0]]))  # ignored at .5, and wrong at .75: nobody is found
    beside = points([0.8], [[1.0]], areas=[5000], box_areas=[5000], box_overlap=[[1.0]])
    precisions = [gps_average_precision([apart, beside], t, area=AREAS["medium"]) for t in (0.5, 0.75)]
    assert precisions == pytest.approx([51 / 101, 51 / 202])


def test_a_picture_in_which_nobody_counts_costs_nothing() -> None:
    good = points([0.8], [[1.0]])
    pointless = points([0.9], [[0.0]], pointless=[True], box_overlap=[[0.0]])
    assert gps_average_precision([good, pointless], 0.5) == 1.0


def random_points(seed: int) -> list[PicturePoints]:
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(30):
        people, detections = int(rng.integers(1, 5)), int(rng.integers(0, 26))
        similarity = np.round(np.where(rng.random((detections, people)) < 0.3, rng.random((detections, people)), 0), 2)
        scores = np.round(rng.random(detections), 1)
        areas, box_areas = rng.uniform(500, 20000, people), rng.uniform(500, 20000, detections)
        pictures.append(PicturePoints(scores, similarity, None, box_areas, areas))
    return pictures


@pytest.mark.parametrize("area", ["all", "medium", "large"])
@pytest.mark.parametrize("seed", range(3))
def test_accumulation_agrees_with_coco(seed: int, area: str) -> None:
    pytest.importorskip("pycocotools", reason="pip install pycocotools to compare with it")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    pictures = random_points(seed)

    class ByPoints(COCOeval):  # type: ignore[misc]
        def computeIoU(self, image: int, category: int) -> Any:  # noqa: N802
            picture = pictures[image - 1]
            order = np.argsort(-picture.scores, kind="mergesort")[: self.params.maxDets[-1]]
            return picture.similarity[order]

        def evaluateImg(self, *args: Any) -> Any:  # noqa: N802
            found = super().evaluateImg(*args)
            if found is not None and all(found["gtIgnore"]):  # the one rule of DensePose's evaluation needed here
                found["dtIgnore"] = np.ones_like(found["dtIgnore"], bool)
            return found

    def rows(name: str, areas: list[float], image: int, **more: Any) -> list[dict[str, Any]]:
        shared = {"image_id": image, "category_id": 1, "iscrowd": 0}
        return [
            {**shared, "bbox": [0, 0, a, 1], "area": a, **{k: float(v[i]) for k, v in more.items()}}
            for i, a in enumerate(areas)
        ]

    truth, found = [], []
    for image, picture in enumerate(pictures, 1):
        truth += rows("truth", picture.areas.tolist(), image)
        found += rows("found", picture.box_areas.tolist(), image, score=picture.scores)
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO()
        dataset.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(1, len(pictures) + 1)],
            "categories": [{"id": 1}],
            "annotations": [{**row, "id": number} for number, row in enumerate(truth, 1)],
        }
        dataset.createIndex()
        evaluation = ByPoints(dataset, dataset.loadRes(found), "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [list(AREAS[area])], [area]
        evaluation.params.maxDets = [20]
        evaluation.evaluate()
        evaluation.accumulate()
    expected = evaluation.eval["precision"][:, :, 0, 0, 0].mean(1)
    ours = [gps_average_precision(pictures, threshold, area=AREAS[area]) for threshold in COCO_IOUS]
    np.testing.assert_allclose(ours, expected, atol=1e-9)
    assert gps_average_precision(pictures, area=AREAS[area]) == pytest.approx(expected.mean())
    assert 0.05 < expected[0] < 0.95
