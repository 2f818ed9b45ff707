"""How much each part of the network suffers from INT8: it alone in INT8, the rest in fp32, compared with all fp32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from export.memory_graphs import MemoryGraphs
from export.parity.comparison import Difference, answers, compare
from export.quantization.calibration import LIMITS
from export.quantization.qdq import Activations, Ranged, quantise
from training.progress import Progress


@dataclass(frozen=True)
class GroupError:
    """How the answers change where one part of the network alone is in INT8.

    Attributes:
        graph: detector, parsing or densepose_head.
        group: the part; "all" is the whole graph.
        layers: its number of convolutions and fully connected layers.
        difference: from fp32, over all pictures.
    """

    graph: str
    group: str
    layers: int
    difference: Difference


class _Mixed:
    """`Graphs` of which one comes from `changed` and the others from `rest`."""

    def __init__(self, changed: MemoryGraphs, name: str, rest: MemoryGraphs) -> None:
        by_name = {"detector": rest, "parsing": rest, "densepose_head": rest, name: changed}
        self.detector = by_name["detector"].detector
        self.parsing = by_name["parsing"].parsing
        self.densepose = by_name["densepose_head"].densepose


def measure_sensitivity(
    ranged: Mapping[str, Ranged],
    plain: Mapping[str, onnx.ModelProto],
    canvases: Sequence[NDArray[np.uint8]],
    threads: int,
    progress: Progress,
    activations: Activations = "uint8",
) -> list[GroupError]:
    """The error of every part of every graph of `ranged`, and of each of these graphs as a whole, worst parts first.

    Args:
        ranged: graph -> its measured ranges.
        plain: all three graphs in fp32.
        canvases: pictures that did not calibrate.
        threads: of one inference.
        activations: see `export.quantization.quantize.Request`.
    """
    exact = MemoryGraphs(plain, threads)
    reference = answers(exact, canvases, LIMITS)
    jobs = [(graph, group) for graph in ranged for group in ("all", *dict.fromkeys(ranged[graph].groups.values()))]
    errors = []
    for graph, group in progress(jobs, "sensitivity"):
        groups = ranged[graph].groups
        chosen = set(groups.values()) if group == "all" else {group}
        changed = MemoryGraphs({graph: quantise(ranged[graph], sorted(chosen), activations)}, threads)
        found = answers(_Mixed(changed, graph, exact), canvases, LIMITS)
        layers = sum(name in chosen for name in groups.values())
        errors.append(GroupError(graph, group, layers, compare(reference, found)))
    order = list(ranged)
    return sorted(errors, key=lambda e: (order.index(e.graph), e.group != "all", e.difference.parts))
