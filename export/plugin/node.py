"""Replaces the RoI pooling of an exported graph by PyramidRoiAlign nodes.

The exported form pools every RoI on every level and selects, by RoiAlign, Equal with the level, and Where for each
level. The custom node pools each RoI once. A lone RoiAlign (P2 for the heads) becomes a node with one level.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from export.nodes import replace_nodes, set_nodes

DOMAIN = "parsing_rcnn"
OPERATOR = "PyramidRoiAlign"
VERSION = 1
# operators that may lie between the floor that computes a level and the masks that compare it
_BOUNDS = {"Min", "Max", "Clip", "Cast"}


class PluginNodeError(ValueError):
    """The graph pools RoIs in a way that PyramidRoiAlign does not compute; the message names node and reason."""


@dataclass(frozen=True)
class Pooling:
    """Nodes that pool RoIs from one pyramid.

    Attributes:
        last: the node that makes the result.
        aligns: the RoiAlign nodes, one for each level, the finest first.
        first_level: number of the finest level; its stride is 2**first_level.
        boxes: name of the RoIs, fp32 [n,4] in canvas pixels.
        level: name of their levels [n]; "" where there is only one.
    """

    last: NodeProto
    aligns: tuple[NodeProto, ...]
    first_level: int
    boxes: str
    level: str


class _Graph:
    """Looks up what makes a tensor."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.makers = {name: node for node in graph.node for name in node.output}
        self.values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}

    def constant(self, name: str) -> NDArray[np.generic] | None:
        """The value of an initializer or a Constant node; None for anything computed."""
        if name in self.values:
            return np.asarray(self.values[name])
        maker = self.makers.get(name)
        if maker is None or maker.op_type != "Constant":
            return None
        value = helper.get_attribute_value(maker.attribute[0])
        return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)

    def behind(self, name: str, passing: Iterable[str]) -> NodeProto | None:
        """The node that makes `name`, or its first input where the node is of the types `passing`, and so on."""
        maker = self.makers.get(name)
        while maker is not None and maker.op_type in passing:
            maker = self.makers.get(maker.input[0])
        return maker


