"""One interface over ONNX Runtime and OpenVINO: the three graphs of a repository, ready to run.

The ONNX files have dynamic shapes. OpenVINO is much faster with static ones, so it gets one compiled model for each
canvas and for each bucket of people, compiled when first needed and cached on disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.card import CARD
from parsing_rcnn.ensembles import MAPS
from parsing_rcnn.errors import BrokenModel, EngineUnavailable, InvalidOptions
from parsing_rcnn.inference.compiled import Graph, OpenVinoGraph, OrtGraph, has_bf16, onnx_runtime, openvino_core
from parsing_rcnn.inference.contention import THREADS, Contention
from parsing_rcnn.inference.cores import has_amx, has_avx2, has_vnni, usable_cores, visible_cores
from parsing_rcnn.repository import GRAPHS, ModelRepository

# Seven people are computed as four, two and one. On CPUs that is as fast as all at once, and wastes no row. Every
# further size would occupy memory for good (100 MB for 8 people, 2 GB for 64).
PEOPLE_BUCKETS = (1, 2, 4)
RUNTIMES = ("auto", "openvino", "onnxruntime")
PRECISIONS = ("auto", "fp32", "bf16", "int8")
DETECTOR_OUTPUTS = ("BOXES", "SCORES", "COUNT", "ROI_FEATURES")
DENSEPOSE_OUTPUTS = MAPS["densepose"]


def people_buckets(card: Mapping[str, Any]) -> tuple[int, ...]:
    """The numbers of people for which OpenVINO's heads are compiled: those of the model card, else `PEOPLE_BUCKETS`."""
    return tuple(int(people) for people in card.get("people_buckets", PEOPLE_BUCKETS))


def parsing_outputs(*, probabilities: bool) -> tuple[str, ...]:
    """Names of the parsing head's outputs. Probabilities of the parts are large, so they come on request only."""
    return (*MAPS["parsing"], "PART_PROBS") if probabilities else MAPS["parsing"]


