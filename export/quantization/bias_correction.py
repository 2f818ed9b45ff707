"""Corrects the bias of each layer by what rounding its weights adds to its output on average.

Rounded weights are off by dW, so the outputs are off by dW * x. The mean of that over the calibration photos is one
number for each output channel. A bias can take it back at no cost when the graph runs (Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction", ICCV 2019, 4.2). The mean ignores zero padding.
Transposed convolutions are left as they are: which of their weights meet depends on the pixel, and a bias does not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

CORRECTED = ("Conv", "Gemm")


def correct_biases(
    quantised: onnx.ModelProto, exact: onnx.ModelProto, means: Mapping[str, NDArray[np.float64]]
) -> None:
    """Correct, in place, the bias of each layer of `quantised` with rounded weights.

    Args:
        exact: the graph before quantisation, with layers of the same names.
        means: of each tensor that layers of `exact` read, the mean of each channel, (C,).
    """
    exact_values = {tensor.name: numpy_helper.to_array(tensor) for tensor in exact.graph.initializer}
    exact_layers = {node.name: node for node in exact.graph.node if node.op_type in CORRECTED}
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    made = {node.output[0]: node for node in quantised.graph.node if node.op_type == "DequantizeLinear"}
    for layer in quantised.graph.node:
        rounded = made.get(layer.input[1]) if layer.op_type in CORRECTED else None
        if rounded is None:
            continue
        source, weight = exact_layers[layer.name].input[:2]
        error = exact_values[weight] - _dequantised(rounded, values)
        shift = _mean_output(layer, error, means[source])
        bias = values[layer.input[2]] if len(layer.input) > 2 else np.zeros(len(shift), np.float32)
        corrected = numpy_helper.from_array((bias + shift).astype(np.float32), f"{layer.name}::bias")
        quantised.graph.initializer.append(corrected)
        layer.input[2:] = [corrected.name]
    read = {name for node in quantised.graph.node for name in node.input}
    for tensor in [tensor for tensor in quantised.graph.initializer if tensor.name not in read]:
        quantised.graph.initializer.remove(tensor)


def _dequantised(node: onnx.NodeProto, values: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float32]:
    stored, scale = (values[name].astype(np.float32) for name in node.input[:2])
    axis = next(attribute.i for attribute in node.attribute if attribute.name == "axis")
    along = [1] * stored.ndim
    along[axis] = -1
    return stored * scale.reshape(along)


def _mean_output(layer: onnx.NodeProto, weight: NDArray[np.float32], means: NDArray[np.float64]) -> NDArray[np.float64]:
    """The output (O,) of a layer with this weight, where each input is the mean of its channel (C,)."""
    if layer.op_type == "Gemm":
        transposed = any(attribute.name == "transB" and attribute.i for attribute in layer.attribute)
        return (weight if transposed else weight.T) @ means
    summed = weight.sum(axis=tuple(range(2, weight.ndim)), dtype=np.float64)  # (O, C of a group)
    groups = len(means) // summed.shape[1]
    grouped = summed.reshape(groups, -1, summed.shape[1])  # (G, O of a group, C of a group)
    return np.asarray(np.einsum("goc,gc->go", grouped, means.reshape(groups, -1)), np.float64).ravel()
