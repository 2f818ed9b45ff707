"""Semantic figures: numbers worked out by hand, and torchmetrics on random maps."""

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


def test_pictures_without_people_found_are_background_or_left_out() -> None:
    truth, found = np.array([[0, 0, 0, 1]], np.uint8), np.array([[0, 0, 1, 1]], np.uint8)
    background, skip = ConfusionMatrix(2), ConfusionMatrix(2, "skip")
    for matrix in (background, skip):
        matrix.add(truth, found)
        matrix.add(truth, None)
    # of 8 pixels: 5 of background right, 1 found too much; 1 of the person right, 1 missed
    assert background.counts.tolist() == [[5, 1], [1, 1]]
    assert background.mean_iou() == pytest.approx((5 / 7 + 1 / 3) / 2)
    assert skip.counts.tolist() == [[2, 1], [0, 1]]
    assert skip.mean_iou() == pytest.approx((2 / 3 + 1 / 2) / 2)


@pytest.mark.parametrize("ignored", [False, True])
def test_agrees_with_torchmetrics(ignored: bool) -> None:
    judges = pytest.importorskip("torchmetrics.classification", reason="pip install torchmetrics to compare with it")
    torch = pytest.importorskip("torch")
    classes = 7
    options = {"num_classes": classes, "ignore_index": 255 if ignored else None, "validate_args": False}
    iou = judges.MulticlassJaccardIndex(average=None, **options)
    accuracy = judges.MulticlassAccuracy(average="micro", **options)
    by_class = judges.MulticlassAccuracy(average="macro", **options)
    rng = np.random.default_rng(3)
    matrix = ConfusionMatrix(classes)
    for _ in range(6):
        truth = rng.integers(0, classes, (30, 40)).astype(np.uint8)
        found = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, classes, truth.shape)).astype(np.uint8)
        if ignored:
            truth[rng.random(truth.shape) < 0.1] = 255
        matrix.add(truth, found)
        for judge in (iou, accuracy, by_class):
            judge.update(torch.from_numpy(found).long(), torch.from_numpy(truth).long())
    np.testing.assert_allclose(matrix.iou(), iou.compute().numpy(), rtol=1e-6)
    assert matrix.mean_iou() == pytest.approx(float(iou.compute().mean()), rel=1e-6)
    assert matrix.pixel_accuracy() == pytest.approx(float(accuracy.compute()), rel=1e-6)
    assert matrix.mean_class_accuracy() == pytest.approx(float(by_class.compute()), rel=1e-6)
