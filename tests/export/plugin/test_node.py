"""The detector with the PyramidRoiAlign node gives what it gave before, the node computed by the CPU library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import nn
from torch.export import Dim

from export.graphs import StaticBoxBranch
from export.onnx import to_onnx
from export.plugin import PyramidRoiAlign
from export.plugin.node import DOMAIN, OPERATOR, PluginNodeError, prune, use_plugin
from export.rendered.pictures import render_scene
from parsing_rcnn.repository import ModelRepository
from training.config import BoxConfig
from training.model.box_branch import BoxBranch

Values = dict[str, NDArray[Any]]


def run_part(model: onnx.ModelProto, given: Values, wanted: list[str]) -> Values:
    """The nodes between `given` and `wanted`, under ONNX Runtime."""
    if not wanted:
        return {}
    part = onnx.ModelProto()
    part.CopyFrom(model)
    nodes = [n for n in part.graph.node if not set(n.output) & set(given)]
    del part.graph.node[:], part.graph.input[:], part.graph.output[:], part.graph.value_info[:]
    part.graph.node.extend(nodes)
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    types = {value.name: value.type.tensor_type.elem_type for value in inferred}
    part.graph.output.extend(
        helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), None) for name in wanted
    )
    for value in part.graph.output:
        known = [o for o in model.graph.output if o.name == value.name]
        if known:
            value.type.CopyFrom(known[0].type)
    prune(part)
    needed = {name for n in part.graph.node for name in n.input}
    for name in needed & set(given):
        kind = helper.np_dtype_to_tensor_dtype(given[name].dtype)
        part.graph.input.append(helper.make_tensor_value_info(name, kind, [None] * given[name].ndim))
    session = onnxruntime.InferenceSession(part.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {value.name: given[value.name] for value in session.get_inputs()}
    return dict(zip(wanted, session.run(wanted, feed), strict=True))


def run_with_library(model: onnx.ModelProto, inputs: Values, pool: PyramidRoiAlign) -> Values:
    """The whole graph: custom nodes by the library, all between them by ONNX Runtime."""
    known = dict(inputs)
    for node in [n for n in model.graph.node if n.op_type == OPERATOR]:
        known.update(run_part(model, known, [name for name in node.input if name not in known]))
        known[node.output[0]] = pool_node(node, known, pool)
    outputs = [value.name for value in model.graph.output]
    rest = [name for name in outputs if name not in known]
    return {**run_part(model, known, rest), **{name: known[name] for name in outputs if name in known}}


def pool_node(node: NodeProto, known: Values, pool: PyramidRoiAlign) -> NDArray[Any]:
    given = {a.name: a.i for a in node.attribute}
    features = [known[name][0] for name in node.input[1:]]
    return pool(
        features,
        known[node.input[0]],
        size=given["output_size"],
        first_level=given["first_level"],
        sampling_ratio=given["sampling_ratio"],
    )


class Pooled(nn.Module):
    """The box branch on four levels given from outside: 300 boxes and more cost next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.box = StaticBoxBranch(BoxBranch(5, BoxConfig(channels=16, roi_size=7, levels=(2, 3, 4, 5))))

    def forward(self, *given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        *maps, rois = given
        return self.box(dict(zip((2, 3, 4, 5), maps, strict=True)), rois)


@pytest.fixture(scope="module")
def box_branch() -> onnx.ModelProto:
    maps = tuple(torch.zeros(1, 5, 96 >> k, 128 >> k) for k in range(4))
    names = ("P2", "P3", "P4", "P5", "ROIS")
    shapes = (None, None, None, None, {0: Dim("n", min=1, max=1000)})
    return to_onnx(Pooled(), (*maps, torch.rand(9, 4)), (shapes,), names, ("LOGITS", "DELTAS"))


def test_four_levels(box_branch: onnx.ModelProto, pool: PyramidRoiAlign) -> None:
    source = np.random.default_rng(0)
    inputs: Values = {f"P{k + 2}": source.normal(size=(1, 5, 96 >> k, 128 >> k)).astype(np.float32) for k in range(4)}
    low = source.uniform(-50, 400, (300, 2))
    inputs["ROIS"] = np.concatenate([low, low + source.uniform(0, 700, (300, 2))], 1).astype(np.float32)
    rewritten = use_plugin(box_branch)
    (node,) = (n for n in rewritten.graph.node if n.op_type == OPERATOR)
    assert list(node.input) == ["ROIS", "P2", "P3", "P4", "P5"]
    assert (node.domain, {a.name: a.i for a in node.attribute}) == (
        DOMAIN,
        {"output_size": 7, "sampling_ratio": 2, "first_level": 2},
    )
    assert not {n.op_type for n in rewritten.graph.node} & {"RoiAlign", "Where", "Equal", "Floor"}
    wanted = run_part(box_branch, inputs, ["LOGITS", "DELTAS"])
    found = run_with_library(rewritten, inputs, pool)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)


