"""Semantic figures from one confusion matrix over a whole set: IoU per class, mIoU, accuracies, person IoU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# CIHP class -> one of 14, with skin (torso, face, arms, legs) and shoes merged. Where people labelled "skin" and
# "shoe", the finer classes come from landmarks: these 14 are what people drew.
CIHP_TO_14 = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 10, 10, 10, 10, 10, 13, 13)
NAMES_14 = (
    "Background",
    "Hat",
    "Hair",
    "Gloves",
    "Sunglasses",
    "UpperClothes",
    "Dress",
    "Coat",
    "Socks",
    "Pants",
    "Skin",
    "Scarf",
    "Skirt",
    "Shoes",
)


MissingPredictions = Literal["background", "skip"]


class ConfusionMatrix:
    """Pixel counts by true and predicted class, summed over pictures.

    Args:
        classes: C, background included.
        missing_predictions: what a picture in which nobody was found counts as (pass None as its prediction):
            "background" everywhere, or nothing, "skip", as in the evaluation published with Parsing R-CNN (there of
            mIoU and the accuracies alone), which reads slightly higher.

    Attributes:
        counts: int64 [C,C], rows = truth, columns = prediction.

    Example:
        >>> matrix = ConfusionMatrix(2)
        >>> matrix.add(np.array([[0, 1]], np.uint8), np.array([[1, 1]], np.uint8))
        >>> matrix.iou().tolist()
        [0.0, 0.5]
    """

    def __init__(self, classes: int, missing_predictions: MissingPredictions = "background") -> None:
        self.counts: NDArray[np.int64] = np.zeros((classes, classes), np.int64)
        self.missing_predictions = missing_predictions

    def __len__(self) -> int:
        return len(self.counts)

    def add(self, truth: NDArray[np.uint8], prediction: NDArray[np.uint8] | None) -> None:
        """Count one picture.

        Args:
            truth: uint8 [H,W] class ids; pixels with an id >= C (255 by custom) are ignored.
            prediction: uint8 [H,W] class ids; None: nobody was found, see `missing_predictions`.

        Raises:
            ValueError: the shapes differ, or a predicted id is not a class.
        """
        if prediction is None and self.missing_predictions == "skip":
            return
        if prediction is None:
            prediction = np.zeros(truth.shape, np.uint8)
        if truth.shape != prediction.shape:
            raise ValueError(f"truth is {truth.shape} and prediction {prediction.shape}: scale one to the other first")
        size = len(self.counts)
        if prediction.size and int(prediction.max()) >= size:
            raise ValueError(f"predicted class {int(prediction.max())} with {size} classes: wrong taxonomy?")
        valid = truth < size
        pairs = truth[valid].astype(np.int64) * size + prediction[valid]
        self.counts += np.bincount(pairs, minlength=size * size).reshape(size, size)

    def merged(self, table: Sequence[int]) -> ConfusionMatrix:
        """The matrix of coarser classes, `table[class] = coarse class` (for example `CIHP_TO_14`)."""
        if len(table) != len(self.counts):
            raise ValueError(f"the table has {len(table)} entries for {len(self.counts)} classes")
        target = np.asarray(table)
        merged = ConfusionMatrix(int(target.max()) + 1)
        np.add.at(merged.counts, (target[:, None], target[None, :]), self.counts)
        return merged

    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class, float64 [C]; NaN for a class in neither truth nor prediction."""
        correct = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(0) + self.counts.sum(1) - correct
        return np.asarray(np.divide(correct, union, out=np.full(len(correct), np.nan), where=union > 0), np.float64)

    def mean_iou(self, *, true_classes: bool = False) -> float:
        """Mean IoU over the classes present in truth or prediction, background included; NaN when nothing was added.

        Args:
            true_classes: only over those present in truth: a class that the set does not hold then costs nothing but
                its pixels, which are wrong for the class that is there.
        """
        iou = self.iou()
        if true_classes:
            iou = iou[self.counts.sum(1) > 0]
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")

    def pixel_accuracy(self) -> float:
        """Part of the pixels with the right class."""
        total = int(self.counts.sum())
        return float(np.trace(self.counts) / total) if total else float("nan")

    def mean_class_accuracy(self) -> float:
        """Mean over the classes present in truth of the part of their pixels found."""
        truth = self.counts.sum(1)
        present = truth > 0
        return float((np.diag(self.counts)[present] / truth[present]).mean()) if present.any() else float("nan")

    def foreground_iou(self) -> float:
        """IoU of everything that is not background (person IoU)."""
        inside = int(self.counts[1:, 1:].sum())
        union = int(self.counts.sum() - self.counts[0, 0])
        return inside / union if union else float("nan")
