"""Graphs that are in memory, not in a repository, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from numpy.typing import NDArray

from export.named_graphs import NamedGraphs
from parsing_rcnn.inference.compiled import onnx_runtime


class MemoryGraphs(NamedGraphs):
    """Detector and heads as `onnx.ModelProto`s, run on the CPU.

    Q/DQ pairs are computed as they stand, rounding in fp32, which is what an exact INT8 device would give. ONNX
    Runtime's own INT8 kernels are switched off: their rounding depends on the CPU, and without VNNI they saturate where
    weights have eight bits (as TensorRT's do).

    Args:
        protos: the graphs that will be run, by name: detector, parsing, densepose_head.
        threads: for one inference.
    """

    def __init__(self, protos: Mapping[str, onnx.ModelProto], threads: int) -> None:
        onnxruntime = onnx_runtime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._sessions = {
            name: onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
            for name, proto in protos.items()
        }

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]], outputs: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        """See `NamedGraphs`."""
        return dict(zip(outputs, self._sessions[graph].run(list(outputs), dict(inputs)), strict=True))
