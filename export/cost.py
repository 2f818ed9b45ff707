"""What a network costs: floating-point operations of its layers, without computing any."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from export.graphs import DensePoseGraph, ParsingGraph
from training.model.parsing_rcnn import ParsingRCNN


def gigaflops(
    model: ParsingRCNN, canvases: Sequence[tuple[int, int]], proposals: int | None = None
) -> dict[str, dict[str, float]]:
    """GFLOP of convolutions and matrix products; a multiplication and an addition are two operations.

    RoIAlign, NMS, interpolation and norms are not counted.

    Args:
        canvases: (height, width) of the pictures.
        proposals: number of them that reach the box branch; None: as many as the recipe allows.

    Returns:
        {graph: {what: GFLOP}}: of the detector for each canvas ("384x640"), of the heads for "a person".
    """
    blank = copy.deepcopy(model).to("meta").eval()
    size = model.config.branch.roi_size
    roi = torch.zeros(1, model.config.fpn.channels, size, size, device="meta")
    heads: dict[str, nn.Module] = {"parsing": ParsingGraph(blank), "densepose_head": DensePoseGraph(blank)}
    most = proposals or model.config.rpn.proposals_test
    return {
        "detector": {f"{height}x{width}": _detector(blank, height, width, most) for height, width in canvases},
        **{name: {"a person": _counted(head, roi)} for name, head in heads.items()},
    }


def _detector(model: ParsingRCNN, height: int, width: int, proposals: int) -> float:
    class Layers(nn.Module):
        def forward(self, picture: torch.Tensor) -> None:
            pyramid = model.pyramid(picture)
            model.rpn(pyramid)
            x = torch.zeros(proposals, model.box.fc1.in_features, device="meta")
            x = model.box.fc2(model.box.fc1(x))
            model.box.score(x), model.box.delta(x)

    return _counted(Layers(), torch.zeros(1, 3, height, width, device="meta"))


def _counted(module: nn.Module, example: torch.Tensor) -> float:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module(example)
    return float(counter.get_total_flops()) / 1e9
