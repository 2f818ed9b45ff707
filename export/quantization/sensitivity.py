"""Which part of the network bears INT8 how well: one part at a time in INT8, the rest in fp32, against all fp32."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.memory_graphs import MemoryGraphs
from export.parity.comparison import Difference, answers, compare
from export.quantization.calibration import LIMITS
from export.quantization.qdq import Activations, Ranged, quantise

Progress = Callable[[Sequence[Any], str], Iterable[Any]]


@dataclass(frozen=True)
class GroupError:
    """What INT8 of one part of the network alone does to the answers.

    Attributes:
        graph, group: of the part; "all" is everything of the graph. layers: convolutions and fully connected layers.
        difference: from all fp32, over the pictures.
    """

    graph: str
    group: str
    layers: int
    difference: Difference


class _Mixed:
    """Some graphs from here, the others from there: `Graphs`."""

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
    """Errors of every part of every graph of `ranged`, and of each of these graphs as a whole, worst parts first.

    Args:
        plain: all three graphs in fp32. canvases: pictures that did not calibrate.
    """
    exact = MemoryGraphs(plain, threads)
    reference = answers(exact, canvases, LIMITS)
    jobs = [(graph, group) for graph in ranged for group in ("all", *dict.fromkeys(ranged[graph].groups.values()))]
    errors = []
    for graph, group in progress(jobs, "sensitivity"):
        own = ranged[graph].groups
        chosen = set(own.values()) if group == "all" else {group}
        changed = MemoryGraphs({graph: quantise(ranged[graph], sorted(chosen), activations)}, threads)
        found = answers(_Mixed(changed, graph, exact), canvases, LIMITS)
        layers = sum(name in chosen for name in own.values())
        errors.append(GroupError(graph, group, layers, compare(reference, found)))
    order = list(ranged)
    return sorted(errors, key=lambda e: (order.index(e.graph), e.group != "all", e.difference.parts))
