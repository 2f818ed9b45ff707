"""Removes second boxes of the same person."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.geometry import intersection
from parsing_rcnn.geometry import iou as overlap


def best(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], iou: float = 0.5, inside: float = 0.9
) -> NDArray[np.intp]:
    """Whom to keep so that nobody overlaps a better one who is kept, or lies inside that box.

    Only boxes are compared: a child on somebody's arm lies inside their box, and is left out unless `inside` is 1.

    Args:
        boxes: [n,4].
        scores: [n]; of equal ones the first counts as better.
        iou: up to this intersection over union, two boxes are two people, 0..1.
        inside: up to this share of its area, a box may lie in a better one, 0..1.

    Returns:
        int [k], indices in rising order.

    Raises:
        InvalidOptions: `iou` or `inside` is out of range.

    Example:
        >>> boxes = np.array([[0, 0, 100, 200], [0, 10, 100, 200], [10, 20, 60, 100], [90, 0, 190, 200]], np.float32)
        >>> best(boxes, np.array([0.9, 0.8, 0.7, 0.6], np.float32)).tolist()
        [0, 3]
    """
    for name, limit in (("iou", iou), ("inside", inside)):
        if not 0 <= limit <= 1:
            raise InvalidOptions(f"{name}: {limit} is outside 0..1")
    shared = intersection(boxes, boxes)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1).astype(np.float64)
    unions, shares = overlap(boxes, boxes, shared), shared / np.maximum(areas, 1e-9)[:, None]
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        if not ((unions[index, kept] > iou) | (shares[index, kept] > inside + 1e-6)).any():
            kept.append(index)
    return np.array(sorted(kept), np.intp)