def test_shipped_detector(pool: PyramidRoiAlign) -> None:
    picture = render_scene(4, 256, 320)
    detector = onnx.load(ModelRepository.open().path / "detector" / "1" / "model.onnx")
    rewritten = use_plugin(detector)
    kinds = [n.op_type for n in rewritten.graph.node]
    assert kinds.count(OPERATOR) == 2
    assert "RoiAlign" not in kinds
    names = [value.name for value in detector.graph.output]
    for least in (0.05, 2.0):  # some people; nobody, so one dummy row
        inputs: Values = {"CANVAS": picture, "LIMITS": np.array([least, 64], np.float32)}
        wanted, found = run_part(detector, inputs, names), run_with_library(rewritten, inputs, pool)
        assert (wanted["COUNT"][0] > 0) == (least < 1)
        assert wanted["COUNT"][0] == found["COUNT"][0]
        np.testing.assert_allclose(found["BOXES"], wanted["BOXES"], atol=2e-3)
        np.testing.assert_allclose(found["SCORES"], wanted["SCORES"], atol=1e-5)
        np.testing.assert_allclose(found["ROI_FEATURES"], wanted["ROI_FEATURES"], atol=2e-3)


def test_boxes_are_taken_before_they_are_rounded(box_branch: onnx.ModelProto) -> None:
    # what an fp16 graph does to the boxes, back in fp32 so that this graph stays valid
    rounded = onnx.ModelProto()
    rounded.CopyFrom(box_branch)
    for node in rounded.graph.node:
        for k, name in enumerate(node.input):
            if name == "ROIS" and node.op_type == "Concat":
                node.input[k] = "ROIS::fp32"
    rounded.graph.node.insert(0, helper.make_node("Cast", ["ROIS::fp16"], ["ROIS::fp32"], to=TensorProto.FLOAT))
    rounded.graph.node.insert(0, helper.make_node("Cast", ["ROIS"], ["ROIS::fp16"], to=TensorProto.FLOAT16))
    (node,) = (n for n in use_plugin(rounded).graph.node if n.op_type == OPERATOR)
    assert node.input[0] == "ROIS"


def set_attribute(model: onnx.ModelProto, name: str, value: Any) -> None:
    align = next(n for n in model.graph.node if n.op_type == "RoiAlign")
    kept = [a for a in align.attribute if a.name != name]
    del align.attribute[:]
    align.attribute.extend([*kept, helper.make_attribute(name, value)])


def zero_becomes_one(model: onnx.ModelProto) -> None:
    """The first column of every RoI, the number of its picture, turns from 0 to 1."""
    makers = {name: node for node in model.graph.node for name in node.output}
    joined = next(n for n in model.graph.node if n.op_type == "Concat" and n.input[1] == "ROIS")
    name = makers[joined.input[0]].input[0]
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + 1, name))
            return
    constant = makers[name].attribute[0].t
    constant.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(constant) + 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: set_attribute(m, "coordinate_transformation_mode", "half_pixel"), "is aligned"),
        (lambda m: set_attribute(m, "mode", "max"), "mode avg"),
        (lambda m: set_attribute(m, "output_width", 9), "square"),
        (lambda m: set_attribute(m, "spatial_scale", 0.3), "not 1/2"),
        (lambda m: set_attribute(m, "spatial_scale", 1 / 64), "cut to"),
        (lambda m: set_attribute(m, "spatial_scale", 1 / 128), "without a gap"),
        (lambda m: set_attribute(m, "sampling_ratio", 3), "differ in output size or sampling ratio"),
        (zero_becomes_one, "several pictures"),
    ],
)
def test_what_the_node_does_not_compute(
    box_branch: onnx.ModelProto, change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    changed = onnx.ModelProto()
    changed.CopyFrom(box_branch)
    change(changed)
    with pytest.raises(PluginNodeError, match=message):
        use_plugin(changed)


def test_nothing_to_replace(box_branch: onnx.ModelProto) -> None:
    with pytest.raises(PluginNodeError, match="no RoiAlign"):
        use_plugin(use_plugin(box_branch))