class Graphs(Protocol):
    """Detector and heads of one model, on whatever runs them. Thread-safe."""

    def detector(self, canvas: NDArray[np.uint8], limits: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """CANVAS uint8 [H,W,3], LIMITS fp32 [2] -> BOXES, SCORES, COUNT, ROI_FEATURES (at least one row)."""
        ...

    def parsing(self, features: NDArray[np.float32], *, probabilities: bool) -> dict[str, NDArray[Any]]:
        """ROI_FEATURES [n,C,32,32] -> PARTS, PART_SCORES and, on request, PART_PROBS."""
        ...

    def densepose(self, features: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """ROI_FEATURES [n,C,32,32] -> IUV, IUV_SCORES."""
        ...


def no_int8(repository: ModelRepository) -> str | None:
    """Why this CPU cannot run the INT8 graphs of this repository, and what to do; None if it can."""
    if not repository.quantised:
        return "no graph of this repository has it; `parsing-rcnn quantize` adds that"
    if repository.quantised_for != "cpu":
        return "this repository's is TensorRT's; `parsing-rcnn quantize` makes a CPU's"
    if has_vnni():
        return None
    if not has_avx2():
        return "no AVX2 was found here, without which it is slower than fp32; use auto"
    if repository.weight_bits > 7:  # 2 * 255 * 64 is less than 2^15
        return (
            "no VNNI was found here, without which products of INT8 overflow where weights have 8 bits; use auto, or "
            "`parsing-rcnn quantize`, which gives them 7"
        )
    return None


class Runtime:
    """The detector and the heads of one repository.

    Args:
        repository: the model files.
        kind: "openvino", "onnxruntime" or "auto" (OpenVINO where it is installed, unless ONNX Runtime has CUDA).
        precision: "fp32", "bf16", "int8" or "auto". On OpenVINO, "auto" is bf16 where the CPU has AMX, else INT8 where
            the repository has it and the CPU can run it (`no_int8`), else bf16 where the CPU has that; else fp32.
        threads: of one inference. None: as many as there are usable cores (`usable_cores`); on OpenVINO, half of them
            while another inference runs.
        graphs: names of the graphs that will be run.
        contention: tells whether other inferences run at the same time.

    Raises:
        EngineUnavailable: no runtime is installed, or two that exclude each other are.
        InvalidOptions: an unknown kind or precision, or a precision that the runtime lacks.
    """

    def __init__(
        self,
        repository: ModelRepository,
        kind: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        *,
        graphs: Sequence[str] = GRAPHS,
        contention: Contention = THREADS,
    ) -> None:
        _refuse_two_onnxruntimes()
        if kind not in RUNTIMES:
            raise InvalidOptions(f"runtime {kind!r}: choose one of {', '.join(RUNTIMES)}")
        if precision not in PRECISIONS:
            raise InvalidOptions(f"precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
        self.repository = repository
        self.threads, self._contention = threads or usable_cores(), contention
        self.kind = _choose() if kind == "auto" else kind
        self._static = self.kind == "openvino"
        self.people_buckets = people_buckets(repository.card)
        if self._static:
            self._open_openvino(precision, graphs)
        else:
            self._open_onnxruntime(precision, graphs)

    def _open_openvino(self, precision: str, graphs: Sequence[str]) -> None:
        core = openvino_core()
        bf16 = has_bf16(core)
        if precision == "bf16" and not bf16:
            raise InvalidOptions("precision bf16: this CPU does not compute in it; use fp32 or auto")
        if precision == "int8":
            self._check_int8()
        if precision == "auto":
            fast = no_int8(self.repository) is None and not (bf16 and has_amx())
            precision = "int8" if fast else "bf16" if bf16 else "fp32"
        self.precision = precision
        self.name = f"openvino {version('openvino')} {self._named()}"
        self._graphs: dict[str, Graph] = {}
        alone, beside = self._shares()
        for name in graphs:
            file = self.repository.graph(name, self.precision)
            model = self.repository.read(file)
            self._graphs[name] = OpenVinoGraph(_short(file), model, core, self._contention, alone=alone, beside=beside)

    def _shares(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """OpenVINO's properties for an inference alone, and for one beside others.

        Two inferences on half of the cores each have a higher throughput than two on all cores, and the same results.
        """
        alone = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            # pinning takes the first cores, which other processes would take, too
            "ENABLE_CPU_PINNING": self.threads >= visible_cores(),
        }
        cache = cache_folder()
        if cache is not None:
            alone["CACHE_DIR"] = str(cache)
        if not 1 < self.threads >= usable_cores():
            return alone, alone
        half = {"NUM_STREAMS": 2} if self._contention.concurrent else {"INFERENCE_NUM_THREADS": (self.threads + 1) // 2}
        return alone, alone | {"ENABLE_CPU_PINNING": False} | half

    def _open_onnxruntime(self, precision: str, graphs: Sequence[str]) -> None:
        onnxruntime = onnx_runtime()
        if precision == "bf16":
            raise InvalidOptions("precision bf16: ONNX Runtime runs these graphs in fp32; use openvino for bf16")
        if precision == "int8":
            self._check_int8()
        self.precision = "fp32" if precision == "auto" else precision
        self.name = f"onnxruntime {onnxruntime.__version__} {self._named()}"
        files = {name: self.repository.graph(name, self.precision) for name in graphs}
        self._graphs = {
            name: OrtGraph(_short(file), self.repository.read(file), self.threads) for name, file in files.items()
        }

    def _check_int8(self) -> None:
        reason = no_int8(self.repository)
        if reason is not None:
            raise InvalidOptions(f"precision int8: {reason}")

    def _named(self) -> str:
        """The precision; if only some graphs have it, with their names."""
        some = self.repository.quantised
        return f"int8 {', '.join(some)}" if self.precision == "int8" and len(some) < len(GRAPHS) else self.precision

    def detector(self, canvas: NDArray[np.uint8], limits: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """See `Graphs`."""
        return self._graphs["detector"].run({"CANVAS": canvas, "LIMITS": limits}, DETECTOR_OUTPUTS)

    def parsing(self, features: NDArray[np.float32], *, probabilities: bool) -> dict[str, NDArray[Any]]:
        """See `Graphs`.

        Raises:
            BrokenModel: its classes are not as many as those of the card's taxonomy.
        """
        found = self._head("parsing", features, parsing_outputs(probabilities=probabilities))
        taxonomy, classes = self.repository.taxonomy, found["PART_SCORES"].shape[-1]
        if classes != len(taxonomy):
            reason = f"its parts have {classes} classes; {taxonomy.name}, the taxonomy of {CARD}, has {len(taxonomy)}"
            raise BrokenModel(_short(self.repository.graph("parsing", self.precision)), reason)
        return found

    def densepose(self, features: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """See `Graphs`."""
        return self._head("densepose_head", features, DENSEPOSE_OUTPUTS)

    def every_size(self, row: Sequence[int]) -> Iterator[NDArray[np.float32]]:
        """ROI_FEATURES of zeros [n,*row] for each number of people for which OpenVINO's heads are compiled."""
        for people in self.people_buckets:
            yield np.zeros((people, *row), np.float32)

    def _head(self, name: str, features: NDArray[np.float32], outputs: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        run = self._graphs[name].run
        if not self._static:
            return run({"ROI_FEATURES": features}, outputs)
        pieces, done = [], 0
        while done < len(features):
            size = max(b for b in self.people_buckets if b <= len(features) - done)
            pieces.append(run({"ROI_FEATURES": features[done : done + size]}, outputs))
            done += size
        return pieces[0] if len(pieces) == 1 else {k: np.concatenate([p[k] for p in pieces]) for k in outputs}


def cache_folder() -> Path | None:
    """Where compiled models are kept: PARSING_RCNN_CACHE, else the user's cache folder; None if it is not writable."""
    given = os.environ.get("PARSING_RCNN_CACHE", "")
    path = Path(os.path.expanduser(given or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/parsing-rcnn"))
    if not path.is_absolute() and (not given or given.startswith("~")):
        return None  # a user without a home, as in a container, would get a folder named ~ in the current one
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return path if os.access(path, os.W_OK) else None


def _short(file: Path) -> str:
    """The last parts of a path, as in parsing/1/model.onnx. Clients read errors, and must not see whole paths."""
    return "/".join(file.parts[-3:])


def _choose() -> str:
    if find_spec("openvino") is None or (
        _may_have_cuda() and "CUDAExecutionProvider" in onnx_runtime().get_available_providers()
    ):
        return "onnxruntime"
    return "openvino"


def _may_have_cuda() -> bool:
    """Whether ONNX Runtime is installed with CUDA, judged by its files: importing it would take memory and time."""
    found = find_spec("onnxruntime")
    if found is None or found.origin is None:
        return False
    return any((Path(found.origin).parent / "capi").glob("*onnxruntime_providers_cuda*"))


def _refuse_two_onnxruntimes() -> None:
    def installed(name: str) -> bool:
        try:
            version(name)
        except PackageNotFoundError:
            return False
        return True

    if installed("onnxruntime") and installed("onnxruntime-gpu"):
        raise EngineUnavailable(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other: "
            "pip uninstall onnxruntime onnxruntime-gpu, then install the one that you want"
        )
