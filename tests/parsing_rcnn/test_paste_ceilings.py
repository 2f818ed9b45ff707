"""What the paste loses by itself: real label maps cut to cells and pasted back, against themselves.

No network can be better than this. On every fourth of 904 maps, full-body boxes: 128x128 labels 0.939 mIoU, their
probabilities 0.982, 64x64 labels 0.879; half a cell off, as `cv2.INTER_NEAREST` is, 128x128 labels are 0.915.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.maps.paste import PixelWindow, paste_nearest, paste_probabilities, pixel_window

CLASSES = 20
Map = NDArray[np.uint8]
Paste = Callable[[NDArray[np.float32], NDArray[np.float32], PixelWindow], Map]


def nearest(cells: NDArray[np.float32], box: NDArray[np.float32], window: PixelWindow) -> Map:
    return paste_nearest(cells.argmax(0).astype(np.uint8), box, window)


def probabilities(cells: NDArray[np.float32], box: NDArray[np.float32], window: PixelWindow) -> Map:
    return paste_probabilities(np.rint(255 * cells).astype(np.uint8), box, window)


def by_opencv(cells: NDArray[np.float32], _: NDArray[np.float32], window: PixelWindow) -> Map:
    height, width = window.shape
    labels = cells.argmax(0).astype(np.uint8)
    return np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def miou(maps: list[Map], size: int, paste: Paste) -> float:
    """One confusion matrix over all people; each cell holds the share of every class in it."""
    confusion = np.zeros((CLASSES, CLASSES), np.int64)
    for labels in maps:
        rows, columns = np.nonzero(labels)
        box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
        window = pixel_window(box, (labels.shape[0], labels.shape[1]))
        crop = labels[window.slices]
        planes = [(crop == k).astype(np.float32) for k in range(CLASSES)]
        cells = np.stack([cv2.resize(plane, (size, size), interpolation=cv2.INTER_AREA) for plane in planes])
        pasted = paste(cells.astype(np.float32), box, window)
        confusion += np.bincount(CLASSES * crop.ravel().astype(np.int64) + pasted.ravel(), minlength=400).reshape(
            20, 20
        )
    right, truth = np.diag(confusion), confusion.sum(1)
    union = truth + confusion.sum(0) - right
    return float((right[truth > 0] / union[truth > 0]).mean())


@pytest.fixture(scope="module")
def maps(shared_data: Path) -> list[Map]:
    paths = sorted((shared_data / "ccp" / "labels").glob("*.png"))[::40]
    if not paths:
        pytest.skip("needs label maps in ccp/labels")
    return [np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), dtype=np.uint8) for path in paths]


def test_what_the_paste_costs(maps: list[Map]) -> None:
    fast, exact, coarse = miou(maps, 128, nearest), miou(maps, 128, probabilities), miou(maps, 64, nearest)
    assert fast > 0.93
    assert exact > 0.97
    assert 0.85 < coarse < fast - 0.04
    assert miou(maps, 128, by_opencv) < fast - 0.015
