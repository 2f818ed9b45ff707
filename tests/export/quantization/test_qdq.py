"""Q/DQ pairs in graphs small enough to follow: whose ranges count, what stays as it was, and what is added to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from export.quantization.qdq import Ranged, measure_ranges, quantise, residual_sums


def ranged(folder: Path, body: str, weights: dict[str, np.ndarray], *inputs: np.ndarray) -> Ranged:
    """The ranges over `inputs` of a graph x [n,C,1,w] -> y, its layers named after what they give."""
    channels = inputs[0].shape[1]
    proto = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : 20]> tiny (float[n,{channels},1,w] x) => (float[n,c,1,w] y) {{ {body} }}'
    )
    for node in proto.graph.node:
        node.name = node.output[0]
        for index, name in enumerate(node.input):
            node.input[index] = {own.split(".")[-2]: own for own in weights}.get(name, name)
    proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    onnx.save(proto, folder / "tiny.onnx")
    return measure_ranges(folder / "tiny.onnx", [{"x": x} for x in inputs])


def kernel(*values: float) -> np.ndarray:
    return np.float32(values).reshape(-1, 1, 1, 1)


def answer(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    found: np.ndarray = ReferenceEvaluator(proto).run(None, {"x": x})[0]
    return found


def pairs(proto: onnx.ModelProto) -> int:
    return sum(node.op_type == "QuantizeLinear" for node in proto.graph.node)


def test_ranges_are_those_of_all_photos(tmp_path: Path) -> None:
    """The widest is neither the first nor the last, and most values lie in the first; in one nobody is seen."""
    narrow, wide, last = (np.float32(v).reshape(1, 1, 1, -1) for v in ([0.1] * 5, [-1, 4], [0.5]))
    nobody = np.zeros((0, 1, 1, 3), np.float32)
    found = ranged(
        tmp_path, "y = Conv(x, w)", {"model.fpn.output.w.weight": kernel(1)}, narrow, wide, nobody, last
    ).spreads["x"]
    assert (found.low, found.high) == (-1, 4)
    assert found.counts.sum() == 8
    cells = [int((value + 1) / 5 * 2048) for value in (-1, 0.1, 0.5)]
    assert [int(found.counts[cell]) for cell in (*cells, -1)] == [1, 5, 1, 1]


def test_where_nothing_is_chosen_everything_stays(tmp_path: Path) -> None:
    x = np.float32([0.3, 0.7]).reshape(1, 1, 1, 2)
    own = ranged(tmp_path, "y = Conv(x, w)", {"model.fpn.output.w.weight": kernel(0.3)}, x)
    for activations in ("uint8", "int8"):
        assert quantise(own, [], activations) == own.proto
        assert quantise(own, ["backbone.stem"], activations) == own.proto
        assert pairs(quantise(own, ["fpn.output"], activations)) == 1


def test_what_stays_in_fp32_is_not_rounded_when_it_is_stored(tmp_path: Path) -> None:
    """4096 weights of 1/3, which fp16 does not hold; and the operators are of the standard alone."""
    weights = {
        "model.fpn.inner.v.weight": np.full((64, 64, 1, 1), 1 / 3, np.float32),
        "model.fpn.output.w.weight": np.ones((1, 64, 1, 1), np.float32),
    }
    x = np.ones((1, 64, 1, 2), np.float32)
    proto = quantise(ranged(tmp_path, "z = Conv(x, v) y = Conv(z, w)", weights, x), ["fpn.output"])
    stored = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    first = next(node for node in proto.graph.node if node.name == "z")
    assert set(stored) <= {name for node in proto.graph.node for name in node.input}  # and nothing is stored in vain
    np.testing.assert_array_equal(stored[first.input[1]], weights["model.fpn.inner.v.weight"])
    assert {opset.domain for opset in proto.opset_import} == {""}


@pytest.mark.parametrize("addends", ["z, x", "x, z"])
@pytest.mark.parametrize("activations", ["uint8", "int8"])
def test_both_addends_of_a_residual_sum_are_rounded(tmp_path: Path, activations: str, addends: str) -> None:
    """relu(z + x) with z = -x/4 and a last layer in fp32: every rounding is seen. TensorRT does not round z itself."""
    weights = {"backbone.stages.0.v.weight": kernel(-0.25), "model.fpn.output.w.weight": kernel(0.5)}
    x = np.float32([2.0, 0.713, 0.013, 1.27]).reshape(1, 1, 1, 4)
    body = f"z = Conv(x, v) s = Add({addends}) r = Relu(s) y = Conv(r, w)"
    own = ranged(tmp_path, body, weights, x)
    step = 2 / 255 if activations == "uint8" else 2 / 127
    seen = np.round(x / step) * step
    branch = -0.25 * seen
    if activations == "uint8":
        branch = np.round(branch * 510) / 510  # from -0.5 to 0
    proto = quantise(own, ["backbone.stages.0"], activations)
    found = answer(proto, x)
    assert pairs(proto) == (2 if activations == "uint8" else 1)
    np.testing.assert_allclose(found, 0.5 * (seen + branch), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("body", "sums"),
    [
        ("z = Conv(x, v) s = Add(z, x) y = Relu(s)", ["s"]),
        ("z = Conv(x, v) s = Add(z, x) r = Relu(s) y = Mul(r, s)", []),  # not by a ReLU alone
        ("z = Conv(x, v) s = Add(z, v) y = Relu(s)", []),  # a bias
        ("z = Mul(x, x) s = Add(z, x) y = Relu(s)", []),
    ],
)
def test_sums_that_are_residual(body: str, sums: list[str]) -> None:
    proto = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : 20]> tiny (float[1] x) => (float[1] y) {{ {body} }}'
    )
    for node in proto.graph.node:
        node.name = node.output[0]
    proto.graph.initializer.append(helper.make_tensor("v", TensorProto.FLOAT, [1, 1, 1, 1], [1.0]))
    assert residual_sums(proto, {"z": "backbone.stages.0"}) == dict.fromkeys(sums, "backbone.stages.0")
