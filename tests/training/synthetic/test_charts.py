"""The 24 charts: where they are, how U and V grow (the table of DensePose's published output), and their symmetry."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from parsing_rcnn.taxonomy import DENSEPOSE
from training.data.iuv import MIRRORED
from training.data.synthetic.body import Body
from training.data.synthetic.charts import Atlas

# what U and V grow with: x is the subject's left, z is up, -y is the front
UP, DOWN, LEFT, RIGHT, FRONT = (0, 0, 1), (0, 0, -1), (1, 0, 0), (-1, 0, 0), (0, -1, 0)
DIRECTIONS = {
    1: (DOWN, RIGHT),
    2: (DOWN, RIGHT),
    7: (DOWN, RIGHT),  # right leg: inner is to the left, outer to the right
    8: (DOWN, LEFT),
    9: (UP, LEFT),
    10: (UP, RIGHT),
    11: (UP, RIGHT),
    12: (UP, LEFT),
    13: (DOWN, RIGHT),
    14: (DOWN, LEFT),
    15: (DOWN, (1, 0, 1)),  # the arms of the rest pose hang at 45 degrees: towards the left is across the arm
    16: (DOWN, (-1, 0, 1)),
    23: (FRONT, UP),
    24: (tuple(-v for v in FRONT), UP),
}


def centres(atlas: Atlas, body: Body, part: int) -> np.ndarray:
    points = np.asarray(atlas.surface.points @ body.template)
    return points[atlas.surface.faces[(atlas.part == part) & atlas.outer]].mean(1)


def test_all_parts_are_there_and_fill_the_unit_square(atlas: Atlas) -> None:
    assert sorted(np.unique(atlas.part)) == list(range(1, 25))
    assert atlas.chart.min() >= 0
    assert atlas.chart.max() <= 1
    for part in range(1, 25):
        span = np.ptp(atlas.chart[(atlas.part == part) & atlas.outer].reshape(-1, 2), axis=0)
        assert (span > 0.95).all(), DENSEPOSE.classes[part]


@pytest.mark.parametrize("part", sorted(DIRECTIONS))
def test_u_and_v_grow_as_in_densepose(atlas: Atlas, body: Body, part: int) -> None:
    chart = atlas.chart[(atlas.part == part) & atlas.outer].mean(1)
    places = centres(atlas, body, part)
    for values, direction in zip(chart.T, DIRECTIONS[part], strict=True):
        along = places @ np.array(direction, float)
        assert np.corrcoef(values, along)[0, 1] > 0.6, (DENSEPOSE.classes[part], direction)


def test_the_subjects_left_is_left(atlas: Atlas, body: Body) -> None:
    for part, name in enumerate(DENSEPOSE.classes):
        if name.startswith(("Left", "Right")):
            x = centres(atlas, body, part)[:, 0]
            assert (np.median(x) > 0) == name.startswith("Left"), name


def test_front_and_back(atlas: Atlas, body: Body) -> None:
    for back, front in ((1, 2), (7, 9), (8, 10), (11, 13), (12, 14)):
        assert centres(atlas, body, back)[:, 1].mean() > centres(atlas, body, front)[:, 1].mean() + 0.05


def test_the_left_side_mirrors_the_right(atlas: Atlas) -> None:
    for part in range(1, 25):
        points, chart = atlas.owners[part - 1]
        others, other_chart = atlas.owners[MIRRORED[part] - 1]
        distance, twin = cKDTree(others).query(points * [-1, 1, 1])
        expected = other_chart[twin].copy()
        if part in (23, 24):
            expected[:, 0] = 1 - expected[:, 0]
        if part in (1, 2):
            expected[:, 1] = 1 - expected[:, 1]
        same = distance < 1e-3
        assert same.mean() > 0.95
        assert (np.abs(chart[same] - expected[same]).max(1) < 0.02).mean() > 0.995


def test_charts_are_continuous(atlas: Atlas, body: Body) -> None:
    """No face jumps: U and V change by little over the few centimetres of a face."""
    points = np.asarray(atlas.surface.points @ body.template)[atlas.surface.faces]
    size = np.linalg.norm(points - points[:, [1, 2, 0]], axis=2).max(1)
    jump = np.abs(atlas.chart - atlas.chart[:, [1, 2, 0]]).max((1, 2))
    body_parts = ~np.isin(atlas.part, (3, 4, 5, 6)) & atlas.outer  # hands and feet are centimetres themselves
    assert (jump[body_parts] < 0.02 + 12 * size[body_parts]).all()
    assert np.quantile(jump[body_parts], 0.99) < 0.15


def test_seams_are_smooth(atlas: Atlas, body: Body) -> None:
    """The line between the front and the back of the trunk runs along the flank, not up and down the faces."""
    points = np.asarray(atlas.surface.points @ body.template)
    faces, part = atlas.surface.faces, atlas.part
    front, back = (set(faces[part == p].ravel().tolist()) for p in (2, 1))
    seam = points[sorted(front & back)]
    flank = seam[(seam[:, 0] > 0.05) & (np.abs(seam[:, 2] - seam[:, 2].mean()) < 0.15)]
    order = np.argsort(flank[:, 2])
    assert len(flank) > 10
    assert np.abs(np.diff(flank[order, 1])).max() < 0.02  # metres
