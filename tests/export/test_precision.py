"""Graphs in fp16 and bf16: what is rounded and what is not, and how far from torch in fp32 that leads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from export.graphs import DensePoseGraph, DetectorGraph, ParsingGraph
from export.onnx import to_onnx
from export.precision import to_precision
from export.rendered.pictures import render_scene
from parsing_rcnn.repository import GRAPHS, ModelRepository
from tests.export.rounding import lower_tensors, simulate
from training.model.parsing_rcnn import ParsingRCNN

EXACT = ("model.rpn.objectness", "model.rpn.deltas", "box.branch.score", "box.branch.delta")
Values = dict[str, NDArray[Any]]
# boxes in pixels, scores, equal pixels of label maps, U and V in 255ths where the labels agree
BOUNDS = {"fp16": (1.0, 0.02, 0.999, 2), "bf16": (3.0, 0.2, 0.99, 4)}


def load(graph: str) -> onnx.ModelProto:
    """A shipped graph; test_onnx holds that the exporter still makes it."""
    return onnx.load(ModelRepository.open().graph(graph))


def run(model: onnx.ModelProto, inputs: Values) -> Values:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def by_torch(module: nn.Module, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
    with torch.inference_mode():
        found = module(*(torch.from_numpy(values) for values in inputs))
    return [t.numpy() for t in (found if isinstance(found, tuple) else (found,))]


def pairs(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Each wanted person with the found one that covers it, whatever the order of close scores."""
    low = np.maximum(wanted[:, None, :2], found[None, :, :2])
    high = np.minimum(wanted[:, None, 2:], found[None, :, 2:])
    inner = np.prod(np.clip(high - low, 0, None), -1)
    areas = [np.prod(b[:, 2:] - b[:, :2], -1) for b in (wanted, found)]
    overlap = inner / (areas[0][:, None] + areas[1][None] - inner)
    assert (overlap.max(1) > 0.9).all()
    return [(i, int(j)) for i, j in enumerate(overlap.argmax(1))]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_detector_against_torch(model: ParsingRCNN, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16 another of a person's overlapping boxes may have the highest score: it is held against the same one."""
    typed = simulate(to_precision(load("detector"), precision), precision)
    box_limit, score_limit, *_ = BOUNDS[precision]
    canvas, limits = render_scene(5, 384, 384), np.array([0.3, 16], np.float32)
    boxes, scores, count, features = by_torch(DetectorGraph(model), canvas, limits)
    found = run(typed, {"CANVAS": canvas, "LIMITS": limits})
    assert found["COUNT"] == count > 0
    for i, j in pairs(boxes, found["BOXES"]):
        assert abs(found["SCORES"][j] - scores[i]) < score_limit
    if precision == "bf16":
        box = model.config.box.model_copy(update={"nms_iou": 1.0})  # nobody is suppressed
        monkeypatch.setattr(model, "config", model.config.model_copy(update={"box": box}))
        boxes, scores, *_ = by_torch(DetectorGraph(model, 100), canvas, np.array([0.05, 100], np.float32))
        assert len(boxes) > count
    for box, score in zip(found["BOXES"], found["SCORES"], strict=True):
        nearest = np.abs(boxes - box).max(1).argmin()
        np.testing.assert_allclose(box, boxes[nearest], atol=box_limit)
        assert abs(score - scores[nearest]) < score_limit
    assert found["ROI_FEATURES"].shape == features.shape
    assert not np.isin(found["BOXES"], boxes).all(), "nothing was rounded"


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_heads_against_torch(model: ParsingRCNN, precision: str) -> None:
    _, _, labels_limit, uv_limit = BOUNDS[precision]
    canvas, limits = render_scene(1, 256, 320), np.array([0.0, 3], np.float32)
    *_, features = by_torch(DetectorGraph(model), canvas, limits)
    parts, part_scores, probabilities = by_torch(ParsingGraph(model), features)
    found = run(simulate(to_precision(load("parsing"), precision), precision), {"ROI_FEATURES": features})
    assert (found["PARTS"] == parts).mean() >= labels_limit
    both = (found["PART_SCORES"] > 0) & (part_scores > 0)  # a class may win its first pixel, or lose its last one
    assert both.sum() > 10
    np.testing.assert_allclose(found["PART_SCORES"][both], part_scores[both], atol=0.02)
    assert np.abs(found["PART_PROBS"].astype(int) - probabilities).max() <= 16
    iuv, iuv_scores = by_torch(DensePoseGraph(model), features)
    typed = simulate(to_precision(load("densepose_head"), precision), precision)
    found = run(typed, {"ROI_FEATURES": features})
    both = (found["IUV_SCORES"] > 0) & (iuv_scores > 0)
    assert both.sum() > 10
    np.testing.assert_allclose(found["IUV_SCORES"][both], iuv_scores[both], atol=0.02)
    answer = found["IUV"]
    same = answer[:, :1] == iuv[:, :1]
    assert same.mean() >= labels_limit
    assert (np.abs(answer[:, 1:].astype(int) - iuv[:, 1:]) * same).max() <= uv_limit


def test_onnxruntime_runs_fp16_graphs(model: ParsingRCNN) -> None:
    """As they are, on its CPU: between its fp32 nodes few roundings are left."""
    canvas, limits = render_scene(3, 256, 320), np.array([0.05, 16], np.float32)
    wanted = by_torch(DetectorGraph(model), canvas, limits)
    found = run(to_precision(load("detector"), "fp16"), {"CANVAS": canvas, "LIMITS": limits})
    np.testing.assert_allclose(found["BOXES"], wanted[0], atol=1.0)
    np.testing.assert_allclose(found["SCORES"], wanted[1], atol=0.02)
    parts = run(to_precision(load("parsing"), "fp16"), {"ROI_FEATURES": wanted[3]})["PARTS"]
    assert (parts == by_torch(ParsingGraph(model), wanted[3])[0]).mean() > 0.999


def test_openvino_reads_bf16_graphs(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    from parsing_rcnn.inference.compiled import openvino_core

    features = np.random.default_rng(0).normal(size=(2, 64, 32, 32)).astype(np.float32)
    onnx.save(to_precision(load("parsing"), "bf16"), tmp_path / "parsing.onnx")
    compiled = openvino_core().compile_model(tmp_path / "parsing.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = {port.any_name: value for port, value in compiled({"ROI_FEATURES": features}).items()}
    wanted = run(load("parsing"), {"ROI_FEATURES": features})
    assert (found["PARTS"] == wanted["PARTS"]).mean() > 0.9


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_names_types_and_weights_stay(graph: str, precision: str) -> None:
    plain = load(graph)
    typed = to_precision(plain, precision)
    for side in ("input", "output"):
        assert list(getattr(typed.graph, side)) == list(getattr(plain.graph, side))
    before = {t.name: t.raw_data for t in plain.graph.initializer}
    after = {t.name: t.raw_data for t in typed.graph.initializer if "::" not in t.name}
    assert after == before
    assert to_precision(plain, "fp32") == plain


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_what_stays_fp32(precision: str) -> None:
    detector = to_precision(load("detector"), precision)
    assert not any(node.op_type == "BatchNormalization" for node in detector.graph.node)
    lower = lower_tensors(detector, precision)
    boxes = {
        "TopK",
        "NonMaxSuppression",
        "RoiAlign",
        "Softmax",
        "Exp",
        "Div",
        "Sub",
        "Range",
        "GatherND",
        "Sqrt",
        "Log",
    }
    for node in detector.graph.node:
        if node.op_type in boxes:
            assert not lower.intersection([*node.input, *node.output]), node.op_type
        exact = any(name.startswith(EXACT) for name in node.input)
        if node.op_type in ("Conv", "Gemm"):
            assert (node.output[0] in lower) != exact, node.input
    parsing = to_precision(load("parsing"), precision)
    lower = lower_tensors(parsing, precision)
    for node in parsing.graph.node:
        if node.op_type in ("Softmax", "ReduceMean", "ReduceSum", "ReduceMax"):
            assert not lower.intersection([*node.input, *node.output]), node.op_type


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("graph", ["parsing", "densepose_head"])
def test_means_over_the_cells_of_a_map_stay_fp32(graph: str, precision: str) -> None:
    """PART_SCORES and IUV_SCORES are a product of probabilities and cells: thousands of terms. Attention is lower."""
    typed = to_precision(load(graph), precision)
    lower = lower_tensors(typed, precision)
    sums = [bool(lower.intersection([*n.input, *n.output])) for n in typed.graph.node if n.op_type == "MatMul"]
    assert sums == [True, True, False]


def test_group_norm_stays_fp32() -> None:
    layers = nn.Sequential(nn.Conv2d(8, 32, 3, padding=1), nn.GroupNorm(8, 32), nn.ReLU(), nn.Conv2d(32, 4, 1))
    plain = to_onnx(layers, (torch.rand(2, 8, 6, 6),), (None,), ("x",), ("y",))
    typed = to_precision(plain, "fp16")
    lower = lower_tensors(typed, "fp16")
    norms = [n for n in typed.graph.node if "Normalization" in n.op_type]
    assert norms
    assert all(not lower.intersection([*node.input, *node.output]) for node in norms)
    assert all(node.output[0] in lower for node in typed.graph.node if node.op_type == "Conv")


def test_attention_is_scaled_before_its_product() -> None:
    # 64 terms of 200 * 200 are 2 560 000, beyond fp16's 65504; with the query scaled by 1/64 they are 40000
    query, key = np.full((1, 4, 64), 200, np.float32), np.full((1, 64, 4), 200, np.float32)
    key[:, :, 1] = 100
    nodes = [
        helper.make_node("MatMul", ["q", "k"], ["product"]),
        helper.make_node("Mul", ["product", "scale"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["y"], axis=-1),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("q", [1, 4, 64]), ("k", [1, 64, 4]), ("y", [1, 4, 4]))
    ]
    scale = numpy_helper.from_array(np.array(1 / 64, np.float32), "scale")
    plain = helper.make_model(
        helper.make_graph(nodes, "g", values[:2], values[2:], [scale]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    found = run(simulate(to_precision(plain, "fp16"), "fp16"), {"q": query, "k": key})["y"]
    np.testing.assert_allclose(found, run(plain, {"q": query, "k": key})["y"], atol=1e-6)
    assert np.isfinite(found).all()
