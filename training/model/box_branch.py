"""Box branch: RoIs from the pyramid by scale -> person score and refined box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from training.config import BoxConfig
from training.model import boxes as box_ops

Rois: TypeAlias = Tensor | list[Tensor]  # rows [r,5] of picture, x1, y1, x2, y2; or the boxes [r,4] of each picture


def roi_align_level(feature: Tensor, rois: Rois, size: int, level: int) -> Tensor:
    """RoIAlign on one level, with aligned=False and sampling ratio 2, as everywhere in this project."""
    if not torch.compiler.is_exporting():  # torchvision's kernel reads beyond the map where a RoI is not finite
        rois = _finite(rois) if isinstance(rois, Tensor) else [_finite(own) for own in rois]
    return roi_align(feature, rois, size, 1.0 / 2**level, 2, False)


def _finite(rois: Tensor) -> Tensor:
    return torch.nan_to_num(rois, 0.0, 0.0, 0.0)


def roi_align_pyramid(pyramid: Mapping[int, Tensor], rois: Rois, size: int, levels: Sequence[int]) -> Tensor:
    """RoIAlign with the level chosen by box scale.

    Returns:
        [R,C,size,size], R = all RoIs in order.
    """
    if isinstance(rois, Tensor):
        flat = rois
    else:
        batch = torch.cat([torch.full_like(r[:, :1], float(i)) for i, r in enumerate(rois)])
        flat = torch.cat([batch, torch.cat(rois)], 1)
    chosen = box_ops.level_of(flat[:, 1:], levels[0], levels[-1])
    channels = pyramid[levels[0]].shape[1]
    pooled = pyramid[levels[0]].new_zeros(len(flat), channels, size, size)
    for level in levels:
        rows = torch.nonzero(chosen == level)[:, 0]
        found = roi_align_level(pyramid[level], flat[rows], size, level)
        pooled = pooled.index_copy(0, rows, found.to(pooled.dtype))
    return pooled


class BoxBranch(nn.Module):
    """Two fully connected layers; outputs (background, person) logits and one box delta."""

    def __init__(self, channels: int, config: BoxConfig) -> None:
        super().__init__()
        self.config = config
        self.fc1 = nn.Linear(channels * config.roi_size**2, config.channels)
        self.fc2 = nn.Linear(config.channels, config.channels)
        self.score = nn.Linear(config.channels, 2)
        self.delta = nn.Linear(config.channels, 4)
        for layer, std in ((self.score, 0.01), (self.delta, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, pyramid: Mapping[int, Tensor], rois: Rois) -> tuple[Tensor, Tensor]:
        """RoIs of all images -> logits [R,2] and deltas [R,4], R = all RoIs in order."""
        x = roi_align_pyramid(pyramid, rois, self.config.roi_size, self.config.levels).flatten(1)
        x = torch.relu(self.fc2(torch.relu(self.fc1(x))))
        return self.score(x), self.delta(x)
