"""Rounded weights: what they add to a layer's output on average is taken back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from export.quantization.qdq import measure_ranges, quantise

CONVOLUTIONS = {
    "grouped": ((6, 2, 3, 3), {"group": 2}),
    "depthwise": ((4, 1, 3, 3), {"group": 4}),
    "dilated": ((3, 4, 3, 3), {"dilations": [2, 2]}),
}
LAYERS = {
    **{name: ("Conv", *layer) for name, layer in CONVOLUTIONS.items()},
    "connected": ("Gemm", (5, 4), {"transB": 1}),
    "transposed weight": ("Gemm", (4, 5), {}),
}


@pytest.mark.parametrize("biased", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("name", LAYERS)
def test_what_rounding_weights_adds_on_average_is_taken_back(tmp_path: Path, name: str, biased: bool) -> None:
    """Inputs that are their means, and whole steps of 1/255: of the error of the weights nothing is left."""
    operator, shape, attributes = LAYERS[name]
    generator = np.random.default_rng(0)
    weight = generator.normal(0, 1, shape).astype(np.float32)
    shapes = ([1, 4, 5, 5], [1, "c", "h", "w"]) if operator == "Conv" else ([1, 4], [1, "c"])
    inputs = ["x", "model.fpn.output.0.weight"] + ["bias"] * biased
    outputs = weight.shape[1] if name == "transposed weight" else weight.shape[0]
    bias = generator.normal(0, 1, outputs).astype(np.float32)
    constants = [numpy_helper.from_array(weight, inputs[1]), numpy_helper.from_array(bias, "bias")]
    proto = helper.make_model(
        helper.make_graph(
            [helper.make_node(operator, inputs, ["y"], name="layer", **attributes)],
            "tiny",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shapes[0])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shapes[1])],
            constants[: len(inputs) - 1],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )
    onnx.save(proto, tmp_path / "tiny.onnx")
    channels = np.float32([0.2, 1.0, 0.0, 0.6]).reshape(1, 4, *[1] * (len(shapes[0]) - 2))
    x = np.ascontiguousarray(np.broadcast_to(channels, shapes[0]))
    coarse = quantise(measure_ranges(tmp_path / "tiny.onnx", [{"x": x}]), ["fpn.output"])
    (exact,) = ReferenceEvaluator(proto).run(None, {"x": x})
    np.testing.assert_allclose(ReferenceEvaluator(coarse).run(None, {"x": x})[0], exact, rtol=1e-5, atol=1e-5)
    # over two pictures their mean counts: as much too much in one as too little in the other
    other = np.ascontiguousarray(x[:, ::-1])
    coarse = quantise(measure_ranges(tmp_path / "tiny.onnx", [{"x": x}, {"x": other}]), ["fpn.output"])
    errors = [
        ReferenceEvaluator(coarse).run(None, {"x": each})[0] - ReferenceEvaluator(proto).run(None, {"x": each})[0]
        for each in (x, other)
    ]
    assert np.abs(errors[0]).max() > 1e-3
    np.testing.assert_allclose(errors[0], -errors[1], atol=1e-5)
