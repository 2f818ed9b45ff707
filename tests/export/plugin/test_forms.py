"""RoIAlign's three forms are one function: standard operators, two matrix products, PyramidRoiAlign."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim

from export.onnx import to_onnx
from export.plugin import PyramidRoiAlign
from export.precision import to_precision
from export.roi_align import axis_weights, roi_align_matmul
from tests.export.plugin.test_arithmetic import HOSTILE, random_boxes
from training.model.box_branch import roi_align_level

HEIGHT, WIDTH, CHANNELS, SIZE = 24, 40, 5, 32


class Standard(nn.Module):
    def forward(self, feature: Tensor, rois: Tensor) -> Tensor:
        return roi_align_level(feature, torch.cat([torch.zeros_like(rois[:, :1]), rois], 1), SIZE, 2)


class Products(nn.Module):
    def forward(self, feature: Tensor, rois: Tensor) -> Tensor:
        return roi_align_matmul(feature, rois, SIZE)


def exported(module: nn.Module) -> onnx.ModelProto:
    shapes = ({2: Dim("h", min=2, max=400), 3: Dim("w", min=2, max=400)}, {0: Dim("n", min=1, max=1000)})
    example = (torch.zeros(1, CHANNELS, 16, 24), torch.rand(3, 4))
    return to_onnx(module, example, shapes, ("P2", "ROIS"), ("POOLED",))


def run(model: onnx.ModelProto, feature: NDArray[np.float32], rois: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {"P2": feature, "ROIS": rois})[0]
    return found


def boxes() -> NDArray[np.float32]:
    return np.concatenate([random_boxes(60) * np.float32(0.4), HOSTILE])


def test_three_forms(pool: PyramidRoiAlign) -> None:
    feature = np.random.default_rng(1).normal(size=(1, CHANNELS, HEIGHT, WIDTH)).astype(np.float32)
    rois = boxes()
    with torch.inference_mode():
        wanted = Standard()(torch.from_numpy(feature), torch.from_numpy(rois)).numpy()
        products = Products()(torch.from_numpy(feature), torch.from_numpy(rois)).numpy()
    assert np.abs(wanted).max() > 1
    np.testing.assert_allclose(products, wanted, atol=2e-5)
    np.testing.assert_allclose(pool([feature[0]], rois, size=SIZE), wanted, atol=2e-5)
    np.testing.assert_allclose(run(exported(Standard()), feature, rois), wanted, atol=2e-5)
    np.testing.assert_allclose(run(exported(Products()), feature, rois), wanted, atol=2e-5)


def test_no_numbers_give_zeros_as_the_plugin_does(pool: PyramidRoiAlign) -> None:
    feature = np.ones((1, CHANNELS, HEIGHT, WIDTH), np.float32)
    rois = np.array([[np.nan, 0, 8, 8], [0, 0, np.inf, 8], [-np.inf, 0, np.inf, 8], [8, 8, 24, 24]], np.float32)
    found = roi_align_matmul(torch.from_numpy(feature), torch.from_numpy(rois), 7).numpy()
    np.testing.assert_allclose(found, pool([feature[0]], rois, size=7), rtol=1e-6)
    assert not found[:3].any()
    np.testing.assert_allclose(found[3], 1, rtol=1e-6)


def test_weights_by_hand() -> None:
    def weights(start: float, end: float, size: int) -> list[list[float]]:
        return axis_weights(torch.tensor([start]), torch.tensor([end]), 8, size)[0].tolist()

    # samples at 1.5, 2.5 | 3.5, 4.5
    assert weights(1, 5, 2) == [[0, 0.25, 0.5, 0.25, 0, 0, 0, 0], [0, 0, 0, 0.25, 0.5, 0.25, 0, 0]]
    # samples at 7, the last cell, and at 9, more than one outside
    assert weights(6, 10, 1) == [[0, 0, 0, 0, 0, 0, 0, 0.5]]
    # samples at -0.75 and -0.25: not a whole cell outside, so the first cell
    assert weights(-1, 0, 1) == [[1, 0, 0, 0, 0, 0, 0, 0]]
    # empty: as one cell, samples at 3.25 and 3.75
    assert weights(3, 3, 1) == [[0, 0, 0, 0.5, 0.5, 0, 0, 0]]


def test_positions_stay_fp32_in_fp16_graphs() -> None:
    """The weights of a bin are found in fp32 and only then rounded."""
    typed = to_precision(exported(Products()), "fp16")
    types = {v.name: v.type.tensor_type.elem_type for v in onnx.shape_inference.infer_shapes(typed).graph.value_info}
    for node in typed.graph.node:
        if node.op_type == "MatMul":
            assert {types[name] for name in node.input} == {onnx.TensorProto.FLOAT16}
        if node.op_type in ("Div", "Abs", "Sub", "Range"):
            assert onnx.TensorProto.FLOAT16 not in {types.get(name) for name in node.input}
    feature = np.random.default_rng(1).normal(size=(1, CHANNELS, HEIGHT, WIDTH)).astype(np.float32)
    rois = boxes()
    np.testing.assert_allclose(run(typed, feature, rois), run(exported(Standard()), feature, rois), atol=5e-3)


@pytest.mark.parametrize("size", [7, 32])
def test_a_box_at_the_far_end_of_a_large_canvas(pool: PyramidRoiAlign, size: int) -> None:
    feature = np.random.default_rng(2).normal(size=(1, 2, 264, 336)).astype(np.float32)
    rois = np.array([[1301.3, 1000.7, 1343.9, 1055.1], [1290.1, 3.3, 1343.2, 1052.2]], np.float32)
    found = roi_align_matmul(torch.from_numpy(feature), torch.from_numpy(rois), size).numpy()
    # fp32 holds a position near cell 330 to 3e-5, a sum of a few to twice that, and neighbours differ by up to 7
    np.testing.assert_allclose(found, pool([feature[0]], rois, size=size), atol=7 * 6e-5)
