"""RoIAlign as two matrix products: every bin is a weighted sum over rows of weighted sums over columns.

It gives the numbers of RoIAlign with aligned=False and sampling ratio 2, because the weights of a bin's four samples
factor into rows and columns. It is for runtimes that are better at matrix products than at RoIAlign.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEVEL = 2  # of the pyramid, the finest one; its stride is 2**LEVEL
SAMPLES = 2  # a bin has SAMPLES x SAMPLES of them


def roi_align_matmul(feature: Tensor, rois: Tensor, size: int) -> Tensor:
    """Pool RoIs of one picture from `LEVEL`.

    Args:
        feature: [1,C,H,W].
        rois: fp32 [n,4], x1, y1, x2, y2 in canvas pixels; a coordinate that is no number gives zeros.
        size: bins on a side.

    Returns:
        [n,C,size,size] of the feature's type.
    """
    scaled = rois / 2**LEVEL
    rows = axis_weights(scaled[:, 1], scaled[:, 3], feature.shape[2], size).to(feature.dtype)
    columns = axis_weights(scaled[:, 0], scaled[:, 2], feature.shape[3], size).to(feature.dtype)
    return rows[:, None] @ feature @ columns.transpose(1, 2)[:, None]


def axis_weights(start: Tensor, end: Tensor, length: int, size: int) -> Tensor:
    """The weight of each cell of an axis in each bin: fp32 [n,size,length] for intervals [n] in cells.

    A sample more than one cell outside the map counts as 0, a nearer one as the cell at the border. An interval shorter
    than a cell counts as one cell long.
    """
    step = (end - start).clamp(min=1.0) / (SAMPLES * size)
    at = start[:, None] + (torch.arange(SAMPLES * size, dtype=torch.float32) + 0.5) * step[:, None]
    inside = (at >= -1.0) & (at <= length)
    cells = torch.arange(length, dtype=torch.float32)
    near = (1.0 - (at.clamp(min=0.0, max=length - 1.0)[..., None] - cells).abs()).clamp(min=0.0)
    weights = torch.where(inside[..., None], near, torch.zeros_like(near))
    return weights.reshape(-1, size, SAMPLES, length).mean(2)
