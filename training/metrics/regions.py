"""Figures of the parts of parsed people: AP^r, by the protocol of CIHP and of the code published with QANet and M2FP.

Gong et al., "Instance-level Human Parsing via Part Grouping Network" (2018), use it on CIHP. A region is one class of
one person: the pixels of the picture that have both. The choices that move the number are:
- people are painted over each other, so that no two regions of a picture share a pixel: who is wholly covered has none;
- a region scores what its person scores;
- each region is compared with the true one of its class that it overlaps most; it is right when their IoU is strictly
  above the threshold, even if another one has taken that region: two halves of one are both right up to a threshold of
  .5, and AP^r_vol counts them twice, as in the published figures;
- AP of a class is the area under the monotone precision-recall curve at all points, over the whole set, and AP^r the
  mean over the classes of which there are true regions, without the background.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.metrics.parsing import VOLUME, area_under_curve


class PartRegions:
    """Collects the regions of a set, picture by picture; keeps numbers only, no maps.

    Args:
        classes: C, background included.

    Example:
        >>> parts, people = np.array([[0, 1], [2, 2]], np.uint8), np.array([[0, 1], [1, 2]], np.uint8)
        >>> regions = PartRegions(classes=3)
        >>> regions.add(parts, people, [0.9, 0.8], parts, people)
        >>> regions.average_precision(0.5)
        1.0
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self._true = np.zeros(classes, np.int64)
        self._scores: list[list[float]] = [[] for _ in range(classes)]
        self._overlaps: list[list[float]] = [[] for _ in range(classes)]

    def add(
        self,
        parts: NDArray[np.uint8],
        people: NDArray[np.unsignedinteger],
        scores: Sequence[float] | NDArray[np.floating],
        true_parts: NDArray[np.uint8],
        true_people: NDArray[np.unsignedinteger],
    ) -> None:
        """Add one picture.

        Args:
            parts: [H,W] predicted class ids.
            people: [H,W] the person at each pixel: 0 nobody, k the person with `scores[k - 1]`.
            true_parts, true_people: the same of the truth; pixels with a class >= C (255 by custom) are ignored.
        """
        known = true_parts < self.classes
        predicted = self._numbered(parts[known], people[known])
        true = self._numbered(true_parts[known], true_people[known])
        width = int(true.max(initial=0)) + 1
        height = int(predicted.max(initial=0)) + 1
        shared = np.bincount(predicted * width + true, minlength=height * width).reshape(height, width)
        predicted_area, true_area = shared.sum(1), shared.sum(0)
        there = np.flatnonzero(true_area)
        np.add.at(self._true, there[there > 0] % self.classes, 1)
        for region in np.flatnonzero(predicted_area):
            if region:
                person, label = divmod(int(region), self.classes)
                same = slice(label, None, self.classes)
                overlaps = shared[region, same] / (predicted_area[region] + true_area[same] - shared[region, same])
                self._scores[label].append(float(scores[person - 1]))
                self._overlaps[label].append(float(overlaps.max(initial=0.0)))

    def _numbered(self, parts: NDArray[np.uint8], people: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
        """The number of each pixel's region, person * C + class; 0 where there is none."""
        numbers = people.astype(np.int64) * self.classes + parts
        return np.where((parts > 0) & (people > 0), numbers, 0)

    def class_average_precision(self, threshold: float = 0.5) -> NDArray[np.float64]:
        """AP of each class at one threshold of IoU, float64 [C]: NaN without a true region, and for the background."""
        found = np.full(self.classes, np.nan)
        for label in np.flatnonzero(self._true):
            order = np.argsort(-np.array(self._scores[label]), kind="stable")
            right = np.array(self._overlaps[label])[order] > threshold
            found[label] = area_under_curve(right, int(self._true[label]))
        return found

    def average_precision(self, threshold: float = 0.5) -> float:
        """AP^r at one threshold of IoU, 0..1 from .5 on; NaN without any true region."""
        found = self.class_average_precision(threshold)
        return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")

    def average_precision_volume(self) -> float:
        """AP^r_vol: the mean of AP^r at the thresholds .1, .2 ... .9."""
        return float(np.mean([self.average_precision(threshold) for threshold in VOLUME]))
