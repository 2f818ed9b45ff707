"""Losses of the DensePose branch (paper 3.5; Guler et al. 2018, section 4): regions, parts, U and V at 128x128.

Where the whole IUV map is known, as in rendered people, every pixel counts. Where only part labels are known, as in
photos with clothes, the part must be one that the label may hide: a class of several parts costs the negative logarithm
of their summed probability, and U and V are not asked for.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.data.iuv import COARSE_OF_PART

INDEX_WEIGHT = 1.0
COARSE_WEIGHT = 0.5
UV_WEIGHT = 6.0
_BETA = 0.1  # of the smooth L1 of U and V, which lie in [0,1]


def iuv_targets(iuv: Tensor, instances: Tensor, rois: Tensor, ids: Tensor, size: int) -> Tensor:
    """IUV under each RoI, nearest at the centres of a size x size grid.

    Args:
        iuv: uint8 [H,W,3]; instances: int64 [H,W] person ids.
        rois: [r,4] in canvas pixels; ids: [r], the person of each RoI.

    Returns:
        uint8 [r,3,size,size]; pixels of other people are background.
    """
    steps = (torch.arange(size) + 0.5) / size
    xs = rois[:, :1] + steps * (rois[:, 2:3] - rois[:, :1])
    ys = rois[:, 1:2] + steps * (rois[:, 3:4] - rois[:, 1:2])
    columns = xs.floor().long().clamp(0, iuv.shape[1] - 1)
    rows = ys.floor().long().clamp(0, iuv.shape[0] - 1)
    grid = (rows[:, :, None], columns[:, None, :])
    own = (instances[grid] == ids[:, None, None])[..., None]
    return (iuv[grid] * own).permute(0, 3, 1, 2)


def densepose_loss(maps: tuple[Tensor, Tensor, Tensor, Tensor], targets: Tensor) -> dict[str, Tensor]:
    """Losses of RoIs whose IUV is known.

    Args:
        maps: coarse logits [r,15,S,S], part logits [r,25,S,S], U and V [r,25,S,S].
        targets: uint8 [r,3,S,S].

    No RoI, or no pixel on a person, gives finite zeros.
    """
    coarse, index, u, v = (m.float() for m in maps)
    part = targets[:, 0].long()
    if not part.numel():
        return {name: coarse.sum() * 0 for name in ("iuv_coarse", "iuv_index", "iuv_uv")}
    region = torch.from_numpy(COARSE_OF_PART).long()[part]
    person = part > 0
    channel = part.clamp(min=1)[:, None]
    uv = coarse.sum() * 0
    if bool(person.any()):
        for predicted, wanted in ((u, targets[:, 1]), (v, targets[:, 2])):
            at = predicted.gather(1, channel)[:, 0][person]
            uv = uv + F.smooth_l1_loss(at, wanted[person].float() / 255, beta=_BETA)
    return {
        "iuv_coarse": F.cross_entropy(coarse, region) * COARSE_WEIGHT,
        "iuv_index": F.cross_entropy(index, part) * INDEX_WEIGHT,
        "iuv_uv": uv * UV_WEIGHT,
    }


def possible_loss(index: Tensor, labels: Tensor, possible: Tensor) -> Tensor:
    """Loss of RoIs of which only part labels are known.

    Args:
        index: part logits [r,25,S,S]; labels: int64 [r,S,S] class ids, 255 ignored.
        possible: bool [256,25], the parts that each class may hide.
    """
    if not labels.numel():
        return index.sum() * 0
    logits = index.float()
    allowed = possible[labels].permute(0, 3, 1, 2)
    among = logits.masked_fill(~allowed, float("-inf")).logsumexp(1)
    return (logits.logsumexp(1) - among).mean() * INDEX_WEIGHT
