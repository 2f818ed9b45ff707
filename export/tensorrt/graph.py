"""Rewrites an exported graph so that TensorRT's parser takes it; inputs and outputs keep their names and types.

TensorRT has uint8 only at inputs and outputs, limits NonMaxSuppression, and pools RoIs by our plugin.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from export.nodes import set_nodes
from export.plugin.node import DOMAIN, casts_to, prune, use_plugin

PAIR = ("QuantizeLinear", "DequantizeLinear")
LARGEST_NMS = 5000  # boxes that TensorRT's NMS chooses from at most (INMSLayer, the TopK box limit)
LARGEST_TOPK = 3840  # K of ITopKLayer


class TensorRTGraphError(ValueError):
    """The graph has a number beyond TensorRT's limits; the message names it and what to lower."""


def for_tensorrt(model: onnx.ModelProto, *, proposals: int, people: int) -> onnx.ModelProto:
    """A copy of a graph of `export_repository`, of any precision, for TensorRT 10 and 11.

    - Weights are stored in the type in which they are used.
    - uint8 inputs are cast to fp32 by the first node; uint8 outputs are computed in fp32, cut to 0..255 and to whole
      numbers, and cast by the last node.
    - NMS looks for no more boxes than are used.
    - Every RoIAlign is a PyramidRoiAlign node.

    Args:
        model: detector, parsing or densepose_head.
        proposals: the most boxes that leave the first NMS of a detector. people: those that leave the second.

    Raises:
        TensorRTGraphError: more than `LARGEST_NMS` proposals or candidates for them, or more than `LARGEST_TOPK`
            candidates of one level.
        PluginNodeError: see `use_plugin`.
    """
    if proposals > LARGEST_NMS:
        raise TensorRTGraphError(
            f"{proposals} proposals: TensorRT's NMS gives at most {LARGEST_NMS}; lower model.rpn.proposals_test "
            "or give --proposals"
        )
    result = onnx.ModelProto()
    result.CopyFrom(model)
    if any(node.op_type == "RoiAlign" for node in result.graph.node):
        result = use_plugin(result)
    _fold_constants(result)
    _check_candidates(result.graph)
    _float_inside(result.graph)
    _limit_nms(result.graph, (proposals, people))
    prune(result)
    del result.graph.value_info[:]
    onnx.checker.check_model(result, full_check=not any(o.domain == DOMAIN for o in result.opset_import))
    return result


def _fold_constants(model: onnx.ModelProto) -> None:
    """Compute, and store as weights, everything that depends on stored weights alone, such as casts to the type in use.

    Q/DQ pairs of INT8 weights stay: without its DequantizeLinear TensorRT would compute a layer in fp32.
    """
    graph = model.graph
    known = {tensor.name for tensor in graph.initializer}
    fixed: list[NodeProto] = []
    open_: list[NodeProto] = []
    for node in graph.node:
        if node.op_type not in PAIR and all(name in known for name in node.input if name):
            known.update(node.output)
            fixed.append(node)
        else:
            open_.append(node)
    made = {name for node in fixed for name in node.output}
    results = {value.name for value in graph.output} | {name for node in open_ for name in node.input}
    names = sorted(made & results)
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.input[:], part.graph.output[:], part.graph.value_info[:]
    set_nodes(part.graph, fixed)
    part.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in names)
    values = ReferenceEvaluator(part).run(names, {})
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in zip(names, values, strict=True)
    )
    set_nodes(graph, open_)


