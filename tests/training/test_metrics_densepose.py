"""GPS on a strip of points whose distances are known."""

from __future__ import annotations

import math

import numpy as np

from training.metrics.densepose import BodySurface, PicturePoints, gps_average_precision, point_similarity


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
    # 0.15 m over the skin is not nearer than 0.15: the anchors' distance holds
    np.testing.assert_allclose(strip().geodesic(a, b), [0, 0.15, 1.5, 0.15, np.inf], rtol=1e-5)


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
