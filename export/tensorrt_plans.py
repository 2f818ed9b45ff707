"""From the graphs of a repository to what TensorRT's builder needs: its own graphs, and shapes to be fast on."""

from __future__ import annotations

import json
from pathlib import Path

import onnx

from export.plugin_node import DOMAIN
from export.tensorrt import GRAPH, Plan
from export.tensorrt_graph import for_tensorrt
from export.tensorrt_profiles import canvas_profiles, canvases, people_buckets, people_profiles
from parsing_rcnn.repository import CARD, GRAPHS
from parsing_rcnn.runtime import MAX_PEOPLE


def write_plans(repository: Path) -> list[Plan]:
    """Write `model.tensorrt.onnx` beside each `model.onnx`, and say how to build its engine.

    Args:
        repository: of `export_repository` or `quantise_repository`.

    Raises:
        TensorRTGraphError, PluginNodeError: see `for_tensorrt`.
    """
    card = json.loads((repository / CARD).read_text(encoding="utf-8"))
    proposals = int(card["recipe"]["model"]["rpn"]["proposals_test"])
    people = int(card.get("static_people") or card.get("max_people", MAX_PEOPLE))
    plans = []
    for name in GRAPHS:
        folder = repository / name / "1"
        graph = for_tensorrt(onnx.load(folder / "model.onnx"), proposals=proposals, people=people)
        onnx.save(graph, folder / GRAPH)
        if name == "detector":
            profiles = canvas_profiles(canvases(card))
        else:
            (features,) = graph.graph.input
            channels, size, _ = (d.dim_value for d in features.type.tensor_type.shape.dim[1:])
            profiles = people_profiles(people_buckets(card), (channels, size, size))
        plans.append(Plan(name, folder, profiles, any(o.domain == DOMAIN for o in graph.opset_import)))
    return plans
