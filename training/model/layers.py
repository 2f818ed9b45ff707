"""Convolution blocks shared by the pyramid, the heads and the branches."""

from __future__ import annotations

from torch import nn

from training.config import Norm


def normalisation(kind: Norm, channels: int) -> nn.Module:
    """The layer named by `kind`; "none" is the identity."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "group":
        return nn.GroupNorm(32 if channels % 32 == 0 else 8, channels)
    return nn.Identity()


def conv_block(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    norm: Norm = "none",
    activate: bool = True,
) -> nn.Sequential:
    """Convolution that keeps the size (but for its stride), normalisation and ReLU; He initialisation."""
    conv = nn.Conv2d(
        inputs, outputs, kernel, stride, padding=dilation * (kernel // 2), dilation=dilation, bias=norm == "none"
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    layers: list[nn.Module] = [conv, normalisation(norm, outputs)]
    if activate:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
