"""Everything here that can run a repository's graphs, torch first: what the parity report holds against each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.graphs import DensePoseGraph, DetectorGraph, ParsingGraph
from export.parity.comparison import Tolerance
from export.tensorrt.runtime import TensorRtGraphs, unavailable
from parsing_rcnn.inference.compiled import openvino_core
from parsing_rcnn.repository import ModelRepository
from parsing_rcnn.runtime import Graphs, Runtime, no_int8
from training.model.parsing_rcnn import ParsingRCNN

TOLERANCES = {
    "fp32": Tolerance(unmatched=0.0, box=0.1, box_median=0.1, score=1e-3, parts=0.999),
    # of single people a reduced precision may move much: a label flips where two classes are as likely, and a box
    # changes where another proposal wins
    "fp16": Tolerance(unmatched=0.05, box=np.inf, box_median=0.5, score=0.05, parts=0.99),
    "bf16": Tolerance(unmatched=0.25, box=np.inf, box_median=3.0, score=0.30, parts=0.90),
    "int8": Tolerance(unmatched=0.25, box=np.inf, box_median=3.0, score=0.30, parts=0.90),
}
MIOU_TOLERANCES = {"fp32": 0.0005, "fp16": 0.002, "bf16": 0.005, "int8": 0.005}


@dataclass(frozen=True)
class Backend:
    """One runtime in one precision.

    Attributes:
        name: with the version. precision: a key of `TOLERANCES`.
        takes: whether its detector takes canvases of (H, W, 3): an engine takes those of its profiles.
    """

    name: str
    precision: str
    graphs: Graphs
    takes: Callable[[tuple[int, ...]], bool] = lambda _: True


class TorchGraphs:
    """The three graphs in eager torch, fp32: the reference. Implements `Graphs`."""

    def __init__(self, model: ParsingRCNN) -> None:
        self._detector = DetectorGraph(model).eval()
        self._parsing = ParsingGraph(model).eval()
        self._densepose = DensePoseGraph(model).eval()

    @torch.inference_mode()
    def detector(self, canvas: NDArray[np.uint8], limits: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """See `Graphs`."""
        found = self._detector(torch.from_numpy(canvas), torch.from_numpy(limits))
        names = ("BOXES", "SCORES", "COUNT", "ROI_FEATURES")
        return {name: value.numpy() for name, value in zip(names, found, strict=True)}

    @torch.inference_mode()
    def parsing(self, features: NDArray[np.float32], *, probabilities: bool) -> dict[str, NDArray[Any]]:
        """See `Graphs`."""
        parts, scores, probs = self._parsing(torch.from_numpy(features))
        found = {"PARTS": parts.numpy(), "PART_SCORES": scores.numpy()}
        return found | ({"PART_PROBS": probs.numpy()} if probabilities else {})

    @torch.inference_mode()
    def densepose(self, features: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """See `Graphs`."""
        iuv, scores = self._densepose(torch.from_numpy(features))
        return {"IUV": iuv.numpy(), "IUV_SCORES": scores.numpy()}


def open_backends(model: ParsingRCNN, repositories: Sequence[ModelRepository]) -> tuple[list[Backend], dict[str, str]]:
    """(torch, then every installed runtime in every precision of every repository; what is absent and why)."""
    backends = [Backend(f"torch {torch.__version__.split('+')[0]} fp32", "fp32", TorchGraphs(model))]
    absent: dict[str, str] = {}
    for repository in repositories:
        held = precision_of(repository)
        own = [*_onnxruntime(repository, held, absent), *_openvino(repository, held, absent)]
        taken = {backend.name for backend in backends}
        for backend in (*own, *_tensorrt(repository, absent)):  # each has a name, and answers, of its own
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
    if "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
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
    # the coarser of what the file holds and what the CPU computes in
    return [Backend(_named(own.name, held), held if p == "fp32" else p, own) for p, own in runtimes]


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
    """Of its `model.onnx`: what the card says, else fp32."""
    return str(repository.card.get("precision", "fp32"))


def _engines_of(repository: ModelRepository) -> str:
    """The precision of its engines: `quantize --target tensorrt` builds those that its card speaks of."""
    return "int8" if repository.quantised_for == "tensorrt" else precision_of(repository)


def _named(name: str, held: str) -> str:
    """The runtime's own name, and the precision of the file where it does not say so."""
    return name if held == "fp32" or held in name else f"{name} ({held} graph)"


def tolerance_of(first: Backend, second: Backend) -> Tolerance:
    """Of a pair: the coarser one's against fp32; two coarse ones may lie apart by the sum of theirs."""
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
