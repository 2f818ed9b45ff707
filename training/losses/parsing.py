"""Loss of the parsing branch (paper 3.5): pixel cross-entropy at 128x128 over positive RoIs, weight 2."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.data.sample import IGNORE_LABEL
from training.losses.sampling import pixels_under

LOSS_WEIGHT = 2.0


def parsing_targets(parts: Tensor, instances: Tensor, rois: Tensor, pictures: Tensor, ids: Tensor, size: int) -> Tensor:
    """Part labels under each RoI, nearest at the centres of a size x size grid.

    Args:
        parts: [B,H,W] class ids; instances: [B,H,W] person ids.
        rois: [r,4] in canvas pixels; pictures: int64 [r], which of the B each lies on; ids: [r], the person of each.

    Returns:
        int64 [r,size,size]; pixels of other people are background (paper 3.5), and 255 stays 255, whoever is there.
    """
    grid = pixels_under(rois, pictures, size, parts.shape)
    under = parts[grid]
    return torch.where((instances[grid] == ids[:, None, None]) | (under == IGNORE_LABEL), under, 0).long()


def parsing_loss(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Twice the mean cross-entropy over all pixels that are not 255; zero without RoIs, or with ignored pixels alone.

    Args:
        logits: [r,classes,S,S]; targets: int64 [r,S,S].
        weights: [classes], for a weighted mean (None: all ones).
    """
    valid = targets != IGNORE_LABEL
    each = valid if weights is None else weights[targets.masked_fill(~valid, 0)] * valid
    summed = F.cross_entropy(logits.float(), targets, weight=weights, ignore_index=IGNORE_LABEL, reduction="sum")
    return LOSS_WEIGHT * summed / each.sum().clamp(min=1e-6)
