"""A class is looked at where its cells reach, and the best class of each pixel is what looking everywhere finds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.maps import paste
from parsing_rcnn.maps.paste import (
    interpolate,
    paste_charts,
    paste_iuv,
    paste_probabilities,
    paste_smooth,
    pixel_window,
)

SIZE = (90, 120)


def blobs(rng: np.random.Generator, cells: int) -> NDArray[np.uint8]:
    """Labels of some ellipses, one or two at the border of the map."""
    labels = np.zeros((cells, cells), np.uint8)
    for label in range(1, 7):
        centre, axes = rng.integers(-2, cells + 2, 2).tolist(), rng.integers(1, cells // 3, 2).tolist()
        cv2.ellipse(labels, centre, axes, 0, 0, 360, label, -1)
    return labels


def everywhere(planes: list[NDArray[np.float32]], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    window = pixel_window(box, SIZE)
    return np.stack([interpolate(plane, box, window) for plane in planes]).argmax(0).astype(np.uint8)


@pytest.mark.parametrize("cells", [16, 32])
def test_the_best_class_of_every_pixel(cells: int) -> None:
    rng = np.random.default_rng(cells)
    for _ in range(150):
        low, extent = rng.uniform(-40, 80, 2), rng.uniform(0.5, 160, 2)
        box = np.concatenate([low, low + extent]).astype(np.float32)
        window = pixel_window(box, SIZE)
        labels = blobs(rng, cells)
        soft = [cv2.GaussianBlur((labels == k).astype(np.float32), (5, 5), 0.8) for k in range(7)]
        np.testing.assert_array_equal(paste_smooth(labels, box, window), everywhere(soft, box))
        probabilities = np.rint(np.stack(soft) * 255).astype(np.uint8)
        exact = paste_probabilities(probabilities, box, window)
        np.testing.assert_array_equal(exact, everywhere(list(probabilities.astype(np.float32)), box))


def test_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    for _ in range(60):
        low, extent = rng.uniform(-40, 40, 2), rng.uniform(20, 160, 2)
        box = np.concatenate([low, low + extent]).astype(np.float32)
        window, labels = pixel_window(box, SIZE), blobs(rng, 32)
        soft = [cv2.GaussianBlur((labels == k).astype(np.float32), (5, 5), 0.8) for k in range(7)]
        probabilities = np.rint(np.stack(soft) * 255).astype(np.uint8)
        iuv = np.stack([labels, *rng.integers(0, 256, (2, 32, 32), np.uint8)])
        found = []
        for side in (11, 500):
            monkeypatch.setattr(paste, "_TILE", side)
            parts, (charts, uv) = paste_probabilities(probabilities, box, window), paste_charts(iuv, box, window)
            found.append((parts, charts, np.rint(uv * 255).astype(np.uint8)))
            np.testing.assert_array_equal(paste_iuv(iuv, box, window), np.stack([charts, *found[-1][2]]))
        for tiles, whole in zip(*found, strict=True):  # but for the last digits
            assert np.count_nonzero(tiles != whole) <= 2
        assert np.abs(found[0][2].astype(int) - found[1][2]).max() <= 1


def test_a_class_begins_at_the_edge_of_its_first_cell_however_large_cells_are() -> None:
    # cells of 10 x 20 pixels, four by four; in each map two classes share the box by halves
    box = np.array([0, 0, 40, 80], np.float32)
    window = pixel_window(box, (80, 40))
    sides, heights = np.zeros((2, 20, 4, 4), np.uint8)
    sides[2, :, :2] = sides[5, :, 2:] = 255
    assert paste_probabilities(sides, box, window)[40].tolist() == [2] * 20 + [5] * 20
    heights[0, :2] = heights[5, 2:] = 255
    assert paste_probabilities(heights, box, window)[:, 20].tolist() == [0] * 40 + [5] * 40


def test_boxes_that_meet_in_the_middle_of_a_pixel_share_none() -> None:
    # the centre of pixel 6 is 6.5: the pixel is of the box that begins there, not of the one that ends there
    left = pixel_window(np.array([2.5, 0.5, 6.5, 4.5], np.float32), (10, 10))
    right = pixel_window(np.array([6.5, 4.5, 9.5, 8.5], np.float32), (10, 10))
    assert tuple(left) == (2, 0, 6, 4)
    assert tuple(right) == (6, 4, 9, 8)