def use_plugin(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` in which every RoiAlign, alone or chosen by level, is a PyramidRoiAlign node.

    The node has the inputs boxes, fp32 [n,4], and one feature map [1,C,H,W] for each level; the output [n,C,size,size];
    and the attributes output_size, sampling_ratio and first_level (the stride of the first map is 2**first_level). Maps
    that an fp16 graph casts to fp32 for its RoiAlign are pooled in fp16, without the cast.

    Raises:
        PluginNodeError: there is no RoiAlign, or one differs from what the node computes (aligned, maximum instead
            of mean, a box index other than 0, levels with gaps).
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = _Graph(result.graph)
    poolings = find_poolings(result)
    if not poolings:
        raise PluginNodeError("the graph has no RoiAlign; export a detector in its standard form (ONNX) first")
    halves = _halves(result)
    replace_nodes(result.graph, {p.last.output[0]: _nodes(p, graph, halves) for p in poolings})
    prune(result)
    result.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
    onnx.checker.check_model(result)
    return result


def prune(model: onnx.ModelProto) -> None:
    """Drop nodes and initializers that no output of the graph needs, in place."""
    graph = model.graph
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
            needed.update(name for inner in _bodies(node) for n in inner.node for name in n.input)
    kept.reverse()
    set_nodes(graph, kept)
    tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(tensors)


def casts_to(node: NodeProto, kind: int) -> bool:
    """Whether a node casts to an element type of ONNX; ONNX Runtime writes `saturate` before `to`."""
    return node.op_type == "Cast" and any(a.name == "to" and a.i == kind for a in node.attribute)


def _bodies(node: NodeProto) -> list[onnx.GraphProto]:
    return [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]


def find_poolings(model: onnx.ModelProto) -> list[Pooling]:
    """All places where a graph pools RoIs: chains of RoiAlign and Where, and lone RoiAligns.

    Raises:
        PluginNodeError: see `use_plugin`.
    """
    graph = _Graph(model.graph)
    users = {name: node for node in model.graph.node for name in node.input if node.op_type == "Where"}
    found: dict[str, Pooling] = {}
    for node in model.graph.node:
        if node.op_type != "RoiAlign":
            continue
        last = node
        while last.output[0] in users:
            last = users[last.output[0]]
        if last.output[0] not in found:
            found[last.output[0]] = _chain(last, graph)
    return list(found.values())


def _chain(last: NodeProto, graph: _Graph) -> Pooling:
    """The pooling that ends in `last`: walks back to the first RoiAlign, and checks that each mask is of its level."""
    aligns: dict[int, NodeProto] = {}
    levels: set[str] = set()
    node = last
    while node.op_type == "Where":
        align, rest = graph.makers.get(node.input[1]), graph.makers.get(node.input[2])
        mask = graph.behind(node.input[0], {"Unsqueeze", "Reshape"})
        if align is None or rest is None or align.op_type != "RoiAlign" or mask is None or mask.op_type != "Equal":
            raise PluginNodeError(f"{node.output[0]}: a Where over RoiAlign must choose by Equal(level, number)")
        wanted = graph.constant(mask.input[1])
        level = _level(align)
        if wanted is None or int(np.ravel(wanted)[0]) != level:
            raise PluginNodeError(f"{node.output[0]}: its mask chooses another level than stride {2**level} stands for")
        levels.add(mask.input[0])
        aligns[level] = align
        node = rest
    if node.op_type != "RoiAlign":
        raise PluginNodeError(f"{node.output[0]}: {node.op_type} where a RoiAlign was expected")
    aligns[_level(node)] = node
    order = sorted(aligns)
    if order != list(range(order[0], order[-1] + 1)):
        raise PluginNodeError(f"{last.output[0]}: pools levels {order}; PyramidRoiAlign needs them without a gap")
    if len(order) > 1:
        _check_choice(levels, order, graph)
    if len({(_value(a, "output_height"), _value(a, "sampling_ratio")) for a in aligns.values()}) != 1:
        raise PluginNodeError(f"{last.output[0]}: its levels differ in output size or sampling ratio")
    boxes = {_boxes(align, graph) for align in aligns.values()}
    if len(boxes) != 1:
        raise PluginNodeError(f"{last.output[0]}: its levels pool different boxes, {sorted(boxes)}")
    return Pooling(last, tuple(aligns[level] for level in order), order[0], boxes.pop(), "".join(levels))


def _check_choice(levels: set[str], order: list[int], graph: _Graph) -> None:
    """Check that all masks compare the same floor(...), clipped to the first and last of the pooled levels."""
    node = graph.makers.get(next(iter(levels)))
    bounds: set[float] = set()
    while node is not None and node.op_type in _BOUNDS:
        bounds.update(
            float(np.ravel(value)[0]) for name in node.input[1:] if (value := graph.constant(name)) is not None
        )
        node = graph.makers.get(node.input[0])
    if len(levels) != 1 or node is None or node.op_type != "Floor":
        raise PluginNodeError(
            f"levels come from {sorted(levels)}; PyramidRoiAlign computes floor(4 + log2(...)) itself"
        )
    if bounds != {order[0], order[-1]}:
        raise PluginNodeError(f"levels are cut to {sorted(bounds)}, but {order} are pooled")


def _value(align: NodeProto, name: str) -> int:
    return next(int(a.i) for a in align.attribute if a.name == name)


def _level(align: NodeProto) -> int:
    """The level that a RoiAlign pools from, by its scale; refuses what PyramidRoiAlign does not compute."""
    given = {a.name: helper.get_attribute_value(a) for a in align.attribute}
    level = -math.log2(given.get("spatial_scale", 1.0))
    if level != int(level) or level < 0:
        raise PluginNodeError(f"{align.output[0]}: spatial_scale {given['spatial_scale']} is not 1/2**level")
    if given.get("coordinate_transformation_mode", b"half_pixel") != b"output_half_pixel":
        raise PluginNodeError(f"{align.output[0]}: is aligned (half_pixel); PyramidRoiAlign is not")
    if given.get("mode", b"avg") != b"avg" or given.get("sampling_ratio", 0) < 1:
        raise PluginNodeError(f"{align.output[0]}: needs mode avg and a sampling_ratio of at least 1")
    if given.get("output_height") is None or given["output_height"] != given.get("output_width"):
        raise PluginNodeError(f"{align.output[0]}: its output must be square")
    return int(level)


def _boxes(align: NodeProto, graph: _Graph) -> str:
    """Name of the boxes fp32 [n,4] of a RoiAlign.

    Torch exports Slice(Concat(zeros, boxes)), with the zeros as Expand of a constant. An fp16 graph rounds the boxes
    for its RoiAlign; the name is that of the boxes before.
    """
    cut = graph.behind(align.input[1], {"Cast"})
    joined = graph.behind(cut.input[0], {"Cast"}) if cut is not None and cut.op_type == "Slice" else None
    if joined is None or joined.op_type != "Concat" or len(joined.input) != 2:
        return _unrounded(align.input[1], graph) if _is_zero(align.input[2], graph) else _refuse(align)
    return _unrounded(joined.input[1], graph) if _is_zero(joined.input[0], graph) else _refuse(align)


def _unrounded(name: str, graph: _Graph) -> str:
    """The name of the tensor before it was cast to fp16 or bf16, or to that and back."""
    source = name
    while (maker := graph.makers.get(source)) is not None and maker.op_type == "Cast":
        source = maker.input[0]
        if casts_to(maker, TensorProto.FLOAT16) or casts_to(maker, TensorProto.BFLOAT16):
            name = source
    return name


def _is_zero(name: str, graph: _Graph) -> bool:
    """Whether a tensor is all zeros, as far as the graph tells."""
    maker = graph.behind(name, {"Cast", "Squeeze"})
    source = maker.input[0] if maker is not None and maker.op_type == "Expand" else name
    value = graph.constant(source)
    if maker is not None and maker.op_type == "ConstantOfShape":
        value = numpy_helper.to_array(maker.attribute[0].t) if maker.attribute else np.zeros(1)
    return value is not None and not np.any(value)


def _refuse(align: NodeProto) -> str:
    raise PluginNodeError(f"{align.output[0]}: pools from several pictures; PyramidRoiAlign takes one")


def _halves(model: onnx.ModelProto) -> set[str]:
    """Names of the fp16 tensors of a graph."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.input)
    return {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT16}


def _nodes(pooling: Pooling, graph: _Graph, halves: set[str]) -> list[NodeProto]:
    """The PyramidRoiAlign node of a pooling, and a cast of its result to fp32 where it pools fp16 maps."""
    maps = [align.input[0] for align in pooling.aligns]
    makers = [graph.makers.get(name) for name in maps]
    before = [m.input[0] for m in makers if m is not None and m.op_type == "Cast" and m.input[0] in halves]
    half = len(before) == len(maps)
    result = pooling.last.output[0]
    pooled = f"{result}::fp16" if half else result
    node = helper.make_node(
        OPERATOR,
        [pooling.boxes, *(before if half else maps)],
        [pooled],
        name=f"{OPERATOR}_{result}",
        domain=DOMAIN,
        output_size=_value(pooling.aligns[0], "output_height"),
        sampling_ratio=_value(pooling.aligns[0], "sampling_ratio"),
        first_level=pooling.first_level,
    )
    if not half:
        return [node]
    return [node, helper.make_node("Cast", [pooled], [result], to=TensorProto.FLOAT, name=f"{result}::cast")]
