"""Box arithmetic: IoU, coding, clipping, level by scale. Boxes are (x1, y1, x2, y2) in canvas pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_DELTA_CLAMP = math.log(1000.0 / 16)
RPN_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def encode(boxes: Tensor, anchors: Tensor, weights: Sequence[float]) -> Tensor:
    """Regression targets [...,4] (dx, dy, dw, dh) of `boxes` against `anchors`."""
    size = anchors[..., 2:] - anchors[..., :2]
    centre = anchors[..., :2] + size / 2
    target_size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-3)
    target_centre = boxes[..., :2] + target_size / 2
    shift, growth = (target_centre - centre) / size, torch.log(target_size / size)
    parts = (shift[..., 0], shift[..., 1], growth[..., 0], growth[..., 1])
    # weights as numbers: a GPU would wait for a tensor of them
    return torch.stack([part * weight for part, weight in zip(parts, weights, strict=True)], -1)


def decode(deltas: Tensor, anchors: Tensor, weights: Sequence[float]) -> Tensor:
    """Boxes [...,4] from deltas [...,4]; the inverse of `encode`, sizes clamped as in Faster R-CNN."""
    d = deltas / deltas.new_tensor(weights)
    size = anchors[..., 2:] - anchors[..., :2]
    centre = anchors[..., :2] + size / 2 + d[..., :2] * size
    half = size * torch.exp(d[..., 2:].clamp(max=_DELTA_CLAMP)) / 2
    return torch.cat([centre - half, centre + half], -1)


def clip(boxes: Tensor, height: int, width: int) -> Tensor:
    """Boxes cut to the canvas."""
    x = boxes[..., 0::2].clamp(0, width)
    y = boxes[..., 1::2].clamp(0, height)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], -1)


def intersections(a: Tensor, b: Tensor) -> Tensor:
    """Pairwise intersection areas [...,n,m] of boxes [...,n,4] and [...,m,4]."""
    low = torch.maximum(a[..., :, None, :2], b[..., None, :, :2])
    high = torch.minimum(a[..., :, None, 2:], b[..., None, :, 2:])
    size = (high - low).clamp(min=0)
    return size[..., 0] * size[..., 1]


def areas(boxes: Tensor) -> Tensor:
    """Areas [...] of boxes [...,4]."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Pairwise IoU [...,n,m] of boxes [...,n,4] and [...,m,4]."""
    inter = intersections(a, b)
    return inter / (areas(a)[..., :, None] + areas(b)[..., None, :] - inter).clamp(min=1e-6)


def level_of(boxes: Tensor, lowest: int, highest: int) -> Tensor:
    """Pyramid level of each box: floor(4 + log2(sqrt(area)/224 + 1e-6)) cut to [lowest, highest] (FPN, eq. 1)."""
    scale = torch.sqrt(areas(boxes).clamp(min=0)) / 224
    return torch.floor(4 + torch.log2(scale + 1e-6)).clamp(lowest, highest)
