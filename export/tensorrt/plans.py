"""What TensorRT's builder needs of a repository: graphs of its own, and the shapes that engines are made for."""

from __future__ import annotations

from pathlib import Path

import onnx

from export.files import save_graph
from export.plugin.node import DOMAIN
from export.tensorrt.builder import GRAPH, Plan
from export.tensorrt.graph import for_tensorrt
from export.tensorrt.profiles import canvas_profiles, engine_buckets, people_profiles
from parsing_rcnn.limits import MAX_PEOPLE
from parsing_rcnn.models import all_canvases
from parsing_rcnn.repository import GRAPHS, ModelRepository


def write_plans(path: Path, precision: str = "fp32") -> list[Plan]:
    """Write `model.tensorrt.onnx` beside each `model.onnx`, and return how to build the engines.

    Args:
        path: of a repository.
        precision: see `ModelRepository.graph`.

    Raises:
        TensorRTGraphError, PluginNodeError: see `for_tensorrt`.
    """
    repository = ModelRepository.open(path)
    card = repository.card
    proposals = int(card["recipe"]["model"]["rpn"]["proposals_test"])
    people = int(card.get("static_people") or card.get("max_people", MAX_PEOPLE))
    plans = []
    for name in GRAPHS:
        source = repository.graph(name, precision)
        folder = source.parent
        graph = for_tensorrt(onnx.load(source), proposals=proposals, people=people)
        save_graph(graph, folder / GRAPH)
        if name == "detector":
            profiles = canvas_profiles(all_canvases(card))
        else:
            (features,) = graph.graph.input
            channels, size, _ = (d.dim_value for d in features.type.tensor_type.shape.dim[1:])
            profiles = people_profiles(engine_buckets(card), (channels, size, size))
        plans.append(Plan(name, folder, profiles, any(o.domain == DOMAIN for o in graph.opset_import)))
    return plans
