"""What TensorRT's parser is given computes what was exported, the plugin's nodes by its CPU library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.plugin import PyramidRoiAlign
from export.plugin.node import OPERATOR
from export.precision import to_precision
from export.quantization.qdq import measure_ranges, quantise
from export.rendered.pictures import render_scene
from export.tensorrt.graph import TensorRTGraphError, for_tensorrt
from parsing_rcnn.repository import GRAPHS, ModelRepository
from tests.export.plugin.conftest import cpu_library, pool  # noqa: F401
from tests.export.plugin.test_node import Values, run_part, run_with_library


def load(graph: str) -> onnx.ModelProto:
    return onnx.load(ModelRepository.open().graph(graph))


def prepared(graph: str, precision: str = "fp32") -> onnx.ModelProto:
    return for_tensorrt(to_precision(load(graph), precision), proposals=100, people=64)


def run(model: onnx.ModelProto, inputs: Values) -> Values:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@pytest.fixture(scope="module")
def features() -> NDArray[np.float32]:
    inputs = {"CANVAS": render_scene(1, 384, 640), "LIMITS": np.array([0.0, 3], np.float32)}
    found: NDArray[np.float32] = run(load("detector"), inputs)["ROI_FEATURES"]
    return found


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("graph", GRAPHS[1:])
def test_heads(features: NDArray[np.float32], graph: str, precision: str) -> None:
    wanted = run(to_precision(load(graph), precision), {"ROI_FEATURES": features})
    found = run(prepared(graph, precision), {"ROI_FEATURES": features})
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert found[name].dtype == values.dtype
        if values.dtype == np.uint8:
            assert (found[name] == values).mean() > 0.9999, name
        else:
            np.testing.assert_allclose(found[name], values, atol=1e-3, err_msg=name)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_detector(pool: PyramidRoiAlign, precision: str) -> None:  # noqa: F811
    """A bf16 graph as well: its nodes are told in fp32, and its plugin pools fp32 maps."""
    model = prepared("detector", precision)
    nodes = [node for node in model.graph.node if node.op_type == OPERATOR]
    assert [node.output[0].endswith("::fp16") for node in nodes] == [precision == "fp16"] * 2
    if precision == "bf16":
        return  # no runtime here computes it
    plain = load("detector")
    names = [value.name for value in plain.graph.output]
    for least in (0.3, 2.0):
        inputs: Values = {"CANVAS": render_scene(4, 256, 320), "LIMITS": np.array([least, 64], np.float32)}
        wanted, found = run_part(plain, inputs, names), run_with_library(model, inputs, pool)
        assert wanted["COUNT"] == found["COUNT"]
        np.testing.assert_allclose(found["BOXES"], wanted["BOXES"], atol=2e-3 if precision == "fp32" else 1)
        np.testing.assert_allclose(found["SCORES"], wanted["SCORES"], atol=1e-5 if precision == "fp32" else 0.02)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_types_that_tensorrt_knows(graph: str, precision: str) -> None:
    model = prepared(graph, precision)
    stored = {t.name: t.data_type for t in model.graph.initializer}
    casts = {n.output[0]: n for n in model.graph.node if n.op_type == "Cast"}
    inputs = {v.name for v in model.graph.input if v.type.tensor_type.elem_type == TensorProto.UINT8}
    outputs = {v.name for v in model.graph.output if v.type.tensor_type.elem_type == TensorProto.UINT8}
    for node in model.graph.node:
        assert not inputs.intersection(node.input) or node.op_type == "Cast"
        if node.op_type == "Cast" and helper.get_attribute_value(node.attribute[0]) == TensorProto.UINT8:
            assert set(node.output) <= outputs
    assert outputs <= set(casts)
    kind = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}[precision]
    kernels = [node.input[1] for node in model.graph.node if node.op_type == "Conv"]
    assert kernels
    assert all(name in stored for name in kernels)
    for name in kernels:
        boxes = name.startswith(("model.rpn.objectness", "model.rpn.deltas"))
        assert stored[name] == (TensorProto.FLOAT if boxes else kind), name


@pytest.mark.parametrize("graph", GRAPHS)
def test_int8(graph: str, features: NDArray[np.float32], pool: PyramidRoiAlign) -> None:  # noqa: F811
    """Layers keep their pairs, weights stay int8, no uint8 is left inside, and the answers are those of the graph."""
    canvas: Values = {"CANVAS": render_scene(1, 256, 320), "LIMITS": np.array([0.0, 3], np.float32)}
    inputs = canvas if graph == "detector" else {"ROI_FEATURES": features}
    ranged = measure_ranges(ModelRepository.open().graph(graph), [inputs])
    plain = quantise(ranged, tuple(ranged.groups.values()), "int8")
    ready = for_tensorrt(plain, proposals=100, people=64)
    stored = {t.name: t.data_type for t in ready.graph.initializer}
    made = {name: node for node in ready.graph.node for name in node.output}
    layers = [node for node in ready.graph.node if node.name in ranged.groups]
    assert len(layers) == len(ranged.groups) > 10
    for layer in layers:
        data, weight = (made[name] for name in layer.input[:2])
        assert data.op_type == weight.op_type == "DequantizeLinear"
        assert made[data.input[0]].op_type == "QuantizeLinear"
        assert stored[weight.input[0]] == TensorProto.INT8
    borders = {v.name for v in ready.graph.output if v.type.tensor_type.elem_type == TensorProto.UINT8}
    casts = [n for n in ready.graph.node if n.op_type == "Cast"]
    assert {n.output[0] for n in casts for a in n.attribute if a.name == "to" and a.i == TensorProto.UINT8} == borders
    wanted, found = run(plain, inputs), run_with_library(ready, inputs, pool)
    for name, values in wanted.items():
        assert found[name].dtype == values.dtype
        if values.dtype == np.uint8:
            assert (found[name] == values).mean() > 0.999, name
        else:
            np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=2e-3, err_msg=name)


def test_nms_looks_for_what_is_used() -> None:
    model = for_tensorrt(load("detector"), proposals=77, people=9)
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    found = [int(values[n.input[2]][0]) for n in model.graph.node if n.op_type == "NonMaxSuppression"]
    assert found == [77, 9]


def test_nms_sees_no_score_that_tensorrt_would_drop() -> None:
    """TensorRT leaves out what is not above 0, its default threshold; objectness is below 0 for most anchors."""
    inputs: Values = {"CANVAS": render_scene(4, 256, 320), "LIMITS": np.array([0.3, 64], np.float32)}
    plain, ready = load("detector"), prepared("detector")
    first, mapped = (
        next(n for n in model.graph.node if n.op_type == "NonMaxSuppression").input[1] for model in (plain, ready)
    )
    logits = run_part(plain, inputs, [first])[first].ravel()
    scores = run_part(ready, inputs, [mapped])[mapped].ravel()
    assert (logits < 0).any()
    assert ((scores > 0) & (scores < 1)).all()
    np.testing.assert_array_equal(np.argsort(-scores, kind="stable"), np.argsort(-logits, kind="stable"))


def test_values_are_cut_before_they_become_uint8(tmp_path: Path) -> None:
    """TensorRT's cast is undefined outside of 0..255, ONNX Runtime's wraps round."""
    value = helper.make_tensor_value_info
    plain = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Cast", ["x"], ["a"], to=TensorProto.UINT8),
                helper.make_node("Concat", ["a", "a"], ["y"], axis=0),
            ],
            "g",
            [value("x", TensorProto.FLOAT, [5])],
            [value("y", TensorProto.UINT8, [10])],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    found = run(for_tensorrt(plain, proposals=1, people=1), {"x": np.array([-3, 0.9, 254.9, 255.2, 300], np.float32)})
    assert found["y"].tolist() == [0, 0, 254, 255, 255] * 2


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (1250, None),
        (1251, r"5004 candidates of all 4 levels: .* best 5000 alone; lower model\.rpn\.pre_nms"),
        (3841, r"best 3841 anchors of a level: .* at most 3840; lower model\.rpn\.pre_nms"),
    ],
)
def test_more_candidates_than_tensorrt_looks_at_are_refused(kept: int, words: str | None) -> None:
    """In the shipped graph, which takes the best 200 of each of four levels."""
    model = load("detector")
    made = {name: node for node in model.graph.node for name in node.output}
    changed = set()
    for node in model.graph.node:
        if node.op_type == "TopK":
            least = made[made[node.input[1]].input[0]]
            assert least.op_type == "Min"
            least.input[1] = "kept"
            changed.add(least.output[0])
    model.graph.initializer.append(numpy_helper.from_array(np.array(kept, np.int64), "kept"))
    assert len(changed) == 4
    if words is None:
        for_tensorrt(model, proposals=100, people=64)
    else:
        with pytest.raises(TensorRTGraphError, match=words):
            for_tensorrt(model, proposals=100, people=64)


def test_too_many_proposals_are_refused() -> None:
    with pytest.raises(TensorRTGraphError, match=r"5001 proposals: TensorRT's NMS gives at most 5000; lower"):
        for_tensorrt(load("detector"), proposals=5001, people=64)
