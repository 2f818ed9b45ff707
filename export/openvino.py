"""The ONNX graphs in OpenVINO's own format, for those who serve with OpenVINO alone or with its model server."""

from __future__ import annotations

from pathlib import Path

from parsing_rcnn.inference.compiled import openvino_core
from parsing_rcnn.repository import GRAPHS


def write_models(repository: Path) -> list[Path]:
    """Write `model.xml` and `model.bin` beside each graph's `model.onnx`; they give the same numbers.

    Weights that the graph stores in fp16 stay in fp16; biases and anchors, stored in fp32, are not rounded.

    Returns:
        The `model.xml` files.

    Raises:
        EngineUnavailable: openvino is not installed.
    """
    core = openvino_core()
    import openvino  # after `openvino_core`, which turns its telemetry off

    written = []
    for graph in GRAPHS:
        source = repository / graph / "1" / "model.onnx"
        target = source.with_suffix(".xml")
        openvino.save_model(core.read_model(source), target, compress_to_fp16=False)
        written.append(target)
    return written
