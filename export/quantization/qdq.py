"""INT8 written into a graph as QuantizeLinear/DequantizeLinear pairs, which every runtime reads.

- Weights: symmetric, one scale for each output channel, 7 bits for CPUs (`WEIGHT_BITS`) and 8 for TensorRT.
- Activations: uint8 with a zero point for CPUs, symmetric int8 for TensorRT.
- Biases: fp32, corrected by what rounding the weights adds on average.

Convolutions and fully connected layers are quantised: their inputs and weights, not their outputs, because a range
measured before a ReLU6 wastes most of its steps on what is clipped. A residual sum is quantised where a ReLU follows
(ResNet, ResNeXt): whatever reads it is in INT8 anyway, and in fp32 it would bring the largest maps of the network back
to fp32 after every block. Linear residual sums (EfficientNet-Lite) stay exact. Layers whose results are boxes and
scores, box decoding, RoI coordinates, softmax, norms and the attention of the non-local block stay in fp32: they hold
pixels and probabilities, not features.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from export.packed_levels import pack_levels
from export.precision import EXACT
from export.quantization.bias_correction import correct_biases
from parsing_rcnn.inference.compiled import onnx_runtime  # before onnxruntime itself: it turns its telemetry off

# isort: split
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

Activations = Literal["uint8", "int8"]

# AVX2 adds two products in 16 bits: 2 * 255 * 64 fits, 2 * 255 * 127 overflows. VNNI gives the same numbers then.
WEIGHT_BITS: dict[Activations, int] = {"uint8": 7, "int8": 8}
QUANTISED = ("Conv", "ConvTranspose", "Gemm")
_TABLE = 4096  # least number of values of a tensor that is worth storing smaller
_PAIR = ("QuantizeLinear", "DequantizeLinear")

_BINS = 2048
_SAMPLE = 1 << 16  # about how many values of a tensor each picture adds to its histogram
_SHARES = np.linspace(0.2, 1.0, 33)  # shares of a tensor's range that are tried as the range of its 8 bits


@dataclass(frozen=True)
class Spread:
    """A histogram of a tensor's values: `counts` in equal bins from `low` to `high`, the least and the largest."""

    low: float
    high: float
    counts: NDArray[np.int64]

    def range(self, activations: Activations) -> tuple[float, float]:
        """The range (low, high) of 8 bits with the least mean squared error of rounding and clipping."""
        most = max(-self.low, self.high)
        if activations == "int8":
            return min(((-most * s, most * s) for s in _SHARES), key=lambda span: self._error(span, 254))
        spans = [(min(self.low, 0.0) * a, max(self.high, 0.0) * b) for a in _SHARES for b in _SHARES]
        return min(dict.fromkeys(spans), key=lambda span: self._error(span, 255))

    def _error(self, span: tuple[float, float], steps: int) -> float:
        """Sum of the squared errors of all values where `steps` steps cover `span`."""
        low, high = span
        width = (self.high - self.low) / len(self.counts)
        values = self.low + (np.arange(len(self.counts)) + 0.5) * width
        step = max(high - low, 1e-12) / steps
        rounded = np.clip(np.round((values - low) / step), 0, steps) * step + low
        return float((self.counts * (values - rounded) ** 2).sum())


@dataclass(frozen=True)
class Ranged:
    """A graph ready to be quantised.

    Attributes:
        proto: the fp32 graph, its norms folded into convolutions.
        groups: name of each layer that can be quantised -> the part of the network that it belongs to.
        sums: the same for residual sums.
        spreads: of each tensor that these nodes read, the histogram over the calibration photos.
        means: of each tensor that the layers read, the mean of each channel, (C,).
    """

    proto: onnx.ModelProto
    groups: Mapping[str, str]
    sums: Mapping[str, str]
    spreads: Mapping[str, Spread]
    means: Mapping[str, NDArray[np.float64]]


