"""Feature pyramid network: backbone maps -> P2..P6."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from training.config import Norm
from training.model.layers import conv_block


class FeaturePyramid(nn.Module):
    """Lateral 1x1, top-down nearest x2, 3x3 on every level; P6 = max-pool (kernel 1, stride 2) of P5."""

    def __init__(self, inputs: Sequence[int], channels: int, norm: Norm = "none") -> None:
        super().__init__()
        self.lateral = nn.ModuleList([conv_block(c, channels, 1, norm=norm, activate=False) for c in inputs])
        self.output = nn.ModuleList([conv_block(channels, channels, 3, norm=norm, activate=False) for _ in inputs])

    def forward(self, maps: list[Tensor]) -> dict[int, Tensor]:
        """Four maps of strides 4..32 -> {2: P2, ..., 6: P6}, each [B,channels,H/2^l,W/2^l]."""
        laterals = [layer(x) for layer, x in zip(self.lateral, maps, strict=True)]
        top = laterals[-1]
        merged = [top]
        for x in reversed(laterals[:-1]):
            top = x + F.interpolate(top, scale_factor=2.0, mode="nearest")
            merged.insert(0, top)
        levels = {2 + i: layer(x) for i, (layer, x) in enumerate(zip(self.output, merged, strict=True))}
        levels[6] = F.max_pool2d(levels[5], 1, 2)
        return levels
