"""INT8 on processors that add two products up in 16 bits: nothing overflows, so answers are the same everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.quantization.qdq import WEIGHT_BITS, measure_ranges, quantise
from parsing_rcnn.inference.cores import has_avx2

_CHANNELS = 64
_RUN = {
    "openvino": """
import sys, numpy as np, openvino
graph = openvino.Core().compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
print(*np.unique(graph(np.load(sys.argv[2]))[0]))
""",
    "onnxruntime": """
import sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
print(*np.unique(session.run(None, {"x": np.load(sys.argv[2])})[0]))
""",
}


def _answers(kind: str, isa: str, folder: Path) -> list[float]:
    """Of two convolutions, all of whose inputs and weights are as large as there are: each output is 64 * 64 = 4096."""
    pytest.importorskip(kind)
    weights = {f"model.fpn.output.{i}.weight": np.ones((_CHANNELS, _CHANNELS, 1, 1), np.float32) for i in (0, 1)}
    first, second = weights
    shape = [1, _CHANNELS, 16, 16]
    proto = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Conv", ["x", first], ["between"], name="first"),
                helper.make_node("Conv", ["between", second], ["y"], name="second"),
            ],
            "large",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )
    onnx.save(proto, folder / "fp32.onnx")
    x = np.ones(shape, np.float32)
    np.save(folder / "x.npy", x)
    ranged = measure_ranges(folder / "fp32.onnx", [{"x": x}])
    onnx.save(quantise(ranged, ["fpn.output"]), folder / "int8.onnx")
    command = [sys.executable, "-c", _RUN[kind], str(folder / "int8.onnx"), str(folder / "x.npy")]
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": isa}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    return [float(value) for value in done.stdout.split()]


@pytest.mark.parametrize("isa", ["AVX2", "AVX2_VNNI", "AVX512_CORE", "ALL"])
def test_the_largest_products_are_added_up_exactly(isa: str, tmp_path: Path) -> None:
    assert _answers("openvino", isa, tmp_path) == pytest.approx([_CHANNELS**2], rel=1e-5)


def test_so_does_onnx_runtime_on_what_this_processor_has(tmp_path: Path) -> None:
    assert _answers("onnxruntime", "ALL", tmp_path) == pytest.approx([_CHANNELS**2], rel=1e-5)


def test_eight_bits_would_overflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests above would find."""
    if not has_avx2():
        pytest.skip("needs a processor with AVX2")
    monkeypatch.setitem(WEIGHT_BITS, "uint8", 8)
    assert max(_answers("openvino", "AVX2", tmp_path)) < 0.6 * _CHANNELS**2
