"""A typed graph as an fp32 graph that rounds every tensor to the type it would have.

ONNX Runtime's CPU computes fp16 nodes in fp32 and drops the roundings between them, and knows no bf16 at all; with
casts there and back behind every node it shows what hardware of that type gives, which adds up in fp32 too.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def lower_tensors(model: onnx.ModelProto, precision: str) -> set[str]:
    """Names of the tensors, stored or computed, that have the lower type."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    kind = TYPES[precision]
    found = {v.name for v in (*graph.value_info, *graph.output) if v.type.tensor_type.elem_type == kind}
    return found | {t.name for t in graph.initializer if t.data_type == kind}


def simulate(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """The graph of `to_precision` with fp32 nodes and explicit roundings."""
    lower, kind = lower_tensors(model, precision), TYPES[precision]
    result = onnx.ModelProto()
    result.CopyFrom(model)
    stored = {t.name: t for t in result.graph.initializer}
    nodes: list[NodeProto] = []
    for name, tensor in stored.items():
        if name in lower:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), name))
    for node in result.graph.node:
        target = next((a for a in node.attribute if node.op_type == "Cast" and a.name == "to" and a.i == kind), None)
        if target is not None:
            target.i = TensorProto.FLOAT
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name in lower:
                node.output[index] = f"{name}::exact"
                nodes.append(helper.make_node("Cast", [node.output[index]], [f"{name}::rounded"], to=kind))
                nodes.append(helper.make_node("Cast", [f"{name}::rounded"], [name], to=TensorProto.FLOAT))
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    for opset in result.opset_import:
        opset.version = 20
    onnx.checker.check_model(result, full_check=True)
    return result
