"""Average precision of boxes by the rules of COCO, with crowd regions and small people ignored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn import geometry
from training.metrics.matching import COCO_IOUS, Outcome, by_score, curve, interpolated_precision, judged, match

_MOST = 100  # detections of a picture that count


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


def box_areas(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """Areas float64 [n] of boxes [n,4]."""
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1), np.float64)


def box_iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """`parsing_rcnn.geometry.iou` in float64, whatever the boxes are: [n,m] of boxes [n,4] and [m,4]."""
    return geometry.iou(np.asarray(a, np.float64).reshape(-1, 4), np.asarray(b, np.float64).reshape(-1, 4))


def box_coverage(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over the area of `a`, float64 [n,m]: how COCO matches detections with crowd regions."""
    a, b = np.asarray(a, np.float64).reshape(-1, 4), np.asarray(b, np.float64).reshape(-1, 4)
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inside = np.asarray((high - low).clip(0).prod(2), np.float64)
    area = np.broadcast_to(box_areas(a)[:, None], inside.shape)
    return np.divide(inside, area, out=np.zeros_like(inside), where=area > 0)


def judge(picture: PictureBoxes, iou: float, min_height: float) -> Outcome:
    """One picture by the rules of COCO; `average_precision` has the arguments."""
    order = by_score(picture.scores, _MOST)
    boxes = np.asarray(picture.boxes, np.float64).reshape(-1, 4)[order]
    truth = np.asarray(picture.truth, np.float64).reshape(-1, 4)
    crowd = np.asarray(picture.crowd, np.float64).reshape(-1, 4)
    overlap = np.concatenate([box_iou(boxes, truth), box_coverage(boxes, crowd)], 1)
    wanted = truth[:, 3] - truth[:, 1] >= min_height
    counts = np.concatenate([wanted, np.zeros(len(crowd), bool)])
    taken = match(overlap, counts, np.arange(len(counts)) >= len(truth), iou)
    return judged(np.asarray(picture.scores)[order], taken, counts, boxes[:, 3] - boxes[:, 1] < min_height)


def precision_recall(
    pictures: Sequence[PictureBoxes],
    *,
    iou: float = 0.5,
    min_height: float = 0.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Precision, recall and score after each detection of the set, by descending score; ignored detections left out.

    See `average_precision` for the arguments. Recall is NaN when there is nobody to find.
    """
    return curve([judge(picture, iou, min_height) for picture in pictures])


def average_precision(pictures: Sequence[PictureBoxes], *, iou: float = 0.5, min_height: float = 0.0) -> float:
    """COCO average precision of one class: precision, made monotone, read at 101 recalls.

    Args:
        pictures: detections and truth of every picture of the set.
        iou: the least overlap of a match.
        min_height: people less tall than this (pixels) are ignored: a detection on one of them is neither right nor
            wrong, and so is an unmatched detection that is itself less tall (as COCO does with its area ranges).

    Returns:
        0..1, or NaN when there is nobody to find.
    """
    return interpolated_precision([judge(picture, iou, min_height) for picture in pictures])


def mean_average_precision(pictures: Sequence[PictureBoxes], *, min_height: float = 0.0) -> float:
    """`average_precision`, averaged over the IoU thresholds .50, .55 ... .95 (COCO's AP)."""
    return float(np.mean([average_precision(pictures, iou=iou, min_height=min_height) for iou in COCO_IOUS]))
