"""How far two runs of the same graphs are apart: people are matched by their boxes, then every tensor is compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.geometry import iou
from parsing_rcnn.runtime import Graphs

Tensors = dict[str, NDArray[Any]]

_SAME = 0.9  # least IoU of two boxes of the same person


@dataclass(frozen=True)
class Tolerance:
    """How far a pair of runs may be apart.

    Attributes:
        unmatched: the largest fraction of both runs' people without a partner.
        box: the largest difference of any box coordinate, canvas pixels.
        box_median: the largest median over people of each one's worst coordinate, canvas pixels.
        score: the largest difference of a person's score.
        parts: the least fraction of equal pixels of the part maps, over all people.
    """

    unmatched: float
    box: float
    box_median: float
    score: float
    parts: float


@dataclass
class Difference:
    """One run against another over some pictures.

    Attributes:
        pictures: number compared.
        people: number found by the first run.
        unmatched: number of people of both runs without a partner (IoU >= 0.9, each the other's best).
        box: largest difference of a box coordinate, canvas pixels. box_p99, box_median: 99th percentile and median over
            people of each one's largest difference.
        score, score_p99: largest difference of a person's score, and its 99th percentile.
        part_score, iuv_score: largest difference of a PART_SCORES, of an IUV_SCORES value.
        parts, parts_worst: fraction of equal pixels of the part maps: over all people, and of the worst person.
        iuv: fraction of pixels with the same part index of IUV.
        uv, uv_p99: largest difference of U or V (0..255) where the part index agrees, and its 99th percentile.
    """

    pictures: int
    people: int
    unmatched: int
    box: float
    box_p99: float
    box_median: float
    score: float
    score_p99: float
    part_score: float
    iuv_score: float
    parts: float
    parts_worst: float
    iuv: float
    uv: float
    uv_p99: float

    def within(self, tolerance: Tolerance) -> bool:
        """Whether the difference is allowed. Where nobody was found there is nothing to compare, and it is allowed."""
        return bool(
            self.unmatched <= tolerance.unmatched * 2 * self.people
            and self.box <= tolerance.box
            and self.box_median <= tolerance.box_median
            and self.score <= tolerance.score
            and self.parts >= tolerance.parts
        )


@dataclass
class _Seen:
    """Differences of every matched person so far."""

    boxes: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    part_scores: list[float] = field(default_factory=list)
    iuv_scores: list[float] = field(default_factory=list)
    parts: list[float] = field(default_factory=list)
    index: list[float] = field(default_factory=list)
    uv: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))  # number of pixels by difference


def answers(graphs: Graphs, canvases: Sequence[NDArray[np.uint8]], limits: NDArray[np.float32]) -> list[Tensors]:
    """All tensors of the people of each canvas, from the detector and both heads (see `compare`).

    Unlike `parsing_rcnn.pipeline.GraphPipeline`, which serves, it leaves all numbers as the graphs give them.
    """
    tensors = []
    for canvas in canvases:
        people = graphs.detector(canvas, limits)
        features = people["ROI_FEATURES"]
        heads = {**graphs.parsing(features, probabilities=False), **graphs.densepose(features)}
        count = int(people["COUNT"][0])
        named = {"BOXES": people["BOXES"], "SCORES": people["SCORES"], **heads}
        tensors.append({name: value[:count] for name, value in named.items()})
    return tensors


def match(first: Tensors, second: Tensors) -> list[tuple[int, int]]:
    """Rows of the same person in both runs of one picture."""
    if not len(first["BOXES"]) or not len(second["BOXES"]):
        return []
    overlap = iou(_solid(first["BOXES"]), _solid(second["BOXES"]))
    best = [(i, int(j)) for i, j in enumerate(overlap.argmax(1))]
    return [(i, j) for i, j in best if overlap[i, j] >= _SAME and overlap[:, j].argmax() == i]


def _solid(boxes: NDArray[Any]) -> NDArray[np.float64]:
    """Boxes [n,4] made at least one pixel wide and high: a box cut to a line overlaps nothing, not even itself."""
    boxes = boxes.astype(np.float64)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    return boxes


def compare(first: Sequence[Tensors], second: Sequence[Tensors]) -> Difference:
    """The differences of two runs, over all pictures.

    Args:
        first, second: for each picture BOXES [n,4], SCORES [n], PARTS [n,S,S], PART_SCORES [n,C], IUV [n,3,S,S],
            IUV_SCORES [n,25] of the people found (see `answers`).
    """
    seen = _Seen()
    people = unmatched = 0
    for one, other in zip(first, second, strict=True):
        pairs = match(one, other)
        people += len(one["BOXES"])
        unmatched += len(one["BOXES"]) + len(other["BOXES"]) - 2 * len(pairs)
        for i, j in pairs:
            _add(seen, one, i, other, j)
    values = np.repeat(np.arange(256), np.minimum(seen.uv, 10**6)) if seen.uv.sum() else np.zeros(1)
    return Difference(
        pictures=len(first),
        people=people,
        unmatched=unmatched,
        box=max(seen.boxes, default=0.0),
        box_p99=_percentile(seen.boxes, 99),
        box_median=_percentile(seen.boxes, 50),
        score=max(seen.scores, default=0.0),
        score_p99=_percentile(seen.scores, 99),
        part_score=max(seen.part_scores, default=0.0),
        iuv_score=max(seen.iuv_scores, default=0.0),
        parts=float(np.mean(seen.parts)) if seen.parts else 1.0,
        parts_worst=min(seen.parts, default=1.0),
        iuv=float(np.mean(seen.index)) if seen.index else 1.0,
        uv=float(values.max()),
        uv_p99=float(np.percentile(values, 99)),
    )


def _add(seen: _Seen, one: Tensors, i: int, other: Tensors, j: int) -> None:
    """Add the differences between person `i` of one run and `j` of the other."""
    seen.boxes.append(float(np.abs(one["BOXES"][i] - other["BOXES"][j]).max()))
    seen.scores.append(float(abs(one["SCORES"][i] - other["SCORES"][j])))
    seen.part_scores.append(float(np.abs(one["PART_SCORES"][i] - other["PART_SCORES"][j]).max()))
    seen.iuv_scores.append(float(np.abs(one["IUV_SCORES"][i] - other["IUV_SCORES"][j]).max()))
    seen.parts.append(float((one["PARTS"][i] == other["PARTS"][j]).mean()))
    same = one["IUV"][i, 0] == other["IUV"][j, 0]
    seen.index.append(float(same.mean()))
    far = np.abs(one["IUV"][i, 1:].astype(int) - other["IUV"][j, 1:].astype(int))[:, same]
    seen.uv += np.bincount(far.ravel(), minlength=256)


def _percentile(values: list[float], part: float) -> float:
    return float(np.percentile(values, part)) if values else 0.0
