"""INT8 for ONNX Runtime and, by `export.tensorrt_graph`, TensorRT: QuantizeLinear/DequantizeLinear pairs in the graph.

Symmetric int8 throughout, weights per output channel, as TensorRT takes them; biases stay fp32. Only convolutions and
fully connected layers are quantised, and of these the inputs and weights, not the outputs: a range measured before a
ReLU6 wastes most of its steps on what is clipped, and logits and box deltas keep all their digits. Box decoding, RoI
coordinates, softmax, norms and the attention of the non-local block stay in fp32: they hold pixels and probabilities,
not features.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from parsing_rcnn.runtime import onnx_runtime  # before what onnxruntime has: it lets that report to nobody

# isort: split
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

QUANTISED = ("Conv", "ConvTranspose", "Gemm")


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, inputs: Sequence[Mapping[str, Any]]) -> None:
        self._inputs: Iterator[Mapping[str, Any]] = iter(inputs)

    def get_next(self) -> Mapping[str, Any] | None:
        return next(self._inputs, None)


@dataclass(frozen=True)
class Ranged:
    """A graph ready to be quantised: norms folded into convolutions, and the range of every tensor.

    Attributes:
        proto: fp32. groups: name of each node that can be quantised -> the part of the network that it belongs to.
        ranges: of its tensors, over the calibration photos.
    """

    proto: onnx.ModelProto
    groups: Mapping[str, str]
    ranges: TensorsData


def measure_ranges(path: Path, inputs: Sequence[Mapping[str, Any]]) -> Ranged:
    """Fold the norms of the graph at `path` and run it over `inputs` (see `Calibration.inputs`)."""
    groups = node_groups(onnx.load(path))
    with tempfile.TemporaryDirectory() as folder:
        folded, augmented = Path(folder) / "folded.onnx", Path(folder) / "augmented.onnx"
        onnxruntime = onnx_runtime()
        options = onnxruntime.SessionOptions()
        # basic: constants and norms are folded, operators stay those of the standard
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(folded)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        calibrator = create_calibrator(
            folded,
            list(QUANTISED),
            augmented_model_path=str(augmented),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"symmetric": True},
        )
        calibrator.collect_data(_Reader(inputs))
        ranges = calibrator.compute_data()
        proto = onnx.load(folded)
    standard = [o for o in proto.opset_import if o.domain == ""]
    del proto.opset_import[:]
    proto.opset_import.extend(standard)  # ONNX Runtime lists every domain that it knows
    kept = {node.name: groups[node.name] for node in proto.graph.node if node.op_type in QUANTISED}
    return Ranged(proto, kept, ranges)


def quantise(ranged: Ranged, groups: Sequence[str]) -> onnx.ModelProto:
    """The graph with the nodes of `groups` in INT8 and the rest in fp32."""
    nodes = [name for name, group in ranged.groups.items() if group in groups]
    proto = onnx.ModelProto()
    proto.CopyFrom(ranged.proto)
    if not nodes:
        return proto
    quantizer = QDQQuantizer(
        proto,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=ranged.ranges,
        nodes_to_quantize=nodes,
        nodes_to_exclude=[],
        op_types_to_quantize=list(QUANTISED),
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": list(QUANTISED),
        },
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantised: onnx.ModelProto = quantizer.model.model
    _spare_others(quantised, set(nodes))
    quantised.producer_name = "parsing-rcnn"
    quantised.producer_version = ""
    onnx.checker.check_model(quantised, full_check=True)
    return quantised


def _spare_others(proto: onnx.ModelProto, nodes: set[str]) -> None:
    """Let everybody but the quantised layers read a tensor as it was: RoIs pool it, and residuals add it, in fp32."""
    pairs = {"QuantizeLinear", "DequantizeLinear"}
    made = {name: node for node in proto.graph.node if node.op_type in pairs for name in node.output}
    for node in proto.graph.node:
        if node.name in nodes or node.op_type in pairs:
            continue
        for index, name in enumerate(node.input):
            before = made.get(made[name].input[0]) if name in made else None
            if before is not None:
                node.input[index] = before.input[0]


def node_groups(proto: onnx.ModelProto) -> dict[str, str]:
    """Each convolution and fully connected layer -> the part of the network that holds its weight.

    The weight's own name says so: `model.backbone.stages.3.1.layers.0.conv.weight` is of `backbone.stages.3`.
    """
    found = {}
    for node in proto.graph.node:
        if node.op_type in QUANTISED:
            found[node.name] = group_of(node.input[1])
    return found


def group_of(weight: str) -> str:
    """The part of the network that a tensor of this name belongs to."""
    name = weight.removesuffix("::fp32")
    for prefix, short in (("model.", ""), ("box.branch.", "box.")):
        if name.startswith(prefix):
            name = short + name.removeprefix(prefix)
    depth = 3 if ".stages." in name or name.startswith("stages.") else 2
    return ".".join(name.split(".")[:depth])
