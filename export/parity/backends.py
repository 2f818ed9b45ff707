"""Everything on this machine that can run a repository's graphs, torch first: what the parity report compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.graphs import DensePoseGraph, DetectorGraph, ParsingGraph
from export.named_graphs import NamedGraphs
from export.parity.comparison import Tolerance
from export.tensorrt.runtime import TensorRtGraphs, unavailable
from parsing_rcnn.inference.compiled import has_bf16, openvino_core
from parsing_rcnn.repository import ModelRepository
from parsing_rcnn.runtime import Graphs, Runtime, no_int8
from training.model.parsing_rcnn import ParsingRCNN

TOLERANCES = {
    "fp32": Tolerance(unmatched=0.0, box=0.1, box_median=0.1, score=1e-3, parts=0.999),
    # a reduced precision may change single people a lot: a label flips where two classes are equally likely, and a box
    # jumps where another proposal wins
    "fp16": Tolerance(unmatched=0.05, box=np.inf, box_median=0.5, score=0.05, parts=0.99),
    "bf16": Tolerance(unmatched=0.25, box=np.inf, box_median=3.0, score=0.30, parts=0.90),
    "int8": Tolerance(unmatched=0.25, box=np.inf, box_median=3.0, score=0.30, parts=0.90),
}
MIOU_TOLERANCES = {"fp32": 0.0005, "fp16": 0.002, "bf16": 0.005, "int8": 0.005}


@dataclass(frozen=True)
class Backend:
    """One runtime in one precision.

    Attributes:
        name: of the runtime, with its version.
        precision: a key of `TOLERANCES`.
        graphs: what runs.
        takes: whether its detector takes canvases of a shape (H, W, 3); a TensorRT engine takes those of its profiles.
    """

    name: str
    precision: str
    graphs: Graphs
    takes: Callable[[tuple[int, ...]], bool] = lambda _: True


class EagerGraphs(NamedGraphs):
    """The three graphs as they are exported, but in eager torch, fp32, on the CPU: the reference."""

    def __init__(self, model: ParsingRCNN) -> None:
        self._modules = {
            "detector": DetectorGraph(model).eval(),
            "parsing": ParsingGraph(model).eval(),
            "densepose_head": DensePoseGraph(model).eval(),
        }

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]], outputs: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        """See `NamedGraphs`; `outputs` are the first ones of the module, in its order."""
        with torch.inference_mode():
            answer = self._modules[graph](*(torch.from_numpy(value) for value in inputs.values()))
        return {name: value.numpy() for name, value in zip(outputs, answer, strict=False)}


def open_backends(model: ParsingRCNN, repositories: Sequence[ModelRepository]) -> tuple[list[Backend], dict[str, str]]:
    """Torch, then every installed runtime in every precision of every repository.

    Returns:
        the backends, each with a name of its own; and what is absent -> why.
    """
    backends = [Backend(f"torch {torch.__version__.split('+')[0]} fp32", "fp32", EagerGraphs(model))]
    absent: dict[str, str] = {}
    for repository in repositories:
        held = precision_of(repository)
        opened = (
            *_onnxruntime(repository, held, absent),
            *_openvino(repository, held, absent),
            *_tensorrt(repository, absent),
        )
        taken = {backend.name for backend in backends}
        for backend in opened:  # answers are kept by name
            name = f"{backend.name} of {repository.path}" if backend.name in taken else backend.name
            backends.append(replace(backend, name=name))
    return backends, absent


def _onnxruntime(repository: ModelRepository, held: str, absent: dict[str, str]) -> list[Backend]:
    if find_spec("onnxruntime") is None:
        absent["onnxruntime"] = "not installed"
        return []
    runtime = Runtime(repository, "onnxruntime")
    return [Backend(_named(runtime.name, held), held, runtime)]


def _openvino(repository: ModelRepository, held: str, absent: dict[str, str]) -> list[Backend]:
    if find_spec("openvino") is None:
        absent["openvino"] = "not installed"
        return []
    precisions = ["fp32"]
    if has_bf16(openvino_core()):
        precisions.append("bf16")
    else:
        absent["openvino bf16"] = "this CPU does not compute in bf16 (AMX or AVX-512 BF16)"
    if repository.quantised_for == "cpu":
        reason = no_int8(repository)
        if reason is None:
            precisions.append("int8")
        else:
            absent["openvino int8"] = reason
    runtimes = [(precision, Runtime(repository, "openvino", precision)) for precision in precisions]
    # a backend is as coarse as the coarser of what the file holds and what the CPU computes in
    return [
        Backend(_named(runtime.name, held), held if precision == "fp32" else precision, runtime)
        for precision, runtime in runtimes
    ]


def _tensorrt(repository: ModelRepository, absent: dict[str, str]) -> list[Backend]:
    built = _engines_of(repository)
    reason = unavailable(repository)
    if reason is None:
        try:
            engines = TensorRtGraphs(repository)
        except RuntimeError as error:  # built by another TensorRT, or for another GPU
            reason = str(error)
        else:
            return [Backend(_named(engines.name, built), built, engines, engines.takes)]
    absent[f"tensorrt {built}"] = reason
    return []


def precision_of(repository: ModelRepository) -> str:
    """The precision of a repository's `model.onnx`, from its card; fp32 where the card does not say."""
    return str(repository.card.get("precision", "fp32"))


def _engines_of(repository: ModelRepository) -> str:
    """The precision of a repository's engines: INT8 where its card says that `quantize --target tensorrt` made it."""
    return "int8" if repository.quantised_for == "tensorrt" else precision_of(repository)


def _named(name: str, held: str) -> str:
    """The runtime's own name, followed by the precision of the file where the name does not have it."""
    return name if held == "fp32" or held in name else f"{name} ({held} graph)"


def tolerance_of(first: Backend, second: Backend) -> Tolerance:
    """The tolerance of a pair: that of the coarser one where the other is fp32; else the sum of both."""
    a, b = TOLERANCES[first.precision], TOLERANCES[second.precision]
    if "fp32" in (first.precision, second.precision):
        return b if first.precision == "fp32" else a
    return Tolerance(
        a.unmatched + b.unmatched,
        a.box + b.box,
        a.box_median + b.box_median,
        a.score + b.score,
        a.parts + b.parts - 1,
    )
