"""P2..P5 summed at stride 4: what detectron2's DensePose pools its RoIs from."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from training.model.layers import conv_block


class PyramidDecoder(nn.Module):
    """Semantic branch of Panoptic FPN (Kirillov et al. 2019) without its norms: all levels at P2's size, summed.

    Each level is convolved (3x3) and upsampled by two (bilinear) until it has P2's size; P2 is convolved once. A 1x1
    convolution follows the sum.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for level in range(2, 6):
            layers: list[nn.Module] = []
            for _ in range(max(1, level - 2)):
                layers.append(conv_block(channels, channels, 3))
                if level > 2:
                    layers.append(nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False))
            self.levels.append(nn.Sequential(*layers))
        self.predictor = nn.Conv2d(channels, channels, 1)

    def forward(self, pyramid: Mapping[int, Tensor]) -> Tensor:
        """{2: P2, ..., 5: P5} -> [B,C,H/4,W/4]."""
        first, *others = (layers(pyramid[2 + i]) for i, layers in enumerate(self.levels))
        for other in others:
            first = first + other
        found: Tensor = self.predictor(first)
        return found
