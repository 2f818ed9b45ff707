"""One picture at two sizes, and of each person the answer of the size that suits them.

What a network sees of a person changes with their size, and it knows best the sizes that it was trained on. On larger
canvases it finds the small better and takes fewer things for people; whoever fills a small canvas is too large there.
So each size answers for people of its own range (as training does in Singh and Davis, SNIP, CVPR 2018), and is believed
half of what it says of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.geometry import choose_canvas, iou
from parsing_rcnn.models import SecondSize
from parsing_rcnn.people import People

SAME = 0.5
"""IoU from which two boxes are one person, as between boxes of one size (NMS)."""
OTHERS = 0.5
"""What a score is worth of somebody who belongs to the other size."""

_ROWS = ("boxes", "parts", "part_scores", "part_probs", "iuv", "iuv_scores")
"""Of `People`, what is taken from one size as it is."""


@dataclass(frozen=True)
class United:
    """Who is there, by falling score.

    Attributes:
        second: bool [n], whether the answer is the second size's.
        rows: int [n], which of its answers.
        scores: float32 [n].
    """

    second: NDArray[np.bool_]
    rows: NDArray[np.intp]
    scores: NDArray[np.float32]

    def take(self, first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
        """Rows of both sizes' arrays, [n,...] in this order."""
        return np.concatenate([first, second])[self.rows + self.second * len(first)]


def united(
    boxes: tuple[NDArray[np.float32], NDArray[np.float32]],
    scores: tuple[NDArray[np.float32], NDArray[np.float32]],
    below: float,
    confidence: float,
    most: int,
) -> United:
    """Put the answers of two sizes together.

    Args:
        boxes: [n,4] and [m,4] of the first and of the second size, both on the first one's canvas.
        scores: [n] and [m].
        below: see `SecondSize`; of two boxes of one person the mean height counts.
        confidence: the lowest score kept.
        most: people kept, by score.

    Example:
        >>> tall, small = np.array([[0, 0, 99, 400]], np.float32), np.array([[200, 0, 230, 90]], np.float32)
        >>> both = (np.concatenate([tall, small]), np.concatenate([tall, small]))
        >>> scores = (np.array([0.9, 0.6], np.float32), np.array([0.7, 0.8], np.float32))
        >>> found = united(both, scores, below=300, confidence=0.5, most=64)
        >>> found.second.tolist(), found.rows.tolist(), [round(score, 2) for score in found.scores.tolist()]
        ([False, True], [0, 1], [0.9, 0.8])
    """
    heights = [array[:, 3] - array[:, 1] for array in boxes]
    worth: list[tuple[float, bool, int]] = []
    pairs = _pairs(*boxes)
    for one, other in pairs:
        second = bool((heights[0][one] + heights[1][other]) / 2 < below)
        own, others = (scores[1][other], scores[0][one]) if second else (scores[0][one], scores[1][other])
        worth.append((max(float(own), OTHERS * float(others)), second, other if second else one))
    for second in (False, True):
        alone = set(range(len(boxes[second]))) - {pair[second] for pair in pairs}
        for row in alone:
            belongs = bool(heights[second][row] < below) is second
            worth.append(((1 if belongs else OTHERS) * float(scores[second][row]), second, row))
    kept = sorted((found for found in worth if found[0] >= confidence), key=lambda found: (-found[0], *found[1:]))
    kept = kept[:most]
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
) -> People:
    """`united` for who gets whole answers, as from a server: people of one picture, asked for alike at both sizes.

    Args:
        first: the first size's answer.
        second: the second one's.
        size: the second one, and whose people are its.
        canvases: (height, width) of the first size, on which people are measured.
        confidence: the lowest score kept.
        most: people kept, by score.

    Returns:
        Everybody once, nobody numbered; `timings` are those of both together.

    Raises:
        ValueError: they are of pictures of unequal sizes, or only one has a map.
    """
    if first.image_size != second.image_size:
        raise ValueError(f"image_size: {first.image_size} and {second.image_size} are no picture's two answers")
    height, width = first.image_size
    rows, columns = choose_canvas(height, width, canvases)
    scale = max(round(height * min(rows / height, columns / width)), 1) / height
    boxes = (first.boxes * np.float32(scale), second.boxes * np.float32(scale))
    who = united(boxes, (first.scores, second.scores), size.below, confidence, most)
    fields: dict[str, Any] = {"scores": who.scores, "tracker_id": None}
    for name in _ROWS:
        own, others = getattr(first, name), getattr(second, name)
        if (own is None) != (others is None):
            raise ValueError(f"{name}: only one of the two answers has them")
        fields[name] = None if own is None else who.take(own, others)
    stages = dict.fromkeys([*first.timings, *second.timings])
    timings = {name: round(first.timings.get(name, 0) + second.timings.get(name, 0), 3) for name in stages}
    return replace(first, **fields, timings=timings)


def _pairs(first: NDArray[np.float32], second: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Boxes of one person: those that overlap most come first, and each has one partner at most."""
    overlap = iou(first, second)
    found: list[tuple[int, int]] = []
    for place in np.argsort(-overlap, axis=None, kind="stable"):
        one, other = (int(index) for index in np.unravel_index(place, overlap.shape))
        if overlap[one, other] < SAME:
            break
        if all(one != taken[0] and other != taken[1] for taken in found):
            found.append((one, other))
    return found
