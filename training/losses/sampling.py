"""Matching boxes to people and drawing the boxes that train a head, for all the pictures of a batch at once.

A GPU takes no longer for a batch than for a picture, but has to wait whenever Python reads a number from it. So shapes
depend on no count here, and rows that are not drawn are masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.data.batch import Batch
from training.model import boxes as box_ops

_COVERED_BY_IGNORE = 0.5  # share of a box under a region to ignore, above which it is no background
_LIKELY_UNLABELLED = 0.7  # a background box scored above this may be somebody whom nobody labelled
_FAR_FROM_PEOPLE = 0.3  # unless a labelled person covers at least this share of it


@dataclass
class LabelledPeople:
    """Labels of B canvases.

    Attributes:
        boxes: [B,n,4]; present: bool [B,n], which rows are people.
        ignore: [B,m,4], regions where boxes are not background.
        certain: bool [B], whether everybody on the canvas is labelled.
    """

    boxes: Tensor
    present: Tensor
    ignore: Tensor
    certain: Tensor

    @classmethod
    def of(cls, batch: Batch) -> LabelledPeople:
        """The labels of a batch."""
        return cls(batch.boxes, batch.present, batch.ignore, batch.certain)


@dataclass
class Drawn:
    """Boxes drawn of a for each of B pictures: `positive` int64 [B,p] and `negative` int64 [B,q] are their indices.

    `positives` and `negatives`, bool of the same shapes, say which entries were drawn; the others fill up the rows.
    """

    positive: Tensor
    negative: Tensor
    positives: Tensor
    negatives: Tensor


def match(
    boxes: Tensor, people: LabelledPeople, foreground: float, background: float, *, scores: Tensor, best_for_each: bool
) -> tuple[Tensor, Tensor]:
    """Match candidate boxes to people.

    Args:
        boxes: [B,a,4], or [1,a,4] for the same ones in every picture.
        scores: [B,a] person probability now; used only where the background is not certain.
        best_for_each: also make the best box of each person positive (the proposal network's rule).

    Returns:
        labels int64 [B,a]: 1 person, 0 background, -1 neither; index int64 [B,a] of the person that it overlaps most.
    """
    labels = torch.zeros(scores.shape, dtype=torch.int64, device=boxes.device)
    index = torch.zeros_like(labels)
    own = box_ops.areas(boxes).clamp(min=1e-6)
    near = torch.zeros_like(scores)
    if people.boxes.shape[1]:
        shared = box_ops.intersections(boxes, people.boxes)
        union = box_ops.areas(boxes)[..., None] + box_ops.areas(people.boxes)[:, None] - shared
        pairs = (shared / union.clamp(min=1e-6)).masked_fill(~people.present[:, None], -1.0)
        overlap, index = pairs.max(2)
        labels = labels.masked_fill(overlap >= background, -1).masked_fill(overlap >= foreground, 1)
        if best_for_each:
            best = pairs.amax(1, keepdim=True).clamp(min=1e-3)
            labels = labels.masked_fill((pairs >= best - 1e-4).any(2), 1)  # each still its own nearest person's
        near = (shared * people.present[:, None]).amax(2) / own
    if people.ignore.shape[1]:
        covered = box_ops.intersections(boxes, people.ignore).amax(2) / own
        labels = labels.masked_fill((covered > _COVERED_BY_IGNORE) & (labels == 0), -1)
    likely = ~people.certain[:, None] & (near < _FAR_FROM_PEOPLE) & (scores > _LIKELY_UNLABELLED)
    return labels.masked_fill((labels == 0) & likely, -1), index


def balanced(
    labels: Tensor,
    count: int,
    positive_fraction: float,
    generator: torch.Generator,
    hardness: Tensor | None = None,
) -> Drawn:
    """Draw positives and negatives of each picture: at most `count` in all, at most the fraction positive.

    Args:
        labels: int64 [B,a] as `match` gives them.
        generator: on the device of `labels`.
        hardness: [B,a] person probability now. Half of the negatives are then those with the highest one (Shrivastava
            et al. 2016): boxes drawn at random mostly show sky and floor, which are easy.
    """
    chance = torch.rand(labels.shape, generator=generator, device=labels.device)
    positive, positives = first(chance, labels == 1, int(count * positive_fraction))
    limit = count - positives.sum(1, keepdim=True)  # [B,1]
    background = labels == 0
    if hardness is not None:
        hard, found = first(hardness, background, count // 2)
        found &= torch.arange(hard.shape[1], device=hard.device) < limit // 2
        # before everything that chance can give, the hardest first
        rank = torch.arange(hard.shape[1], 0, -1, device=hard.device, dtype=chance.dtype)
        chance = chance.scatter_add(1, hard, rank * found)
    negative, negatives = first(chance, background, count)
    negatives &= torch.arange(negative.shape[1], device=negative.device) < limit
    return Drawn(positive, negative, positives, negatives)


def first(values: Tensor, mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Indices int64 [B,k] of the greatest `values` [B,a] (at least 0) within `mask`, k = min(count, a), and bool [B,k],
    whether each is within it."""
    found = values.masked_fill(~mask, -1.0).topk(min(count, values.shape[1]), 1)
    return found.indices, found.values >= 0


def pixels_under(rois: Tensor, pictures: Tensor, size: int, shape: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Where labels [B,H,W] are read for the maps of RoIs: the pixels that hold the centres of a size x size grid.

    Args:
        rois: [r,4] in canvas pixels; pictures: int64 [r], which of the B each lies on.
        shape: B, H and W; centres outside are read at the edge.

    Returns:
        pictures int64 [r,1,1], rows [r,size,1] and columns [r,1,size], an index of such an array.
    """
    steps = (torch.arange(size, device=rois.device) + 0.5) / size
    xs = rois[:, :1] + steps * (rois[:, 2:3] - rois[:, :1])
    ys = rois[:, 1:2] + steps * (rois[:, 3:4] - rois[:, 1:2])
    columns = xs.floor().long().clamp(0, shape[2] - 1)
    rows = ys.floor().long().clamp(0, shape[1] - 1)
    return pictures[:, None, None], rows[:, :, None], columns[:, None, :]
