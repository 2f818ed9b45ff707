"""Loss of the parsing branch (paper 3.5): pixel cross-entropy at 128x128 over positive RoIs, weight 2."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.data.sample import IGNORE_LABEL
from training.losses.sampling import pixels_under

LOSS_WEIGHT = 2.0


def parsing_targets(parts: Tensor, instances: Tensor, rois: Tensor, ids: Tensor, size: int) -> Tensor:
    """Part labels under each RoI, nearest at the centres of a size x size grid.

    Args:
        parts: int64 [H,W] class ids; instances: int64 [H,W] person ids.
        rois: [r,4] in canvas pixels; ids: [r], the person of each RoI.

    Returns:
        int64 [r,size,size]; pixels of other people are background (paper 3.5).
    """
    grid = pixels_under(rois, size, parts.shape)
    return torch.where(instances[grid] == ids[:, None, None], parts[grid], 0)


def parsing_loss(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy x 2 over all pixels that are not 255; no RoI, or only ignored pixels, give a finite zero.

    Args:
        logits: [r,classes,S,S]; targets: int64 [r,S,S]; weights: [classes] or None.
    """
    valid = targets != IGNORE_LABEL
    if not bool(valid.any()):
        return logits.sum() * 0
    return LOSS_WEIGHT * F.cross_entropy(logits.float(), targets, weight=weights, ignore_index=IGNORE_LABEL)
