"""Semantic figures: numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.metrics.confusion import CIHP_TO_14, NAMES_14, ConfusionMatrix

TRUTH = np.array([[0, 0, 1, 1], [0, 2, 2, 1]], np.uint8)
FOUND = np.array([[0, 1, 1, 1], [0, 2, 0, 3]], np.uint8)


@pytest.fixture
def matrix() -> ConfusionMatrix:
    matrix = ConfusionMatrix(5)
    matrix.add(TRUTH, FOUND)
    return matrix


def test_counts_and_iou_by_hand(matrix: ConfusionMatrix) -> None:
    assert matrix.counts[:4, :4].tolist() == [[2, 1, 0, 0], [0, 2, 0, 1], [1, 0, 1, 0], [0, 0, 0, 0]]
    # class 0: 2 / 4, 1: 2 / 4, 2: 1 / 2, 3: only predicted 0 / 1, 4: in neither
    np.testing.assert_allclose(matrix.iou(), [0.5, 0.5, 0.5, 0.0, np.nan])
    assert matrix.mean_iou() == pytest.approx(1.5 / 4)
    assert matrix.pixel_accuracy() == pytest.approx(5 / 8)
    assert matrix.mean_class_accuracy() == pytest.approx((2 / 3 + 2 / 3 + 1 / 2) / 3)
    # person: 4 pixels in both, 1 only predicted, 1 only true
    assert matrix.foreground_iou() == pytest.approx(4 / 6)


def test_one_matrix_over_the_set_is_not_a_mean_over_pictures() -> None:
    matrix = ConfusionMatrix(2)
    matrix.add(np.ones((1, 9), np.uint8), np.ones((1, 9), np.uint8))
    matrix.add(np.ones((1, 1), np.uint8), np.zeros((1, 1), np.uint8))
    assert matrix.iou()[1] == pytest.approx(0.9)


def test_ignored_pixels_and_bad_input(matrix: ConfusionMatrix) -> None:
    before = matrix.counts.copy()
    matrix.add(np.array([[255, 5]], np.uint8), np.array([[1, 2]], np.uint8))
    np.testing.assert_array_equal(matrix.counts, before)
    with pytest.raises(ValueError, match="wrong taxonomy"):
        matrix.add(np.zeros((1, 1), np.uint8), np.full((1, 1), 5, np.uint8))
    with pytest.raises(ValueError, match="scale one"):
        matrix.add(np.zeros((1, 2), np.uint8), np.zeros((2, 1), np.uint8))


def test_fourteen_classes_merge_skin_and_shoes() -> None:
    assert len(CIHP_TO_14) == 20
    assert max(CIHP_TO_14) + 1 == len(NAMES_14) == 14
    matrix = ConfusionMatrix(20)
    matrix.add(np.array([[14, 15, 18, 10, 5, 12]], np.uint8), np.array([[15, 13, 19, 16, 5, 9]], np.uint8))
    merged = matrix.merged(CIHP_TO_14)
    iou = dict(zip(NAMES_14, merged.iou(), strict=True))
    assert iou["Skin"] == iou["Shoes"] == iou["UpperClothes"] == 1.0
    assert iou["Skirt"] == iou["Pants"] == 0.0
    assert math.isnan(iou["Hat"])
    assert matrix.mean_iou() < merged.mean_iou() == pytest.approx(3 / 5)


def test_empty_matrix_has_no_figures() -> None:
    matrix = ConfusionMatrix(3)
    for figure in (matrix.mean_iou(), matrix.pixel_accuracy(), matrix.mean_class_accuracy(), matrix.foreground_iou()):
        assert math.isnan(figure)


def test_a_class_that_is_not_there_counts_or_not() -> None:
    matrix = ConfusionMatrix(3)
    matrix.add(np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 0, 1, 2]], np.uint8))
    assert matrix.mean_iou() == pytest.approx((1 + 0.5 + 0) / 3)
    assert matrix.mean_iou(true_classes=True) == pytest.approx((1 + 0.5) / 2)
