"""How COCO gives detections to people and draws the curve: what box AP, GPS AP and keypoint AP share.

By pycocotools' COCOeval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COCO_IOUS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
RECALLS = np.linspace(0.0, 1.0, 101)
# pixels; both ends belong to a range
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
MOST_DETECTIONS = 20  # of a picture, by score, that count for GPS and OKS
_WHOLE = 1 - 1e-10  # an overlap of 1 that rounding has cut still reaches the threshold 1


@dataclass(frozen=True, eq=False)
class Outcome:
    """Detections of one picture, judged.

    Attributes:
        scores: float64 [n], descending.
        right: bool [n], found somebody who counts.
        ignored: bool [n], neither right nor wrong.
        people: how many there are to find.
    """

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    people: int


def by_score(scores: NDArray[np.floating], most: int) -> NDArray[np.intp]:
    """Rows of the `most` best detections; equal scores keep their order."""
    return np.argsort(-np.asarray(scores, np.float64), kind="stable")[:most]


def match(
    overlap: NDArray[np.floating], counts: NDArray[np.bool_], crowd: NDArray[np.bool_], threshold: float
) -> NDArray[np.intp]:
    """Who each detection takes, int [n]; -1 for nobody.

    By descending score each takes the free person that it overlaps most. One who counts comes before one who does not,
    however well that one fits; of equal overlaps the last wins; a crowd takes any number of detections.

    Args:
        overlap: [n,m], detections by descending score.
        counts: [m]; False: whoever takes this one is ignored.
        crowd: [m].
        threshold: the least overlap.
    """
    taken = np.full(len(overlap), -1, np.intp)
    free = np.ones(len(counts), bool)
    least = min(threshold, _WHOLE)
    for row in np.flatnonzero((overlap >= least).any(1)) if len(counts) else ():
        for wanted in (counts, ~counts):
            candidates = np.where(free & wanted, overlap[row], -1.0)[::-1]
            best = len(candidates) - 1 - int(candidates.argmax())
            if candidates[len(candidates) - 1 - best] >= least:
                taken[row] = best
                free[best] = crowd[best]
                break
    return taken


def judged(
    scores: NDArray[np.floating], taken: NDArray[np.intp], counts: NDArray[np.bool_], outside: NDArray[np.bool_]
) -> Outcome:
    """Detections by descending score [n], whom each took (`match`), which people count [m], and which detections lie
    `outside` [n] of the range that is measured: taking nobody, they are ignored."""
    right = (taken >= 0) & np.append(counts, False)[taken]
    ignored = np.where(taken >= 0, ~right, outside)
    return Outcome(np.asarray(scores, np.float64), right, ignored, int(counts.sum()))


def within(areas: NDArray[np.floating], limits: tuple[float, float]) -> NDArray[np.bool_]:
    """Which areas lie in a range of `AREAS`, ends included."""
    return np.asarray((areas >= limits[0]) & (areas <= limits[1]))


def curve(
    outcomes: Sequence[Outcome],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Precision, recall and score after each detection of a set, by descending score; ignored detections left out.

    Recall is NaN when there is nobody to find.
    """
    people = sum(outcome.people for outcome in outcomes)
    scores = np.concatenate([o.scores for o in outcomes] or [np.zeros(0)])
    right = np.concatenate([o.right for o in outcomes] or [np.zeros(0, bool)])
    kept = ~np.concatenate([o.ignored for o in outcomes] or [np.zeros(0, bool)])
    order = np.argsort(-scores, kind="stable")
    order = order[kept[order]]
    found = np.cumsum(right[order]).astype(np.float64)
    return found / np.arange(1, len(order) + 1), found / (people or np.nan), scores[order]


def interpolated_precision(outcomes: Sequence[Outcome]) -> float:
    """Average precision: the curve, made monotone, read at 101 recalls. 0..1, or NaN when there is nobody to find."""
    if not sum(outcome.people for outcome in outcomes):
        return float("nan")
    precision, recall, _ = curve(outcomes)
    if not len(precision):
        return 0.0
    monotone = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, RECALLS, side="left")
    return float(np.where(at < len(monotone), monotone[at.clip(max=len(monotone) - 1)], 0.0).mean())