def _check_candidates(graph: GraphProto) -> None:
    """Refuse more candidates than TensorRT takes: TopK chooses the best of each level, NMS from all of these."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    counts = [_at_most(node.input[1], values, makers) for node in graph.node if node.op_type == "TopK"]
    known = [count for count in counts if count is not None]
    if max(known, default=0) > LARGEST_TOPK:
        raise TensorRTGraphError(
            f"the best {max(known)} anchors of a level: TensorRT's TopK gives at most {LARGEST_TOPK}; lower "
            "model.rpn.pre_nms"
        )
    if sum(known) > LARGEST_NMS:
        raise TensorRTGraphError(
            f"{sum(known)} candidates of all {len(known)} levels: TensorRT's NMS looks at the best {LARGEST_NMS} "
            "alone; lower model.rpn.pre_nms"
        )


def _at_most(name: str, values: Mapping[str, NDArray[Any]], makers: Mapping[str, NodeProto]) -> int | None:
    """An upper bound of a count that the graph computes as a minimum of constants and others; None: there is none."""
    if name in values:
        return int(values[name].max())
    maker = makers.get(name)
    if maker is not None and maker.op_type in ("Cast", "Reshape", "Squeeze", "Unsqueeze"):
        return _at_most(maker.input[0], values, makers)
    if maker is None or maker.op_type != "Min":
        return None
    return min((b for b in (_at_most(i, values, makers) for i in maker.input) if b is not None), default=None)


def _float_inside(graph: GraphProto) -> None:
    """Cast uint8 inputs to fp32 at once, and cast to uint8 only what leaves the graph."""
    first = []
    for value in graph.input:
        if value.type.tensor_type.elem_type == TensorProto.UINT8:
            inner = f"{value.name}::fp32"
            _rename_input(graph.node, value.name, inner)
            first.append(helper.make_node("Cast", [value.name], [inner], to=TensorProto.FLOAT, name=f"{inner}::cast"))
    nodes: list[NodeProto] = []
    for node in graph.node:
        if casts_to(node, TensorProto.UINT8):
            nodes += _whole_numbers(node)
        else:
            nodes.append(node)
    last = []
    for value in graph.output:
        if value.type.tensor_type.elem_type == TensorProto.UINT8:
            inner = f"{value.name}::fp32"
            _rename_output(nodes, value.name, inner)
            last.append(helper.make_node("Cast", [inner], [value.name], to=TensorProto.UINT8, name=f"{inner}::cast"))
    set_nodes(graph, [*first, *nodes, *last])
    for name, limit in (("::0", 0), ("::255", 255)):
        graph.initializer.append(numpy_helper.from_array(np.array(limit, np.float32), name))


def _whole_numbers(node: NodeProto) -> list[NodeProto]:
    """What stands in for a cast to uint8: the value cut to 0..255 and rounded towards 0, but in fp32."""
    source, result = node.input[0], node.output[0]
    wide, cut = f"{result}::wide", f"{result}::cut"
    return [
        helper.make_node("Cast", [source], [wide], to=TensorProto.FLOAT, name=wide),
        helper.make_node("Clip", [wide, "::0", "::255"], [cut], name=cut),
        helper.make_node("Floor", [cut], [result], name=f"{result}::floor"),
    ]


def _limit_nms(graph: GraphProto, limits: Iterable[int]) -> None:
    """Let each NMS find only as many boxes as are used: the first ones, which are those of the highest scores.

    TensorRT drops scores of 0 and below where no threshold is given, and the objectness of proposals is a logit. So the
    scores that NMS reads are mapped to between 0 and 1, in the same order; nothing else reads the mapped ones.
    """
    rest, nodes = list(limits), []
    for node in graph.node:
        if node.op_type == "NonMaxSuppression":
            name = node.output[0]
            graph.initializer.append(numpy_helper.from_array(np.array([rest.pop(0)], np.int64), f"{name}::most"))
            nodes += [
                helper.make_node("Softsign", [node.input[1]], [f"{name}::sign"], name=f"{name}::sign"),
                helper.make_node("Mul", [f"{name}::sign", "::half"], [f"{name}::small"], name=f"{name}::small"),
                helper.make_node("Add", [f"{name}::small", "::half"], [f"{name}::scores"], name=f"{name}::scores"),
            ]
            node.input[1], node.input[2] = f"{name}::scores", f"{name}::most"
        nodes.append(node)
    graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "::half"))
    set_nodes(graph, nodes)


def _rename_input(nodes: Iterable[NodeProto], name: str, new: str) -> None:
    for node in nodes:
        for index, given in enumerate(node.input):
            if given == name:
                node.input[index] = new


def _rename_output(nodes: Iterable[NodeProto], name: str, new: str) -> None:
    _rename_input(nodes, name, new)
    for node in nodes:
        for index, given in enumerate(node.output):
            if given == name:
                node.output[index] = new
