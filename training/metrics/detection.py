"""Average precision of boxes by the rules of COCO, with crowd regions and small people ignored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COCO_IOUS = tuple(np.round(np.arange(0.5, 1.0, 0.05), 2).tolist())
RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, eq=False)
class PictureBoxes:
    """Detections and truth of one picture. All boxes are (x1, y1, x2, y2) in its pixels.

    Attributes:
        boxes: float [n,4] detections.
        scores: float [n].
        truth: float [m,4] people.
        crowd: float [k,4] regions (`iscrowd`) where detections are neither right nor wrong.
    """

    boxes: NDArray[np.floating]
    scores: NDArray[np.floating]
    truth: NDArray[np.floating]
    crowd: NDArray[np.floating]


def _intersection(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.asarray((high - low).clip(0).prod(2), np.float64)


def box_areas(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Areas float64 [n] of boxes [n,4]."""
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1), np.float64)


def box_iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union float64 [n,m] of boxes [n,4] and [m,4]."""
    a, b = np.asarray(a, np.float64).reshape(-1, 4), np.asarray(b, np.float64).reshape(-1, 4)
    inside = _intersection(a, b)
    union = box_areas(a)[:, None] + box_areas(b)[None, :] - inside
    return np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)


def box_coverage(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over the area of `a`, float64 [n,m]: how COCO matches detections with crowd regions."""
    a, b = np.asarray(a, np.float64).reshape(-1, 4), np.asarray(b, np.float64).reshape(-1, 4)
    inside = _intersection(a, b)
    area = np.broadcast_to(box_areas(a)[:, None], inside.shape)
    return np.divide(inside, area, out=np.zeros_like(inside), where=area > 0)


@dataclass(frozen=True, eq=False)
class _Matched:
    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    people: int


def _match(picture: PictureBoxes, iou: float, min_height: float, max_detections: int) -> _Matched:
    """Greedy matching by score: each detection takes the free person that it overlaps most, else an ignored region."""
    order = np.argsort(-np.asarray(picture.scores, np.float64), kind="stable")[:max_detections]
    boxes = np.asarray(picture.boxes, np.float64).reshape(-1, 4)[order]
    truth = np.asarray(picture.truth, np.float64).reshape(-1, 4)
    crowd = np.asarray(picture.crowd, np.float64).reshape(-1, 4)
    small = truth[:, 3] - truth[:, 1] < min_height
    overlap = np.concatenate([box_iou(boxes, truth), box_coverage(boxes, crowd)], 1)
    counts = np.concatenate([~small, np.zeros(len(crowd), bool)])
    is_crowd = np.arange(len(counts)) >= len(truth)
    free = np.ones(len(counts), bool)
    right, ignored = np.zeros(len(boxes), bool), boxes[:, 3] - boxes[:, 1] < min_height
    for row in range(len(boxes)):
        for wanted in (counts, ~counts):  # a person who counts wins over an ignored region, however well that one fits
            candidates = np.where(free & wanted, overlap[row], -1.0)
            best = int(candidates.argmax()) if candidates.size else -1
            if best >= 0 and candidates[best] >= iou:
                free[best] = is_crowd[best]  # a crowd takes any number of detections
                right[row], ignored[row] = counts[best], not counts[best]
                break
    scores = np.asarray(picture.scores, np.float64)[order]
    return _Matched(scores, right, ignored, int((~small).sum()))


def precision_recall(
    pictures: Sequence[PictureBoxes], *, iou: float = 0.5, min_height: float = 0.0, max_detections: int = 100
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Precision, recall and score after each detection of the set, by descending score; ignored detections left out.

    See `average_precision` for the arguments. Recall is NaN when there is nobody to find.
    """
    matched = [_match(picture, iou, min_height, max_detections) for picture in pictures]
    people = sum(m.people for m in matched)
    scores = np.concatenate([m.scores for m in matched] or [np.zeros(0)])
    right = np.concatenate([m.right for m in matched] or [np.zeros(0, bool)])
    kept = ~np.concatenate([m.ignored for m in matched] or [np.zeros(0, bool)])
    order = np.argsort(-scores, kind="stable")
    order = order[kept[order]]
    found = np.cumsum(right[order]).astype(np.float64)
    precision = found / np.arange(1, len(order) + 1)
    return precision, found / (people or np.nan), scores[order]


def average_precision(
    pictures: Sequence[PictureBoxes], *, iou: float = 0.5, min_height: float = 0.0, max_detections: int = 100
) -> float:
    """COCO average precision of one class: precision, made monotone, read at 101 recalls.

    Args:
        pictures: detections and truth of every picture of the set.
        iou: the least overlap of a match.
        min_height: people less tall than this (pixels) are ignored: a detection on one of them is neither right nor
            wrong, and so is an unmatched detection that is itself less tall (as COCO does with its area ranges).
        max_detections: most detections of one picture that count, by score.

    Returns:
        0..1, or NaN when there is nobody to find.
    """
    precision, recall, _ = precision_recall(pictures, iou=iou, min_height=min_height, max_detections=max_detections)
    if not any((p.truth.reshape(-1, 4)[:, 3] - p.truth.reshape(-1, 4)[:, 1] >= min_height).any() for p in pictures):
        return float("nan")
    if not len(precision):
        return 0.0
    monotone = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, RECALLS, side="left")
    return float(np.where(at < len(monotone), monotone[at.clip(max=len(monotone) - 1)], 0.0).mean())


def mean_average_precision(pictures: Sequence[PictureBoxes], *, min_height: float = 0.0) -> float:
    """`average_precision`, averaged over the IoU thresholds .50, .55 ... .95 (COCO's AP)."""
    return float(np.mean([average_precision(pictures, iou=iou, min_height=min_height) for iou in COCO_IOUS]))