def measure_ranges(path: Path, inputs: Sequence[Mapping[str, Any]]) -> Ranged:
    """Fold the norms of the graph at `path`, and measure its values on `inputs` (see `Calibration.inputs`)."""
    groups = node_groups(onnx.load(path))
    with tempfile.TemporaryDirectory() as folder:
        folded = Path(folder) / "folded.onnx"
        options = onnx_runtime().SessionOptions()
        # basic: constants and norms are folded, operators stay those of the standard
        options.graph_optimization_level = onnx_runtime().GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(folded)
        _session(path, options)
        proto = onnx.load(folded)
    standard = [o for o in proto.opset_import if o.domain == ""]
    del proto.opset_import[:]
    proto.opset_import.extend(standard)  # ONNX Runtime adds every domain that it knows
    kept = {node.name: groups[node.name] for node in proto.graph.node if node.name in groups}
    sums = residual_sums(proto, kept)
    read = dict.fromkeys(node.input[0] for node in proto.graph.node if node.name in kept)
    added = dict.fromkeys(name for node in proto.graph.node if node.name in sums for name in node.input)
    spreads, means = _watch(proto, list(read | added), list(read), inputs)
    return Ranged(proto, kept, sums, spreads, means)


def _watch(
    proto: onnx.ModelProto, names: Sequence[str], averaged: Sequence[str], inputs: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Spread], dict[str, NDArray[np.float64]]]:
    """Histograms of the tensors `names`, and the channel means (axis 1) of those that are also in `averaged`."""
    given = {value.name for value in proto.graph.input}
    inner = [name for name in names if name not in given]
    watched = onnx.ModelProto()
    watched.CopyFrom(proto)
    told = {value.name for value in watched.graph.output}
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner if name not in told)
    session = _session(watched.SerializeToString(), onnx_runtime().SessionOptions())

    def values() -> Iterable[tuple[str, NDArray[Any]]]:
        for feed in inputs:
            found = {**feed, **dict(zip(inner, session.run(inner, dict(feed)), strict=True))} if inner else feed
            yield from ((name, found[name]) for name in names if found[name].size)

    low, high = dict.fromkeys(names, np.inf), dict.fromkeys(names, -np.inf)
    sums: dict[str, NDArray[np.float64]] = {}
    sizes = dict.fromkeys(averaged, 0)
    for name, value in values():
        low[name], high[name] = min(low[name], float(value.min())), max(high[name], float(value.max()))
        if name in sizes:
            channels = value.sum(axis=(0, *range(2, value.ndim)), dtype=np.float64)
            sums[name] = sums.get(name, 0) + channels
            sizes[name] += value.size // len(channels)
    counts = {name: np.zeros(_BINS, np.int64) for name in names}
    for name, value in values():
        every = value.size // _SAMPLE | 1  # odd: no column of an even width is left out
        counts[name] += np.histogram(value.ravel()[::every], _BINS, (low[name], high[name]))[0]
    spreads = {name: Spread(low[name], high[name], counts[name]) for name in names}
    return spreads, {name: total / sizes[name] for name, total in sums.items()}


def _session(model: Path | bytes, options: Any) -> Any:
    options.log_severity_level = 3
    source = str(model) if isinstance(model, Path) else model
    return onnx_runtime().InferenceSession(source, options, providers=["CPUExecutionProvider"])


