"""Geodesic point similarity (Guler et al. 2018, section 5; scale by part as the reference evaluation has it)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.metrics.matching import (
    AREAS,
    COCO_IOUS,
    MOST_DETECTIONS,
    Outcome,
    by_score,
    interpolated_precision,
    match,
    within,
)

# metres: mean geodesic distance between annotators, by coarse part (1 torso, hands, feet ... 8 head)
_SCALE = np.array([0, 0.351, 0.107, 0.126, 0.237, 0.173, 0.142, 0.128, 0.150])
_SCALE_PART = np.array([0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 8, 8])
# metres: below, the straight line is better than the distance of the anchors; a longer one would go through a hand
_NEAR = 0.08
_CHUNK = 2048
_SAME_BOX = 0.8  # overlap from which an unmatched detection shows a person without points


class GpsSurface(Protocol):
    """A body whose every chart point has a place, and distances on its skin."""

    def points(self, part: NDArray[np.integer], u: NDArray[np.floating], v: NDArray[np.floating]) -> NDArray[np.int64]:
        """Index of the nearest chart point of the same part, [n]; -1 where the part is 0."""
        ...

    def geodesic(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
        """Metres on the skin between points [n] and [n]; infinite where either is -1."""
        ...


def nearest_of_part(
    parts: NDArray[np.integer],
    charts: NDArray[np.floating],
    part: NDArray[np.integer],
    u: NDArray[np.floating],
    v: NDArray[np.floating],
) -> NDArray[np.int64]:
    """Which chart point is nearest in (U, V) among those of the same part.

    Args:
        parts: [k], part 1..24 of each chart point; charts: [k,2], its U and V.
        part, u, v: [n], what is looked for.

    Returns:
        int64 [n] indices into `parts`; -1 where the part is 0 or has no point.
    """
    out = np.full(len(part), -1, np.int64)
    wanted = np.stack([u, v], 1).astype(np.float32)
    for number in np.unique(part[part > 0]):
        own = np.flatnonzero(parts == number)
        rows = np.flatnonzero(part == number)
        for start in range(0, len(rows) if len(own) else 0, _CHUNK):
            chunk = rows[start : start + _CHUNK]
            squares = ((wanted[chunk, None] - charts[None, own]) ** 2).sum(2)
            out[chunk] = own[squares.argmin(1)]
    return out


def read_cells(
    cells: NDArray[np.uint8], box: NDArray[np.floating], x: NDArray[np.floating], y: NDArray[np.floating]
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
    """(part, U, V) at places [n] of the picture, from IUV cells uint8 [3,S,S] that cover a box; part 0 outside."""
    x1, y1, x2, y2 = (float(value) for value in box)
    columns = np.floor((x - x1) / max(x2 - x1, 1e-6) * cells.shape[2]).astype(int)
    rows = np.floor((y - y1) / max(y2 - y1, 1e-6) * cells.shape[1]).astype(int)
    inside = (columns >= 0) & (columns < cells.shape[2]) & (rows >= 0) & (rows < cells.shape[1])
    part, u, v = cells[:, rows.clip(0, cells.shape[1] - 1), columns.clip(0, cells.shape[2] - 1)]
    return np.where(inside, part, 0).astype(np.uint8), u / 255, v / 255


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
        return nearest_of_part(self.part, self.uv, part, u, v)

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
        box_overlap: float [n,m], IoU of the boxes; with crowds, intersection over the detection's area.
        box_areas: float [n], pixels, of the detections.
        areas: float [m], pixels, of the people.
        pointless: bool [m], people without annotated points and crowds: nobody has to find them.
        crowd: bool [m].

    The last five may be None: then everybody has points, and area ranges have no meaning.
    """

    scores: NDArray[np.floating]
    similarity: NDArray[np.floating]
    box_overlap: NDArray[np.floating] | None = None
    box_areas: NDArray[np.floating] | None = None
    areas: NDArray[np.floating] | None = None
    pointless: NDArray[np.bool_] | None = None
    crowd: NDArray[np.bool_] | None = None


def judge(picture: PicturePoints, threshold: float, area: tuple[float, float] = AREAS["all"]) -> Outcome:
    """One picture by the rules of the evaluation that was published with DensePose-COCO.

    COCO's, with GPS in place of IoU and 20 detections a picture, and two more. A picture in which nobody counts costs
    nothing. And a detection that is matched with nobody at the highest threshold (.95), and whose box fits somebody by
    .8 or more, is ignored at all thresholds if the one it fits best does not count, and at none if that one counts:
    whom it takes at a lower threshold is then right, even somebody who does not count.
    """
    order = by_score(picture.scores, MOST_DETECTIONS)
    similarity = np.asarray(picture.similarity, np.float64)[order]
    detections, people = similarity.shape
    pointless = np.zeros(people, bool) if picture.pointless is None else picture.pointless
    crowd = np.zeros(people, bool) if picture.crowd is None else picture.crowd
    counts = ~pointless
    outside = np.zeros(detections, bool)
    if picture.areas is not None:
        counts = counts & within(picture.areas, area)
    if picture.box_areas is not None:
        outside = ~within(picture.box_areas[order], area)
    taken = match(similarity, counts, crowd, threshold)
    right = taken >= 0  # unless it is ignored
    ignored = right & ~np.append(counts, False)[taken]
    if not counts.any():
        ignored[:] = True
    elif picture.box_overlap is not None:
        fits = _whom_the_box_fits(similarity, np.asarray(picture.box_overlap)[order], counts, crowd)
        ignored = np.where(fits >= 0, ~np.append(counts, False)[fits], ignored)
    ignored |= (taken < 0) & outside
    scores = np.asarray(picture.scores, np.float64)[order]
    return Outcome(scores, right & ~ignored, ignored, int(counts.sum()))


def _whom_the_box_fits(
    similarity: NDArray[np.float64],
    box_overlap: NDArray[np.floating],
    counts: NDArray[np.bool_],
    crowd: NDArray[np.bool_],
) -> NDArray[np.intp]:
    """The free person in the same box as each detection [n] that is unmatched at the highest threshold; -1: nobody."""
    best = match(similarity, counts, crowd, COCO_IOUS[-1])
    free = crowd | ~np.isin(np.arange(len(counts)), best)
    found = np.full(len(best), -1, np.intp)
    # people who count come first in the published code, and of equal overlaps the last wins
    people = np.argsort(~counts, kind="stable")[::-1]
    for row in np.flatnonzero(best < 0):
        overlap = np.where(free, box_overlap[row], -1.0)[people]
        if len(overlap) and overlap.max() >= _SAME_BOX:
            found[row] = people[overlap.argmax()]
            if not counts[found[row]]:
                free[found[row]] = crowd[found[row]]
    return found


def gps_average_precision(
    pictures: Sequence[PicturePoints], threshold: float | None = None, *, area: tuple[float, float] = AREAS["all"]
) -> float:
    """Average precision with GPS in place of IoU.

    Args:
        pictures: of the set.
        threshold: the least GPS; None: the mean over .50, .55 ... .95.
        area: least and greatest area (pixels) of people who count, one of `AREAS`.

    Returns:
        0..1, or NaN when there is nobody to find.
    """
    if threshold is None:
        return float(np.mean([gps_average_precision(pictures, t, area=area) for t in COCO_IOUS]))
    return interpolated_precision([judge(picture, threshold, area) for picture in pictures])
