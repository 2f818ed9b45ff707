"""Loss of the box branch: cross-entropy over sampled RoIs, smooth L1 (beta 1) over the positive ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def box_loss(scores: Tensor, deltas: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(classification loss, box loss).

    Args:
        scores: [r,2] logits; deltas: [r,4].
        labels: int64 [r], 1 person, 0 background.
        targets: [r,4], encoded boxes; rows of the background are not read.

    Both are sums over the number of sampled RoIs, as in Fast R-CNN; no RoI gives a finite zero.
    """
    count = max(len(labels), 1)
    classification = F.cross_entropy(scores, labels, reduction="sum") / count
    positive = labels == 1
    regression = F.smooth_l1_loss(deltas[positive], targets[positive], beta=1.0, reduction="sum") / count
    return classification, regression


def encoded_or_zero(encoded: list[Tensor], like: Tensor) -> Tensor:
    """Concatenation that survives an empty list."""
    return torch.cat(encoded) if encoded else like.new_zeros((0, 4))