def quantise(ranged: Ranged, groups: Sequence[str], activations: Activations = "uint8") -> onnx.ModelProto:
    """A copy of the graph with the nodes of `groups` in INT8 and the rest in fp32."""
    nodes = [name for name, group in {**ranged.groups, **ranged.sums}.items() if group in groups]
    proto = onnx.ModelProto()
    proto.CopyFrom(ranged.proto)
    if not nodes:
        return proto
    ends = {name: np.array(spread.range(activations), np.float32) for name, spread in ranged.spreads.items()}
    ranges = {name: TensorData(lowest=pair[:1], highest=pair[1:]) for name, pair in ends.items()}
    quantizer = QDQQuantizer(
        proto,
        per_channel=True,
        reduce_range=WEIGHT_BITS[activations] < 8,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8 if activations == "int8" else QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=nodes,
        nodes_to_exclude=[],
        op_types_to_quantize=[*QUANTISED, "Add"],
        extra_options={
            "ActivationSymmetric": activations == "int8",
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": [*QUANTISED, "Add"],
        },
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantised: onnx.ModelProto = quantizer.model.model
    correct_biases(quantised, ranged.proto, ranged.means)
    _spare_others(quantised, set(nodes))
    if activations == "int8":
        _spare_addends(quantised, set(nodes) & set(ranged.sums))
    elif any(node.op_type == "RoiAlign" for node in quantised.graph.node):
        quantised = pack_levels(quantised)  # for TensorRT there is PyramidRoiAlign
    _store_small(quantised.graph)
    quantised.producer_name = "parsing-rcnn"
    quantised.producer_version = ""
    onnx.checker.check_model(quantised, full_check=True)
    return quantised


def _spare_others(proto: onnx.ModelProto, nodes: set[str]) -> None:
    """Let all nodes but the quantised ones read exact tensors: RoI pooling and linear residual sums stay in fp32."""
    exact = _exact(proto)
    for node in proto.graph.node:
        if node.name not in nodes and node.op_type not in _PAIR:
            for index, name in enumerate(node.input):
                node.input[index] = exact.get(name, name)


def _spare_addends(proto: onnx.ModelProto, sums: set[str]) -> None:
    """Let residual sums read the convolution's result unrounded, so that TensorRT can add within the convolution."""
    exact = _exact(proto)
    convolved = {node.output[0] for node in proto.graph.node if node.op_type == "Conv"}
    for node in (node for node in proto.graph.node if node.name in sums):
        index = next(i for i, name in enumerate(node.input) if exact.get(name) in convolved)
        node.input[index] = exact[node.input[index]]
    for _ in _PAIR:  # pairs that nothing reads any more: first DequantizeLinear, then QuantizeLinear
        read = {name for node in proto.graph.node for name in node.input}
        unread = [n for n in proto.graph.node if n.op_type in _PAIR and not read & set(n.output)]
        for node in unread:
            proto.graph.node.remove(node)


def _exact(proto: onnx.ModelProto) -> dict[str, str]:
    """Output of each Q/DQ pair -> its input."""
    made = {name: node for node in proto.graph.node if node.op_type in _PAIR for name in node.output}
    return {name: made[node.input[0]].input[0] for name, node in made.items() if node.input[0] in made}


def residual_sums(proto: onnx.ModelProto, groups: Mapping[str, str]) -> dict[str, str]:
    """Name of each sum of a convolution of `groups` and another tensor that only a ReLU reads -> the layer's part."""
    made = {node.output[0]: node for node in proto.graph.node}
    constants = {tensor.name for tensor in proto.graph.initializer}
    readers: dict[str, list[str]] = {}
    for node in proto.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.op_type)
    found = {}
    for node in proto.graph.node:
        if node.op_type == "Add" and readers.get(node.output[0]) == ["Relu"]:
            addends = [made[name] for name in node.input if name in made]
            parts = [groups[own.name] for own in addends if own.op_type == "Conv" and own.name in groups]
            if parts and not constants & set(node.input):
                found[node.name] = parts[0]
    return found


def _store_small(graph: onnx.GraphProto) -> None:
    """Store large tables, which ONNX Runtime computed from constants, in half the bytes where no number changes."""
    for tensor in [tensor for tensor in graph.initializer if np.prod(tensor.dims) >= _TABLE]:
        values = numpy_helper.to_array(tensor)
        kind = {"int64": np.int32, "float32": np.float16}.get(values.dtype.name)
        if kind is None:
            continue
        with np.errstate(over="ignore"):
            small = values.astype(kind)
        if not np.array_equal(small, values):
            continue
        name, to = tensor.name, tensor.data_type
        tensor.CopyFrom(numpy_helper.from_array(small, f"{name}::stored"))
        graph.node.insert(0, helper.make_node("Cast", [tensor.name], [name], to=to, name=f"{name}::cast"))


def node_groups(proto: onnx.ModelProto) -> dict[str, str]:
    """Each convolution and fully connected layer that can be quantised -> the part of the network that it belongs to.

    The name of its weight says so: `model.backbone.stages.3.1.layers.0.conv.weight` is of `backbone.stages.3`.
    """
    made = {node.output[0]: node for node in proto.graph.node if node.op_type in ("Gather", "Cast")}

    def weight(name: str) -> str:  # through Gather, where a layer reads some channels only, and Cast
        return weight(made[name].input[0]) if name in made else name

    layers = {n.name: weight(n.input[1]) for n in proto.graph.node if n.op_type in QUANTISED}
    return {name: group_of(read) for name, read in layers.items() if not _stem(read).endswith(EXACT)}


def group_of(weight: str) -> str:
    """The part of the network that a tensor of this name belongs to."""
    name = _stem(weight)
    for prefix, short in (("model.", ""), ("box.branch.", "box.")):
        if name.startswith(prefix):
            name = short + name.removeprefix(prefix)
    depth = 3 if ".stages." in name or name.startswith("stages.") else 2
    return ".".join(name.split(".")[:depth])


def _stem(weight: str) -> str:
    return weight.removesuffix("::fp32")
