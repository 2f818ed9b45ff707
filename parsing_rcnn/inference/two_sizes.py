"""One picture analysed at two sizes: each person is taken from the size that suits them.

A network works best on people of the sizes that it was trained on. On a larger canvas it finds small people better and
takes fewer things for people, but whoever fills a small canvas is too large there. So each size answers for people of
its own range (as in training by Singh and Davis, SNIP, CVPR 2018), and its scores of all others count half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.geometry import Region, choose_canvas, iou, shown_size
from parsing_rcnn.models import SecondSize
from parsing_rcnn.people import PER_PERSON, People

SAME = 0.5
"""IoU from which two boxes are one person, the same as between boxes of one size (NMS)."""
OTHERS = 0.5
"""Factor of the score of somebody who belongs to the other size."""


@dataclass(frozen=True)
class United:
    """The people of both sizes together, by falling score.

    Attributes:
        second: bool [n], whether a person is taken from the second size.
        rows: int [n], the person's row in the arrays of that size.
        scores: float32 [n].
    """

    second: NDArray[np.bool_]
    rows: NDArray[np.intp]
    scores: NDArray[np.float32]

    def take(self, first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
        """The rows [n,...] of these people from an array of the first and one of the second size."""
        return np.concatenate([first, second])[self.rows + self.second * len(first)]


def united(
    boxes: tuple[NDArray[np.float32], NDArray[np.float32]],
    scores: tuple[NDArray[np.float32], NDArray[np.float32]],
    below: float,
    confidence: float,
    most: int,
    *,
    longest: bool = False,
) -> United:
    """Join the boxes of two sizes.

    Args:
        boxes: [n,4] and [m,4] of the first and of the second size, both on the first one's canvas.
        scores: [n] and [m].
        below: see `SecondSize`; where both sizes have a box of a person, the mean height counts.
        confidence: the lowest score kept.
        most: people kept, highest scores first.
        longest: `below` is of the longer side of a box, not of its height.

    Example:
        >>> tall, small = np.array([[0, 0, 99, 400]], np.float32), np.array([[200, 0, 230, 90]], np.float32)
        >>> both = (np.concatenate([tall, small]), np.concatenate([tall, small]))
        >>> scores = (np.array([0.9, 0.6], np.float32), np.array([0.7, 0.8], np.float32))
        >>> found = united(both, scores, below=300, confidence=0.5, most=64)
        >>> found.second.tolist(), found.rows.tolist(), [round(score, 2) for score in found.scores.tolist()]
        ([False, True], [0, 1], [0.9, 0.8])
    """
    sides = [array[:, 2:] - array[:, :2] for array in boxes]
    heights = [array.max(1, initial=0) if longest else array[:, 1] for array in sides]
    answers: list[tuple[float, bool, int]] = []  # (score, of the second size, row)
    pairs = _pairs(*boxes)
    for one, other in pairs:
        second = bool((heights[0][one] + heights[1][other]) / 2 < below)
        own, others = (scores[1][other], scores[0][one]) if second else (scores[0][one], scores[1][other])
        answers.append((max(float(own), OTHERS * float(others)), second, other if second else one))
    for second in (False, True):
        alone = set(range(len(boxes[second]))) - {pair[second] for pair in pairs}
        for row in alone:
            belongs = bool(heights[second][row] < below) is second
            answers.append(((1 if belongs else OTHERS) * float(scores[second][row]), second, row))
    kept = [answer for answer in answers if answer[0] >= confidence]
    kept = sorted(kept, key=lambda answer: (-answer[0], *answer[1:]))[:most]
    return United(
        np.array([second for _, second, _ in kept], np.bool_),
        np.array([row for _, _, row in kept], np.intp),
        np.array([score for score, _, _ in kept], np.float32),
    )


def united_people(
    first: People,
    second: People,
    size: SecondSize,
    canvases: Sequence[tuple[int, int]],
    confidence: float,
    most: int,
    region: Region | None = None,
) -> People:
    """`united` for whole answers, such as a server's: the people of one picture, analysed with the same options.

    Args:
        first: the answer of the first size.
        second: the answer of the second size.
        size: the second size, and which people belong to it.
        canvases: (height, width) of the first size, on which the height of people is measured.
        confidence: the lowest score kept.
        most: people kept, highest scores first.
        region: of the picture, which both looked at; None: at all of it.

    Returns:
        Everybody once, without `tracker_id`; `timings` are the sums of both.

    Raises:
        ValueError: the pictures have different sizes, or only one answer has a map.
    """
    if first.image_size != second.image_size:
        raise ValueError(f"image_size: {first.image_size} and {second.image_size} are no picture's two answers")
    height, width = first.image_size if region is None else (region[3] - region[1], region[2] - region[0])
    scale = shown_size(height, width, choose_canvas(height, width, canvases))[0] / height
    boxes = (first.boxes * np.float32(scale), second.boxes * np.float32(scale))
    who = united(boxes, (first.scores, second.scores), size.below, confidence, most)
    return taken(who, first, second)


def taken(who: United, first: People, second: People) -> People:
    """The people of two answers of whom each is taken from one; `timings` are the sums of both.

    Raises:
        ValueError: only one answer has a map.
    """
    fields: dict[str, Any] = {"scores": who.scores, "tracker_id": None}
    for name in PER_PERSON:
        if name in fields:
            continue
        own, others = getattr(first, name), getattr(second, name)
        if (own is None) != (others is None):
            raise ValueError(f"{name}: only one of the two answers has them")
        fields[name] = None if own is None else who.take(own, others)
    stages = dict.fromkeys([*first.timings, *second.timings])
    timings = {name: round(first.timings.get(name, 0) + second.timings.get(name, 0), 3) for name in stages}
    return replace(first, **fields, timings=timings)


def _pairs(first: NDArray[np.float32], second: NDArray[np.float32]) -> list[tuple[int, int]]:
    """(row, row) of boxes of the same person, by falling overlap; each box is in one pair at most."""
    overlap = iou(first, second)
    found: list[tuple[int, int]] = []
    for place in np.argsort(-overlap, axis=None, kind="stable"):
        one, other = (int(index) for index in np.unravel_index(place, overlap.shape))
        if overlap[one, other] < SAME:
            break
        if all(one != taken[0] and other != taken[1] for taken in found):
            found.append((one, other))
    return found
