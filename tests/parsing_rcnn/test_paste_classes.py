"""A class is looked at where its cells reach, and the best class of each pixel is what looking everywhere finds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.paste import interpolate, paste_probabilities, paste_smooth, pixel_window

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
