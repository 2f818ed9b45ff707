"""Makes a graph compute in fp16 or bf16. The types are in the graph, so runtimes need no precision flags.

In that type are convolutions, matrix products and the operators that pass their results on. These stay in fp32 on
purpose: the picture's normalisation; GroupNorm, means over a RoI and softmax (long sums); the last layers of the
proposal network and of the box branch with all box arithmetic behind them (fp16 rounds a coordinate of 1300 to whole
pixels); anchors; RoI coordinates and RoIAlign. Inputs and outputs keep their names and types. Batch norms are
multiplied into the convolutions before them, so that nothing is rounded between the two; that is done in fp32 by nodes
of the graph, which runtimes compute once, when they load it.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from export.nodes import replace_nodes, set_nodes
from export.plugin.node import prune

_TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
_BF16_OPSET = 22
_COMPUTE = {
    "fp16": {"Conv", "ConvTranspose", "Gemm", "MatMul"},
    "bf16": {"Conv", "Gemm", "MatMul"},  # TensorRT's compiler knows no deconvolution in bf16
}
# these compute in the type of their inputs
_FOLLOW = {
    "Add", "ArgMax", "Clip", "Concat", "Expand", "Flatten", "GatherElements", "MaxPool", "Mul",
    "Pad", "Relu", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip
# ends of the names of weights whose layers give boxes and scores
EXACT = ("rpn.objectness.weight", "rpn.deltas.weight", "box.branch.score.weight", "box.branch.delta.weight")


def to_precision(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """A copy of an exported graph that computes in `precision`; weights keep their names and stored types.

    Args:
        model: an fp32 graph of `export.onnx.to_onnx`.
        precision: "fp32" (the graph as it is), "fp16" or "bf16".

    Raises:
        ValueError: another precision.
    """
    if precision != "fp32" and precision not in _TYPES:
        raise ValueError(f"precision {precision!r}: choose one of fp32, {', '.join(_TYPES)}")
    result = onnx.ModelProto()
    result.CopyFrom(model)
    if precision != "fp32":
        _fold_norms(result.graph)
        _scale_before_attention(result.graph)
        _Typing(result, precision).write()
        prune(result)
        if precision == "bf16":
            _raise_opset(result)
        onnx.checker.check_model(result, full_check=True)
    return result


class _Typing:
    """Decides the type of every node, in the graph's order, and inserts the casts between them."""

    def __init__(self, model: onnx.ModelProto, precision: str) -> None:
        self.graph, self.precision, self.type = model.graph, precision, _TYPES[precision]
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = (*inferred.value_info, *inferred.input, *inferred.output)
        self.floats = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
        self.floats |= {t.name for t in self.graph.initializer if t.data_type == TensorProto.FLOAT}
        self.stored = {t.name: t.data_type for t in self.graph.initializer}
        self.constants = set(self.stored)
        self.sources: dict[str, str] = {}  # an fp32 view of stored weights -> their own name
        self.half: set[str] = set()
        self.given = {value.name for value in inferred.input}
        self.casts: dict[str, NodeProto] = {}

    def write(self) -> None:
        """Rewrite the graph's nodes in place."""
        outputs = {value.name for value in self.graph.output}
        nodes: list[NodeProto] = []
        for node in self.graph.node:
            if all(name in self.constants for name in node.input if name):
                self.constants.update(node.output)
                if node.op_type == "Cast" and node.input[0] in self.stored:
                    self.sources[node.output[0]] = node.input[0]
                nodes.append(node)
                continue
            lower = self._is_lower(node)
            nodes += self._cast_inputs(node, lower)
            nodes.append(node)
            if lower:
                self.half.update(name for name in node.output if name in self.floats)
                nodes += [self._give_back(node, k) for k, name in enumerate(node.output) if name in outputs & self.half]
        set_nodes(self.graph, nodes)

    def _is_lower(self, node: NodeProto) -> bool:
        flowing = [n for n in node.input if n in self.floats and n not in self.constants]
        computed = [name for name in flowing if name not in self.given]
        if node.op_type == "MatMul" and len(computed) == 2 and not self.half.intersection(computed):
            return False  # attention: sums over the cells of a map, of fp32 probabilities
        if node.op_type in _COMPUTE[self.precision]:
            return not any(self.sources.get(name, name).endswith(EXACT) for name in node.input)
        return node.op_type in _FOLLOW and bool(flowing) and self.half.issuperset(flowing)

    def _cast_inputs(self, node: NodeProto, lower: bool) -> list[NodeProto]:
        added = []
        for index, name in enumerate(node.input):
            wanted = lower and (index == 0 or node.op_type != "Resize")  # its scales are fp32 whatever it enlarges
            if name not in self.floats or wanted == (name in self.half):
                continue
            source = self.sources.get(name, name)
            if wanted and self.stored.get(source) == self.type:
                node.input[index] = source  # stored in this very type
                continue
            cast = f"{source}::{self.precision if wanted else 'fp32'}"
            if cast not in self.casts:
                to = self.type if wanted else TensorProto.FLOAT
                self.casts[cast] = helper.make_node("Cast", [source], [cast], to=to, name=f"{cast}::cast")
                added.append(self.casts[cast])
            node.input[index] = cast
        return added

    def _give_back(self, node: NodeProto, index: int) -> NodeProto:
        """A cast that keeps an output of the graph fp32."""
        name = node.output[index]
        node.output[index] = f"{name}::{self.precision}"
        self.half.remove(name)
        self.half.add(node.output[index])
        return helper.make_node("Cast", [node.output[index]], [name], to=TensorProto.FLOAT, name=f"{name}::cast")


