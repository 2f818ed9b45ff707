"""Cuts of a square, worked out by hand."""

from __future__ import annotations

import numpy as np

from training.data.synthetic.surface import Surface, used_vertices, vertex_normals

# a unit square of two triangles: 0 (0,0), 1 (1,0), 2 (1,1), 3 (0,1)
POINTS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
FACES = np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def area(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = points[faces].swapaxes(0, 1)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def test_a_cut_splits_along_the_line() -> None:
    surface = Surface.whole(FACES, 4)
    cut = surface.cut(POINTS[:, 0] - 0.25)  # the line x = 0.25
    points = np.asarray(cut.surface.points @ POINTS)
    areas = area(points, cut.surface.faces)
    assert np.isclose(areas.sum(), 1)
    assert np.isclose(areas[cut.above].sum(), 0.75)
    x = points[cut.surface.faces][..., 0]
    assert (x[cut.above] >= 0.25 - 1e-6).all()
    assert (x[~cut.above] <= 0.25 + 1e-6).all()
    # three new vertices: on the bottom, on the diagonal and on the top edge; neighbours share the one on the diagonal
    assert points.shape[0] == 7
    assert sorted(map(tuple, np.round(points[4:, :2], 4).tolist())) == [(0.25, 0.0), (0.25, 0.25), (0.25, 1.0)]


def test_corner_values_go_through_cuts() -> None:
    surface = Surface.whole(FACES, 4)
    first = surface.cut(POINTS[:, 0] - 0.25)
    second = first.surface.cut(np.asarray(first.surface.points @ POINTS)[:, 1] - 0.6)
    at_corners = POINTS[FACES][..., :2].astype(np.float32)
    places = np.asarray(second.surface.points @ POINTS)[second.surface.faces][..., :2]
    np.testing.assert_allclose(second.surface.carry(at_corners), places, atol=1e-6)
    np.testing.assert_allclose(second.carry(first.carry(at_corners)), places, atol=1e-6)
    assert set(second.surface.parent.tolist()) == {0, 1}


def test_only_the_faces_asked_for_are_split() -> None:
    cut = Surface.whole(FACES, 4).cut(POINTS[:, 0] - 0.25, only=np.array([True, False]))
    assert (cut.surface.parent == 1).sum() == 1
    assert (cut.surface.parent == 0).sum() == 3
    untouched = Surface.whole(FACES, 4).cut(POINTS[:, 0] + 5)
    assert untouched.above.all()
    assert len(untouched.surface.faces) == 2


def test_select_keeps_what_it_uses() -> None:
    piece = Surface.whole(FACES, 4).select(np.array([False, True]))
    np.testing.assert_array_equal(np.asarray(piece.points @ POINTS)[piece.faces], POINTS[[[0, 2, 3]]])
    assert piece.points.shape == (3, 4)
    assert used_vertices(np.array([[3, 1, 3]], np.int32), 5).tolist() == [1, 3]


def test_normals_point_out_of_the_square() -> None:
    np.testing.assert_allclose(vertex_normals(POINTS, FACES), [[0, 0, 1]] * 4)
