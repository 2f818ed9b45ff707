"""Graphs that are not in a repository (yet), run by ONNX Runtime: implements `parsing_rcnn.runtime.Graphs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from parsing_rcnn.inference.compiled import onnx_runtime


class MemoryGraphs:
    """Detector and heads from `onnx.ModelProto`s, on the CPU.

    Q/DQ pairs are computed as they stand, rounding in fp32: what an exact INT8 device gives. ONNX Runtime's own INT8
    kernels round as this machine does, and saturate without VNNI where weights have eight bits (TensorRT's).

    Args:
        protos: by graph: detector, parsing, densepose_head; those that will be run.
        threads: of one inference.
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

    def detector(self, canvas: NDArray[np.uint8], limits: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """See `Graphs`."""
        outputs = ("BOXES", "SCORES", "COUNT", "ROI_FEATURES")
        return self._run("detector", {"CANVAS": canvas, "LIMITS": limits}, outputs)

    def parsing(self, features: NDArray[np.float32], *, probabilities: bool) -> dict[str, NDArray[Any]]:
        """See `Graphs`."""
        outputs = ("PARTS", "PART_SCORES") + (("PART_PROBS",) if probabilities else ())
        return self._run("parsing", {"ROI_FEATURES": features}, outputs)

    def densepose(self, features: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """See `Graphs`."""
        return self._run("densepose_head", {"ROI_FEATURES": features}, ("IUV", "IUV_SCORES"))

    def _run(self, name: str, inputs: dict[str, NDArray[Any]], outputs: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        return dict(zip(outputs, self._sessions[name].run(list(outputs), inputs), strict=True))
