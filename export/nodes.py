"""Changes the nodes of ONNX graphs, in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from onnx import GraphProto, NodeProto


def set_nodes(graph: GraphProto, nodes: Iterable[NodeProto]) -> None:
    """Give a graph these nodes instead of its own; they may be among those."""
    kept = list(nodes)
    del graph.node[:]
    graph.node.extend(kept)


def replace_nodes(graph: GraphProto, changes: Mapping[str, Sequence[NodeProto]]) -> None:
    """Replace nodes: name of a node's first output -> the nodes that take its place."""
    set_nodes(graph, (new for node in graph.node for new in _instead(node, changes)))


def _instead(node: NodeProto, changes: Mapping[str, Sequence[NodeProto]]) -> Sequence[NodeProto]:
    return changes.get(node.output[0], [node]) if node.output else [node]
