"""Pixels, depths and weights of triangles, worked out by hand."""

from __future__ import annotations

import numpy as np

from training.data.synthetic.raster import Soup, Textures, interpolate, rasterise

WHITE = Textures.pack([np.full((1, 1, 4), 255, np.uint8)])


def soup(points: list[list[float]], faces: list[list[int]], *, culled: bool = False) -> Soup:
    return Soup.plain(np.array(points, np.float32), np.array(faces, np.int32), culled=culled)


def test_pixels_whose_centres_are_inside() -> None:
    hits = rasterise(soup([[0, 0, 1], [4, 0, 1], [0, 4, 1]], [[0, 1, 2]]), WHITE, 4, 4)
    # x + y < 4 at centres (i + .5, j + .5)
    expected = np.add.outer(np.arange(4) + 0.5, np.arange(4) + 0.5) <= 4
    np.testing.assert_array_equal(hits.face >= 0, expected)
    assert hits.depth[3, 3] == np.inf


def test_the_nearest_face_wins_whatever_the_order() -> None:
    near = [[0, 0, 1], [8, 0, 1], [0, 8, 1]]
    far = [[0, 0, 2], [8, 0, 2], [0, 8, 2]]
    for points, winner in ((near + far, 0), (far + near, 1)):
        hits = rasterise(soup(points, [[0, 1, 2], [3, 4, 5]]), WHITE, 2, 2)
        assert (hits.face == winner).all()
        assert (hits.depth == 1).all()


def test_weights_are_perspective_correct() -> None:
    # an edge from depth 1 to depth 3: half way across the picture is a quarter of the way along the edge
    hits = rasterise(soup([[0, 0, 1], [0, 9, 1], [9, 0, 3]], [[0, 1, 2]]), WHITE, 9, 9)
    value = interpolate(np.array([[[0.0], [0.0], [1.0]]], np.float32), hits)
    assert np.isclose(value[0, 4, 0], (4.5 / 9 / 3) / (4.5 / 9 / 3 + (1 - 4.5 / 9)), atol=1e-5)
    assert np.isclose(hits.depth[0, 4], 1 / (0.5 / 1 + 0.5 / 3), atol=1e-5)


def test_closed_surfaces_show_one_side_only() -> None:
    towards, away = [[0, 1, 2]], [[0, 2, 1]]
    points = [[0, 0, 1], [0, 8, 1], [8, 0, 1]]
    seen = [(rasterise(soup(points, faces, culled=True), WHITE, 2, 2).face >= 0).all() for faces in (towards, away)]
    assert sorted(seen) == [False, True]
    assert (rasterise(soup(points, away), WHITE, 2, 2).face >= 0).all()


def test_holes_of_a_texture_show_what_is_behind() -> None:
    texture = np.full((1, 2, 4), 255, np.uint8)
    texture[0, 0, 3] = 0  # the left half is a hole
    points = np.array([[0, 0, 1], [8, 0, 1], [0, 8, 1], [8, 8, 1]], np.float32)
    faces = np.array([[0, 1, 2], [1, 3, 2]], np.int32)
    corners = np.array([[0, 1], [1, 1], [0, 0], [1, 0]], np.float32)
    pieces = Soup(points, faces, corners[faces], np.zeros(2, np.int32), np.zeros(2, bool))
    hits = rasterise(pieces, Textures.pack([texture]), 8, 8)
    assert not (hits.face[:, :4] >= 0).any()
    assert (hits.face[:, 4:] >= 0).all()


def test_what_is_behind_the_camera_is_not_drawn() -> None:
    assert not (rasterise(soup([[0, 0, -1], [8, 0, -1], [0, 8, -1]], [[0, 1, 2]]), WHITE, 4, 4).face >= 0).any()
