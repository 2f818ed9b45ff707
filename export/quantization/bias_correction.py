"""What rounding the weights of a layer adds to its output on average, taken back in its bias.

Rounded weights are off by dW, so the outputs are off by dW * x. The mean of that over the calibration photos is one
number for each output channel, and a bias may hold it: nothing more is computed (Nagel et al., "Data-Free Quantization
Through Weight Equalization and Bias Correction", ICCV 2019, 4.2). Zero padding is left out of the mean, and transposed
convolutions are left as they are: which weights meet there depends on the pixel, a bias does not.
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
    """Give each layer of `quantised` with rounded weights a bias of its own with the mean error of its outputs added.

    Args:
        exact: the graph before, with layers of the same names. means: by channel (C,) of each tensor that layers of
            `exact` read.
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
        own = numpy_helper.from_array((bias + shift).astype(np.float32), f"{layer.name}::bias")
        quantised.graph.initializer.append(own)
        layer.input[2:] = [own.name]
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
    """(O,) of a layer with this weight, where each of its inputs is the mean of its channel (C,)."""
    if layer.op_type == "Gemm":
        transposed = any(attribute.name == "transB" and attribute.i for attribute in layer.attribute)
        return (weight if transposed else weight.T) @ means
    summed = weight.sum(axis=tuple(range(2, weight.ndim)), dtype=np.float64)  # (O, C of a group)
    groups = len(means) // summed.shape[1]
    grouped = summed.reshape(groups, -1, summed.shape[1])  # (G, O of a group, C of a group)
    return np.einsum("goc,gc->go", grouped, means.reshape(groups, -1)).ravel()
