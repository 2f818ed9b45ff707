"""Pooling from the packed pyramid gives what pooling on every level gives, on boxes within the canvas."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.export import Dim

from export.graphs import StaticBoxBranch
from export.onnx import to_onnx
from export.packed_levels import pack_levels
from parsing_rcnn.repository import ModelRepository
from training.config import BoxConfig
from training.model.box_branch import BoxBranch

LEVELS = (2, 3, 4, 5)


class Pooled(nn.Module):
    """What reaches the first layer of a box branch, by maps and RoIs that are given."""

    def __init__(self) -> None:
        super().__init__()
        branch = BoxBranch(3, BoxConfig(channels=3 * 7 * 7, roi_size=7, levels=LEVELS))
        nn.init.eye_(branch.fc1.weight)
        nn.init.zeros_(branch.fc1.bias)
        branch.fc2, branch.score, branch.delta = nn.Identity(), nn.Identity(), nn.Identity()
        self.box = StaticBoxBranch(branch)

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        *maps, rois = given
        return self.box(dict(zip(LEVELS, maps, strict=True)), rois)[0]


@pytest.fixture(scope="module")
def standard() -> onnx.ModelProto:
    maps = tuple(torch.zeros(1, 3, 256 >> k, 512 >> k) for k in LEVELS)
    high, wide = Dim("h", min=2, max=42), Dim("w", min=2, max=42)
    shapes: tuple[dict[int, Dim], ...] = tuple({2: (32 >> k) * high, 3: (32 >> k) * wide} for k in LEVELS)
    names = ("P2", "P3", "P4", "P5", "ROIS")
    shapes = (*shapes, {0: Dim("n", min=1, max=1000)})
    return to_onnx(Pooled(), (*maps, torch.rand(9, 4)), (shapes,), names, ("POOLED",))


def run(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> np.ndarray:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)[0]


@pytest.mark.parametrize(("height", "width"), [(640, 416), (64, 1344), (1344, 96)])
def test_packed_and_standard(standard: onnx.ModelProto, height: int, width: int) -> None:
    source = np.random.default_rng(height)
    inputs = {f"P{k}": source.uniform(0, 1, (1, 3, height >> k, width >> k)).astype(np.float32) for k in LEVELS}
    corners = source.uniform(0, 1, (400, 2, 2)) * [width, height]
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    boxes[:100] = np.round(boxes[:100] / 4) * 4  # on the borders of cells
    boxes[100:200, :2] = 0
    boxes[200:300, 2:] = width, height  # where only the last row and column are left to read
    edges = [[0, 0, width, height], [0, 0, 0, 0], [0, 0, 2, 2]]
    inputs["ROIS"] = np.concatenate([boxes, edges]).astype(np.float32)
    packed = pack_levels(standard)
    assert [n.op_type for n in standard.graph.node].count("RoiAlign") == 4
    assert [n.op_type for n in packed.graph.node].count("RoiAlign") == 1
    onnx.checker.check_model(packed, full_check=True)
    sides = np.maximum(inputs["ROIS"][:, 2:] - inputs["ROIS"][:, :2], 0)
    levels = np.floor(4 + np.log2(np.sqrt(sides.prod(1)) / 224 + 1e-6)).clip(2, 5)
    assert len(np.unique(levels)) >= (4 if min(height, width) > 100 else 2)
    # RoIAlign widens what is thinner than a cell, at the far edges beyond them, where it reads 0, the packed form not
    thin = ((sides < 2 ** levels[:, None]) & (inputs["ROIS"][:, 2:] > [width - 32, height - 32])).any(1)
    assert thin.mean() < 0.15
    expected = run(standard, inputs)
    assert np.abs(expected[~thin]).min(1).max() > 0
    np.testing.assert_allclose(run(packed, inputs)[~thin], expected[~thin], atol=2e-4)


def test_the_features_of_people_stay_as_they_were() -> None:
    detector = onnx.load(ModelRepository.open().graph("detector"))
    packed = pack_levels(detector)
    alone = [n for n in packed.graph.node if n.op_type == "RoiAlign" and n.output[0] == "ROI_FEATURES"]
    assert len(alone) == 1
    assert alone[0] in detector.graph.node
    assert [n.op_type for n in packed.graph.node].count("RoiAlign") == 2
