"""Packs a pyramid into one tall map, so that RoIs of all levels are pooled at once, by ONNX's own operators.

The form that is exported pools every RoI on every level and keeps one result: with four levels three quarters of the
work are thrown away. Here the levels are stacked, each with its last row and column repeated (what RoIAlign reads
beyond the last cell is that cell), and each RoI is moved to where its level lies. For boxes within the canvas, as
proposals are, the numbers are the same. The exception is boxes at the right or lower edge that are thinner than a cell
of their level: RoIAlign widens them beyond the edge, where it reads 0; here it reads the last cell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from export.nodes import replace_nodes
from export.plugin.node import Pooling, find_poolings, prune


def pack_levels(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a detector that pools RoIs of several levels from the packed pyramid.

    Raises:
        PluginNodeError: see `export.plugin.node.use_plugin`.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    packed = {p.last.output[0]: _Packed(result, p).nodes for p in find_poolings(result) if len(p.aligns) > 1}
    replace_nodes(result.graph, packed)
    prune(result)
    return result


class _Packed:
    """The nodes that replace one pooling."""

    def __init__(self, model: onnx.ModelProto, pooling: Pooling) -> None:
        self.graph, self.result = model.graph, pooling.last.output[0]
        self.nodes: list[NodeProto] = []
        maps = [align.input[0] for align in pooling.aligns]
        levels = range(pooling.first_level, pooling.first_level + len(maps))
        one = self._constant(np.array([1], np.int64))
        wide = self._add("Shape", maps[0], start=3, end=4)
        heights = [self._add("Add", self._add("Shape", name, start=2, end=3), one) for name in maps]
        tall = self._add("Concat", *(self._padded(name, wide, one) for name in maps), axis=2)

        starts = [self._constant(np.array([0], np.int64))]
        for height in heights[:-1]:
            starts.append(self._add("Add", starts[-1], height))
        rows = self._add("Cast", self._add("Concat", *starts, axis=0), to=onnx.TensorProto.FLOAT)
        scales = self._constant(np.array([0.5**level for level in levels], np.float32))
        first = self._constant(np.array(pooling.first_level, np.float32))
        place = self._add("Cast", self._add("Sub", pooling.level, first), to=onnx.TensorProto.INT64)
        axis = self._constant(np.array([1], np.int64))
        scale, row = (
            self._add("Unsqueeze", self._add("Gather", values, place, axis=0), axis) for values in (scales, rows)
        )
        down = self._add("Mul", row, self._constant(np.array([[0, 1, 0, 1]], np.float32)))
        boxes = self._add("Add", self._add("Mul", pooling.boxes, scale), down)

        align = onnx.NodeProto()
        align.CopyFrom(pooling.aligns[0])
        align.input[:] = [tall, boxes, align.input[2]]
        align.output[:] = [self.result]
        for attribute in align.attribute:
            if attribute.name == "spatial_scale":
                attribute.f = 1.0
        self.nodes.append(align)

    def _padded(self, name: str, wide: str, one: str) -> str:
        """A level padded to one column more than the finest has, and by one row, with its last column and row."""
        missing = self._add("Add", self._add("Sub", wide, self._add("Shape", name, start=3, end=4)), one)
        before = self._constant(np.zeros(6, np.int64))
        return self._add("Pad", name, self._add("Concat", before, one, missing, axis=0), mode="edge")

    def _add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{self.result}::packed{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def _constant(self, value: np.ndarray[Any, Any]) -> str:
        name = f"{self.result}::constant{sum(t.name.startswith(self.result) for t in self.graph.initializer)}"
        self.graph.initializer.append(numpy_helper.from_array(value, name))
        return name
