"""The RoI branch: geometric and context encoding (paper 3.3), convolutions after it (3.4), outputs at 128x128."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.config import BranchConfig, Norm
from training.model.layers import conv_block, normalisation

DENSEPOSE_PARTS = 25
KEYPOINTS = 17


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling: image pooling, 1x1 and dilated 3x3 in parallel, concatenated."""

    def __init__(self, inputs: int, channels: int, rates: tuple[int, ...], norm: Norm, pool_norm: Norm) -> None:
        super().__init__()
        # a pooled map is 1x1: batch statistics of one value per RoI would be noise, so by default it has no norm
        self.pool = conv_block(inputs, channels, 1, norm=pool_norm)
        self.branches = nn.ModuleList(
            [conv_block(inputs, channels, 1, norm=norm)]
            + [conv_block(inputs, channels, 3, dilation=rate, norm=norm) for rate in rates]
        )

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(x.mean((2, 3), keepdim=True)).expand(-1, -1, x.shape[2], x.shape[3])
        return torch.cat([pooled, *(branch(x) for branch in self.branches)], 1)


class NonLocal(nn.Module):
    """Embedded-Gaussian non-local block (Wang et al. 2018) with a residual."""

    def __init__(self, channels: int, inner: int, *, pool_keys: bool, norm: Norm) -> None:
        super().__init__()
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)
        self.g = nn.Conv2d(channels, inner, 1)
        self.out = nn.Conv2d(inner, channels, 1)
        self.norm = normalisation(norm, channels)
        self.pool_keys = pool_keys
        self.scale = inner**-0.5
        start = self.out if isinstance(self.norm, nn.Identity) else self.norm
        nn.init.zeros_(start.weight)  # the block starts as the identity

    def forward(self, x: Tensor) -> Tensor:
        keys = F.max_pool2d(x, 2) if self.pool_keys else x
        theta, phi, g = _cells(self.theta(x)), _cells(self.phi(keys)), _cells(self.g(keys))
        attention = torch.softmax(theta @ phi.transpose(1, 2) * self.scale, dim=-1)
        y = (attention @ g).unflatten(1, (x.shape[2], x.shape[3])).permute(0, 3, 1, 2)
        return x + self.norm(self.out(y))


def _cells(x: Tensor) -> Tensor:
    """[n,C,H,W] -> [n,H*W,C], a row for each cell: runtimes keep maps in this order, and would copy for another."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


class BranchTrunk(nn.Module):
    """GCE and the convolutions around it: RoI features [n,C,S,S] -> [n,outputs,S,S]."""

    def __init__(self, inputs: int, config: BranchConfig) -> None:
        super().__init__()
        norm = config.norm
        self.lateral = conv_block(inputs, config.conv_channels, 1, norm=norm) if config.half else None
        self.shrink = conv_block(inputs, config.conv_channels, 3, stride=2, norm=norm) if config.half else None
        width = config.conv_channels if config.half else inputs
        before = [width] + [config.conv_channels] * config.convs_before
        self.before = nn.Sequential(*(conv_block(a, b, 3, norm=norm) for a, b in pairwise(before)))
        width = before[-1]
        self.aspp = self.fuse = self.non_local = None
        if config.context in ("gce", "aspp"):
            self.aspp = Aspp(width, config.aspp_channels, config.aspp_rates, norm, config.pool_norm)
            width = config.aspp_channels * (2 + len(config.aspp_rates))
        if config.context != "none":
            self.fuse = conv_block(width, config.channels, 1, norm=config.fuse_norm or norm)
            width = config.channels
        if config.context in ("gce", "non_local"):
            self.non_local = NonLocal(
                width, config.non_local_channels, pool_keys=config.pool_keys, norm=config.non_local_norm
            )
        widths = [width] + [config.conv_channels] * config.convs
        self.convs = nn.Sequential(*(conv_block(a, b, 3, norm=norm) for a, b in pairwise(widths)))
        self.outputs = config.conv_channels if config.half else widths[-1]
        if config.half and widths[-1] != config.conv_channels:
            raise ValueError("branch.half adds the convolutions after the context to others: branch.convs must be > 0")

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.shrink is None else self.shrink(x)
        y = self.before(y)
        for layer in (self.aspp, self.fuse, self.non_local):
            y = y if layer is None else layer(y)
        y = self.convs(y)
        if self.lateral is None:
            return y
        return self.lateral(x) + doubled(y)


class Upsampler(nn.Module):
    """Deconvolution k4 s2 p1 and bilinear x2: [n,C,S,S] -> [n,classes,4S,4S]; with `half` without the latter."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(inputs, classes, 4, 2, 1)
        nn.init.normal_(self.deconv.weight, std=0.02)
        nn.init.zeros_(self.deconv.bias)

    def forward(self, x: Tensor, *, half: bool = False) -> Tensor:
        y: Tensor = self.deconv(x)
        return y if half else doubled(y)


def doubled(x: Tensor) -> Tensor:
    """Bilinear x2, [n,C,S,S] -> [n,C,2S,2S]: the last step of every head."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class ParsingHead(nn.Module):
    """Class logits [n,classes,128,128]; channel 0 is the background."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.up = Upsampler(inputs, classes)

    def forward(self, x: Tensor, *, half: bool = False) -> Tensor:
        return self.up(x, half=half)


class KeypointHead(nn.Module):
    """Logits of where each of COCO's 17 keypoints lies, [n,17,128,128]."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.up = Upsampler(inputs, KEYPOINTS)

    def forward(self, x: Tensor, *, half: bool = False) -> Tensor:
        return self.up(x, half=half)


class DensePoseHead(nn.Module):
    """Coarse segmentation (14+1, or 1+1), part index (24+1), U and V per part, each at 128x128 (paper 3.5)."""

    def __init__(self, inputs: int, coarse: int) -> None:
        super().__init__()
        self.sizes = (coarse, DENSEPOSE_PARTS, DENSEPOSE_PARTS, DENSEPOSE_PARTS)
        self.up = Upsampler(inputs, sum(self.sizes))

    def forward(self, x: Tensor, *, half: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """-> coarse [n,15 or 2,...], index [n,25,...], u [n,25,...], v [n,25,...]."""
        # split before the interpolation: the same numbers, in half the time that splitting big maps takes on CPUs
        maps = self.up(x, half=True).split(self.sizes, dim=1)
        coarse, index, u, v = maps if half else (doubled(m) for m in maps)
        return coarse, index, u, v
