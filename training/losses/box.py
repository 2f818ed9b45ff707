"""Loss of the box branch: cross-entropy over sampled RoIs, smooth L1 (beta 1) over the positive ones."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def box_loss(scores: Tensor, deltas: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(classification loss, box loss) of sampled RoIs.

    Args:
        scores: [r,2] logits; deltas: [r,4].
        labels: int64 [r], 1 person, 0 background.
        targets: [r,4], encoded boxes; rows of the background are not read.

    Both are sums divided by the number of sampled RoIs, as in Fast R-CNN, and zero without RoIs.
    """
    count = max(len(labels), 1)
    classification = F.cross_entropy(scores, labels, reduction="sum") / count
    error = F.smooth_l1_loss(deltas, targets, beta=1.0, reduction="none").sum(1)
    return classification, error.masked_fill(labels != 1, 0.0).sum() / count
