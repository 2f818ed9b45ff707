"""Figures of parsed people: AP^p and PCP, by the protocol of MHP and of the code published with Parsing R-CNN.

Li et al., "Multiple-Human Parsing in the Wild" (2017), define both; the choices that move the numbers are:
- a person's overlap with a true person is the mean of their IoU per class on maps of the whole picture, over the
  classes present in either of the two, background included;
- each prediction is compared with the true person that it overlaps most, taken or not; it is right when that overlap is
  strictly above the threshold and no prediction with a higher score has taken that person;
- AP is the area under the monotone precision-recall curve at all points (VOC 2010 and later);
- everybody annotated counts, also in a picture where nobody was found (the published code leaves such pictures out of
  mIoU alone).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.metrics.confusion import ConfusionMatrix

LEAST_SCORE = 0.001
VOLUME = tuple(np.round(np.arange(0.1, 1.0, 0.1), 1).tolist())


def class_ious(prediction: NDArray[np.uint8], truth: NDArray[np.uint8], classes: int) -> NDArray[np.float64]:
    """IoU of each class of two maps uint8 [H,W], float64 [C]; NaN where absent from both; truth >= C is ignored."""
    matrix = ConfusionMatrix(classes)
    matrix.add(truth, prediction)
    return matrix.iou()


def area_under_curve(right: NDArray[np.bool_], there: int) -> float:
    """Area under the monotone precision-recall curve at all points: 0..1 if no more are right than there are.

    Args:
        right: [n], which predictions are, by descending score.
        there: how many there are to find, at least one.
    """
    found = np.cumsum(right)
    recall = np.concatenate([[0.0], found / there, [1.0]])
    precision = np.concatenate([[0.0], found / np.arange(1, len(right) + 1), [0.0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall) * precision[1:]).sum())


@dataclass(frozen=True)
class _Prediction:
    """A prediction against the true person that it overlaps most: `person` is (picture, index), None without any."""

    score: float
    person: tuple[int, int] | None
    overlap: float
    correct_parts: float


class ParsedPeople:
    """Collects predictions and truth of a set, picture by picture; keeps numbers only, no maps.

    Args:
        classes: C, background included.

    Example:
        >>> truth = np.array([[0, 1], [0, 2]], np.uint8)
        >>> people = ParsedPeople(classes=3)
        >>> people.add([truth], [0.9], [truth])
        >>> people.average_precision(0.5), people.pcp()
        (1.0, 1.0)
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self._pictures = 0
        self._people = 0
        self._predictions: list[_Prediction] = []

    def add(
        self,
        predictions: Sequence[NDArray[np.uint8]],
        scores: Sequence[float] | NDArray[np.floating],
        truths: Sequence[NDArray[np.uint8]],
    ) -> None:
        """Add one picture.

        Args:
            predictions: one uint8 [H,W] map of class ids per predicted person, covering the whole picture.
            scores: their scores; below 0.001 a prediction is left out.
            truths: one such map per true person; pixels with a class >= C (255 by custom) are in no intersection and no
                union, and a picture of which nothing else is known is left out.
        """
        if truths and not any(bool((truth < self.classes).any()) for truth in truths):
            return
        kept = [(p, float(s)) for p, s in zip(predictions, scores, strict=True) if s >= LEAST_SCORE]
        picture, self._pictures = self._pictures, self._pictures + 1
        self._people += len(truths)
        self._predictions += [self._compare(prediction, score, truths, picture) for prediction, score in kept]

    def _compare(
        self, prediction: NDArray[np.uint8], score: float, truths: Sequence[NDArray[np.uint8]], picture: int
    ) -> _Prediction:
        best = _Prediction(score, None, -1.0, 0.0)
        for index, truth in enumerate(truths):
            ious = class_ious(prediction, truth, self.classes)
            overlap = float(np.nanmean(ious))
            if overlap > best.overlap:
                parts = np.unique(truth[(truth > 0) & (truth < self.classes)])
                correct = float((ious[parts] > 0.5).mean()) if len(parts) else 0.0
                best = _Prediction(score, (picture, index), overlap, correct)
        return best

    def _right(self, threshold: float) -> tuple[list[_Prediction], NDArray[np.bool_]]:
        """Predictions by descending score, and which of them are right."""
        ordered = sorted(self._predictions, key=lambda p: -p.score)
        taken: set[tuple[int, int]] = set()
        right = np.zeros(len(ordered), bool)
        for row, prediction in enumerate(ordered):
            if prediction.person is not None and prediction.overlap > threshold and prediction.person not in taken:
                taken.add(prediction.person)
                right[row] = True
        return ordered, right

    def average_precision(self, threshold: float = 0.5) -> float:
        """AP^p at one overlap threshold, 0..1; NaN without any true person."""
        if not self._people:
            return float("nan")
        return area_under_curve(self._right(threshold)[1], self._people)

    def average_precision_volume(self) -> float:
        """AP^p_vol: the mean of AP^p at the thresholds .1, .2 ... .9."""
        return float(np.mean([self.average_precision(threshold) for threshold in VOLUME]))

    def pcp(self, threshold: float = 0.5) -> float:
        """PCP: the part of a person's classes with IoU > .5, averaged over all true people; not found counts 0.

        Args:
            threshold: the overlap above which a person counts as found (PCP50: .5).
        """
        if not self._people:
            return float("nan")
        ordered, right = self._right(threshold)
        return sum(p.correct_parts for p, hit in zip(ordered, right, strict=True) if hit) / self._people