def _fold_norms(graph: GraphProto) -> None:
    """Conv, BatchNormalization -> Conv of weights w * s, bias (b - mean) * s + shift; s = scale / sqrt(var + eps)."""
    makers = {name: node for node in graph.node for name in node.output}
    users = _users(graph)
    changes: dict[str, list[NodeProto]] = {}
    axes = numpy_helper.from_array(np.array([1, 2, 3], np.int64), "::kernel_axes")
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        conv = makers.get(norm.input[0])
        if conv is None or conv.op_type != "Conv":
            continue
        others = [node for node in users[conv.output[0]] if node.output[0] != norm.output[0]]
        if any(node.op_type != "Shape" for node in others):
            continue
        for node in others:  # the norm's result has the same shape
            node.input[0] = norm.output[0]
        _, scale, shift, mean, variance = norm.input
        eps = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
        name = f"{norm.output[0]}::norm"
        graph.initializer.append(numpy_helper.from_array(np.array(eps, np.float32), f"{name}_eps"))
        steps = [
            ("Add", [variance, f"{name}_eps"], "_variance"),
            ("Sqrt", [f"{name}_variance"], "_deviation"),
            ("Div", [scale, f"{name}_deviation"], "_factor"),
            ("Unsqueeze", [f"{name}_factor", axes.name], "_kernel"),
            ("Mul", [conv.input[1], f"{name}_kernel"], "_weight"),
            ("Sub", [conv.input[2], mean], "_offset") if len(conv.input) > 2 else ("Neg", [mean], "_offset"),
            ("Mul", [f"{name}_offset", f"{name}_factor"], "_moved"),
            ("Add", [f"{name}_moved", shift], "_bias"),
        ]
        folded = [helper.make_node(op, given, [name + end], name=name + end) for op, given, end in steps]
        whole = NodeProto()
        whole.CopyFrom(conv)
        del whole.input[1:], whole.output[:]
        whole.input.extend([f"{name}_weight", f"{name}_bias"])
        whole.output.append(norm.output[0])
        changes |= {conv.output[0]: [*folded, whole], norm.output[0]: []}
    if changes:
        graph.initializer.append(axes)
        replace_nodes(graph, changes)


def _scale_before_attention(graph: GraphProto) -> None:
    """MatMul(q, k) * s -> MatMul(q * s, k): before it is scaled, a product of long vectors may exceed fp16's range."""
    makers = {name: node for node in graph.node for name in node.output}
    users = _users(graph)
    scalars = {t.name for t in graph.initializer if numpy_helper.to_array(t).size == 1}
    scalars |= {n.output[0] for n in graph.node if n.op_type == "Constant" and _size(n) == 1}
    for softmax in [node for node in graph.node if node.op_type == "Softmax"]:
        scaled = makers.get(softmax.input[0])
        if scaled is None or scaled.op_type != "Mul" or len(users[scaled.output[0]]) != 1:
            continue
        product = makers.get(scaled.input[0])
        if product is None or product.op_type != "MatMul" or scaled.input[1] not in scalars:
            continue
        if len(users[product.output[0]]) == 1:
            query, key, result = product.input[0], product.input[1], scaled.output[0]
            early = f"{query}::scaled"
            before = helper.make_node("Mul", [query, scaled.input[1]], [early], name=early)
            after = helper.make_node("MatMul", [early, key], [result], name=product.name)
            replace_nodes(graph, {product.output[0]: [], result: [before, after]})


def _raise_opset(model: onnx.ModelProto) -> None:
    """Raise the opset to 22, the first with bf16 convolutions; the other operators mean the same as in 20."""
    for opset in model.opset_import:
        if opset.domain == "":
            opset.version = _BF16_OPSET


def _users(graph: GraphProto) -> dict[str, list[NodeProto]]:
    """The nodes that read each tensor."""
    found: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def _size(constant: NodeProto) -> int:
    value = helper.get_attribute_value(constant.attribute[0])
    return int(numpy_helper.to_array(value).size) if isinstance(value, TensorProto) else 1
