"""Geodesic point similarity (Guler et al. 2018, section 5; scale by part as the reference evaluation has it)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.metrics.detection import COCO_IOUS, RECALLS

# metres: mean geodesic distance between annotators, by coarse part (1 torso, hands, feet ... 8 head)
_SCALE = np.array([0, 0.351, 0.107, 0.126, 0.237, 0.173, 0.142, 0.128, 0.150])
_SCALE_PART = np.array([0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 8, 8])
_NEAR = 0.15  # metres: below, the straight line is better than the distance of the anchors
_CHUNK = 2048


@dataclass(frozen=True, eq=False)
class BodySurface:
    """Points of all charts and distances on the skin; `training/data/synthetic/geodesics.py` writes the file."""

    position: NDArray[np.float32]
    part: NDArray[np.uint8]
    uv: NDArray[np.float32]
    anchor: NDArray[np.int16]
    distances: NDArray[np.float32]

    @classmethod
    def load(cls, path: Path) -> BodySurface:
        """Read surface.npz."""
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in stored.files}
        arrays["distances"] = arrays["distances"].astype(np.float32)
        return cls(**arrays)

    def points(self, part: NDArray[np.integer], u: NDArray[np.floating], v: NDArray[np.floating]) -> NDArray[np.int64]:
        """Index of the nearest chart point of the same part, [n]; -1 where the part is 0."""
        out = np.full(len(part), -1, np.int64)
        wanted = np.stack([u, v], 1).astype(np.float32)
        for number in np.unique(part[part > 0]):
            own = np.flatnonzero(self.part == number)
            rows = np.flatnonzero(part == number)
            for start in range(0, len(rows), _CHUNK):
                chunk = rows[start : start + _CHUNK]
                squares = ((wanted[chunk, None] - self.uv[None, own]) ** 2).sum(2)
                out[chunk] = own[squares.argmin(1)]
        return out

    def geodesic(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
        """Metres on the skin between points [n] and [n] of a body of 1.7 m; infinite where either is -1."""
        far = self.distances[self.anchor[a], self.anchor[b]].astype(np.float64)
        straight = np.linalg.norm(self.position[a] - self.position[b], axis=1)
        found = np.where(far < _NEAR, straight, np.maximum(far, straight))
        return np.where((a < 0) | (b < 0), np.inf, found)


def point_similarity(distance: NDArray[np.floating], true_part: NDArray[np.integer]) -> NDArray[np.float64]:
    """exp(-d^2 / 2 k^2) in 0..1, [n], for geodesic distances in metres and the true parts 1..24 of the points."""
    scale = _SCALE[_SCALE_PART[true_part]]
    return np.asarray(np.exp(-(distance**2) / (2 * scale**2)), np.float64)


@dataclass(frozen=True, eq=False)
class PicturePoints:
    """Detections of a picture against its annotated people.

    Attributes:
        scores: float [n].
        similarity: float [n,m], mean point similarity of each detection with each person (0: no overlap).
    """

    scores: NDArray[np.floating]
    similarity: NDArray[np.floating]


def gps_average_precision(pictures: Sequence[PicturePoints], threshold: float | None = None) -> float:
    """Average precision with GPS in place of IoU: at a threshold, or over .50, .55 ... .95; NaN without people."""
    if threshold is None:
        return float(np.mean([gps_average_precision(pictures, t) for t in COCO_IOUS]))
    people = sum(picture.similarity.shape[1] for picture in pictures)
    if not people:
        return float("nan")
    scores, right = [], []
    for picture in pictures:
        free = np.ones(picture.similarity.shape[1], bool)
        for row in np.argsort(-np.asarray(picture.scores, np.float64), kind="stable"):
            candidates = np.where(free, picture.similarity[row], -1.0)
            best = int(candidates.argmax()) if candidates.size else -1
            hit = best >= 0 and candidates[best] >= threshold
            if hit:
                free[best] = False
            scores.append(float(picture.scores[row]))
            right.append(hit)
    if not scores:
        return 0.0
    order = np.argsort(-np.array(scores), kind="stable")
    found = np.cumsum(np.array(right)[order])
    precision, recall = found / np.arange(1, len(order) + 1), found / people
    monotone = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, RECALLS, side="left")
    return float(np.where(at < len(monotone), monotone[at.clip(max=len(monotone) - 1)], 0.0).mean())
