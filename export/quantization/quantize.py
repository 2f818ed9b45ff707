"""Writes INT8 graphs of an exported repository, calibrated on photos.

    parsing-rcnn quantize --calibrate PHOTOS --data DATA --out int8

`model.int8.onnx` beside each `model.onnx` holds Q/DQ pairs (`export.quantization.qdq`) and is named in the card. On
CPUs `parsing_rcnn.runtime` reads it. TensorRT needs other pairs (--target tensorrt), rewritten by
`export.tensorrt.graph`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from export.card import file_entry
from export.files import save_graph
from export.onnx import MADE, remove_made
from export.quantization.calibration import Calibration, CalibrationError, calibrate, find_photos
from export.quantization.qdq import WEIGHT_BITS, Activations, Ranged, measure_ranges, quantise
from parsing_rcnn.inference.cores import usable_cores
from parsing_rcnn.repository import CARD, GRAPHS, ModelRepository
from parsing_rcnn.runtime import Runtime
from training.files import make_folder, write_text, writing
from training.progress import Progress

QUANTISED_FILE = "model.int8.onnx"


@dataclass(frozen=True)
class Request:
    """What to quantise, and with what.

    Attributes:
        source: an fp32 repository.
        out: the repository to write, a copy of `source` with INT8 graphs added; may be `source` itself.
        photos: folders of photos to calibrate on.
        count: how many photos of each folder.
        excluded: names of photos that must not calibrate, because models are measured on them. twins: names of others
            that show the same (`export.quantization.calibration.find_photos`).
        graphs: names of those to quantise; the others stay in fp32 only.
        keep: parts of the network that stay in fp32, as "detector backbone.stem"; the sensitivity report lists them.
        activations: "uint8" for CPUs, "int8" for TensorRT.
        threads: of one inference; None: one for each usable core.
    """

    source: ModelRepository
    out: Path
    photos: tuple[Path, ...]
    count: int = 64
    excluded: tuple[str, ...] = ()
    twins: tuple[str, ...] = ()
    graphs: tuple[str, ...] = GRAPHS
    keep: tuple[str, ...] = ()
    activations: Activations = "uint8"
    threads: int | None = None


@dataclass(frozen=True)
class Quantised:
    """What was written.

    Attributes:
        repository: opened at `Request.out`.
        ranged: graph -> the measured ranges that it was quantised with.
        chosen: graph -> its parts in INT8.
        calibration: what the graphs were fed.
    """

    repository: ModelRepository
    ranged: dict[str, Ranged]
    chosen: dict[str, tuple[str, ...]]
    calibration: Calibration


def quantise_repository(request: Request, progress: Progress) -> Quantised:
    """Write the repository: its INT8 graphs, the card that names them, and everything that the source has.

    Raises:
        CalibrationError: the photos do not serve, or an option names no graph or part of one.
        OutputError: a file cannot be written.
    """
    source, out = request.source, request.out
    unknown = [name for name in request.graphs if name not in GRAPHS]
    if unknown:
        raise CalibrationError(f"--graph {unknown[0]}: choose from {', '.join(GRAPHS)}")
    precision = source.card.get("precision", "fp32")
    if precision != "fp32":
        raise CalibrationError(
            f"{source.path} computes in {precision}: export the weights in fp32 (parsing-rcnn export --precision fp32) "
            "and quantise that"
        )
    photos = [
        path
        for folder in request.photos
        for path in find_photos(folder, request.count, request.excluded, request.twins)
    ]
    make_folder(out)  # before the work
    # ONNX Runtime compiles nothing for a new size: quicker here, where every size comes once
    calibration = calibrate(source, Runtime(source, "onnxruntime", "fp32", request.threads), photos)
    ranged = {
        name: measure_ranges(source.graph(name), calibration.inputs(name))
        for name in progress(request.graphs, "calibration")
    }
    chosen = _chosen(ranged, request.keep)
    graphs = {
        name: quantise(ranged[name], chosen[name], request.activations)
        for name in progress(request.graphs, "quantisation")
    }
    # not before all graphs are made: from here until the card is written, a repository at `out` cannot be opened
    _copy(source.path, out, MADE if request.activations == "int8" else (QUANTISED_FILE,))
    written = {name: out / name / "1" / QUANTISED_FILE for name in graphs}
    for name, graph in graphs.items():
        save_graph(graph, written[name])
    card = {
        **source.card,
        "quantization": {
            "bits": 8,
            "weight_bits": WEIGHT_BITS[request.activations],
            "activations": request.activations,
            "photos": len(calibration.photos),
            "people": calibration.people,
            "groups": {name: list(groups) for name, groups in chosen.items()},
            "files": {name: file_entry(out, path) for name, path in written.items()},
        },
    }
    write_text(out / CARD, json.dumps(card, indent=1) + "\n")
    return Quantised(ModelRepository.open(out), ranged, chosen, calibration)


def _chosen(ranged: dict[str, Ranged], keep: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Graph -> its parts that are quantised: all but those to keep."""
    every = {name: tuple(dict.fromkeys(measured.groups.values())) for name, measured in ranged.items()}
    known = {f"{name} {group}" for name, groups in every.items() for group in groups}
    for item in keep:
        if item not in known:
            raise CalibrationError(f"--keep {item!r}: no such part; choose from {', '.join(sorted(known))}")
    return {name: tuple(group for group in groups if f"{name} {group}" not in keep) for name, groups in every.items()}


def _copy(source: Path, out: Path, made: Sequence[str]) -> None:
    """Copy the whole repository but for what is made anew: INT8 graphs and what TensorRT reads of them.

    Compiled files of Triton's Python models stay behind, too: a server writes them beside the models that it runs.
    """
    if out.resolve() != source.resolve():
        with writing(out):
            shutil.copytree(source, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", *made))
    for name in GRAPHS:
        remove_made(out / name / "1", made)


def threads_of(request: Request) -> int:
    """Threads of one inference: those asked for, else one for each usable core."""
    return request.threads or usable_cores()
