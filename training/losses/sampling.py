"""Matching boxes to people and drawing the ones that train a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.model import boxes as box_ops

_COVERED_BY_IGNORE = 0.5
_LIKELY_UNLABELLED = 0.7  # a background box scored above this may be somebody whom nobody labelled
_FAR_FROM_PEOPLE = 0.3


@dataclass
class People:
    """Labels of one canvas on the device: boxes [n,4], ignore [m,4], whether the background is certain."""

    boxes: Tensor
    ignore: Tensor
    background_certain: bool


def match(
    boxes: Tensor, people: People, foreground: float, background: float, *, scores: Tensor, best_for_each: bool
) -> tuple[Tensor, Tensor]:
    """Match candidate boxes to people.

    Args:
        boxes: [a,4].
        scores: [a] person probability now; used only where the background is not certain.
        best_for_each: also make the best box of each person positive (the proposal network's rule).

    Returns:
        labels int64 [a]: 1 person, 0 background, -1 neither; index int64 [a] of the matched person.
    """
    count = len(people.boxes)
    labels = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    index = torch.zeros_like(labels)
    if count:
        pairs = box_ops.iou(boxes, people.boxes)
        overlap, index = pairs.max(1)
        labels[overlap >= background] = -1
        labels[overlap >= foreground] = 1
        if best_for_each:
            best = pairs.max(0).values.clamp(min=1e-3)
            rows, columns = torch.nonzero(pairs >= best[None] - 1e-4, as_tuple=True)
            labels[rows], index[rows] = 1, columns
    own = box_ops.areas(boxes).clamp(min=1e-6)
    if len(people.ignore):
        covered = (box_ops.intersections(boxes, people.ignore) / own[:, None]).max(1).values
        labels[(covered > _COVERED_BY_IGNORE) & (labels == 0)] = -1
    if not people.background_certain:
        near = torch.zeros(len(boxes), device=boxes.device)
        if count:
            near = (box_ops.intersections(boxes, people.boxes) / own[:, None]).max(1).values
        labels[(labels == 0) & (near < _FAR_FROM_PEOPLE) & (scores > _LIKELY_UNLABELLED)] = -1
    return labels, index


def balanced(
    labels: Tensor,
    count: int,
    positive_fraction: float,
    generator: torch.Generator,
    hardness: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Indices of drawn positives and negatives: at most `count` in all, at most the fraction positive.

    Args:
        labels: int64 [a] as `match` gives them.
        generator: on the device of `labels`.
        hardness: [a] person probability now. Half of the negatives are then those with the highest one (Shrivastava
            et al. 2016): boxes drawn at random are mostly sky and floor, and teach nothing about a cat or a clock.
    """

    def draw(mask: Tensor, limit: int) -> Tensor:
        found = torch.nonzero(mask)[:, 0]
        return found[torch.randperm(len(found), generator=generator, device=mask.device)[:limit]]

    positive = draw(labels == 1, int(count * positive_fraction))
    limit = count - len(positive)
    background = labels == 0
    if hardness is None:
        return positive, draw(background, limit)
    hard = hardness.masked_fill(~background, -1.0).topk(min(limit // 2, int(background.sum()))).indices
    background = background.index_fill(0, hard, False)
    return positive, torch.cat([hard, draw(background, limit - len(hard))])


def pixels_under(rois: Tensor, size: int, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Where labels of [H,W] are read for maps of RoIs: the pixels that hold the centres of a size x size grid.

    Args:
        rois: [r,4] in canvas pixels.
        shape: H and W; what lies outside is read at the edge.

    Returns:
        rows int64 [r,size,1] and columns int64 [r,1,size], an index of such an array.
    """
    steps = (torch.arange(size, device=rois.device) + 0.5) / size
    xs = rois[:, :1] + steps * (rois[:, 2:3] - rois[:, :1])
    ys = rois[:, 1:2] + steps * (rois[:, 3:4] - rois[:, 1:2])
    columns = xs.floor().long().clamp(0, shape[1] - 1)
    rows = ys.floor().long().clamp(0, shape[0] - 1)
    return rows[:, :, None], columns[:, None, :]
