"""An exported repository in INT8: calibrated on photos, measured part by part, shipped only where it is worth it.

    parsing-rcnn quantize --calibrate PHOTOS --data DATA --out int8

ONNX files hold Q/DQ pairs (`export.qdq`: ONNX Runtime; TensorRT through `export.tensorrt_graph`, --target tensorrt);
beside them lie OpenVINO's own INT8 files (`export.openvino_int8`: CPUs), which `parsing_rcnn.runtime` reads where the
card names them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from export.calibration import Calibration, CalibrationError, calibrate, find_photos
from export.openvino_int8 import quantise_openvino
from export.qdq import Ranged, measure_ranges, quantise
from parsing_rcnn.cores import usable_cores
from parsing_rcnn.repository import CARD, GRAPHS, ModelRepository
from parsing_rcnn.runtime import Runtime

Progress = Callable[[Sequence[Any], str], Iterable[Any]]


@dataclass(frozen=True)
class Request:
    """What to quantise, and with what.

    Attributes:
        source: an fp32 repository. out: the repository to write, a folder that is not `source`.
        photos, count: the folder to calibrate on, and how many of its photos.
        excluded: names of photos that must not calibrate.
        graphs: those to quantise; the others are taken over as they are.
        keep: parts of the network that stay in fp32 (see the sensitivity report), as "detector backbone.stem".
        openvino: write OpenVINO's INT8 files too.
        threads: of one inference; None: as many as it may keep busy (`usable_cores`).
    """

    source: ModelRepository
    out: Path
    photos: Path
    count: int = 64
    excluded: tuple[str, ...] = ()
    graphs: tuple[str, ...] = GRAPHS
    keep: tuple[str, ...] = ()
    openvino: bool = True
    threads: int | None = None


@dataclass(frozen=True)
class Quantised:
    """What was written.

    Attributes:
        repository: at `Request.out`. ranged: of each quantised graph, for the sensitivity report.
        chosen: graph -> parts of the network in INT8. calibration: what it was fed.
    """

    repository: ModelRepository
    ranged: dict[str, Ranged]
    chosen: dict[str, tuple[str, ...]]
    calibration: Calibration


def quantise_repository(request: Request, progress: Progress) -> Quantised:
    """Write the INT8 repository: graphs, OpenVINO's files, card, and Triton's files of the source.

    Raises:
        CalibrationError: the photos do not serve, or an option names no graph or part of one.
        EngineUnavailable: openvino or nncf is not installed and `Request.openvino` asks for them.
    """
    source, out = request.source, request.out
    if source.quantised:
        raise CalibrationError(f"{source.path}: is in INT8 already; quantise the fp32 repository that it came from")
    if out.resolve() == source.path.resolve():
        raise CalibrationError(f"--out {out}: is the repository that is read; write the INT8 graphs to another folder")
    unknown = [name for name in request.graphs if name not in GRAPHS]
    if unknown:
        raise CalibrationError(f"--graph {unknown[0]}: choose from {', '.join(GRAPHS)}")
    photos = find_photos(request.photos, request.count, request.excluded)
    # ONNX Runtime takes any size without compiling for it: quicker here, where every size comes once
    calibration = calibrate(source, Runtime(source, "onnxruntime", "fp32", request.threads), photos)
    ranged = {
        name: measure_ranges(source.graph(name), calibration.inputs(name))
        for name in progress(request.graphs, "calibration")
    }
    chosen = _chosen(ranged, request.keep)
    _copy(source.path, out)
    openvino = {}
    for name in progress(request.graphs, "quantisation"):
        proto, path = quantise(ranged[name], chosen[name]), out / name / "1" / "model.onnx"
        onnx.save(proto, path)
        if request.openvino:
            own = path.with_suffix(".xml")
            quantise_openvino(source.graph(name), calibration.inputs(name), ranged[name].groups, chosen[name], own)
            openvino[name] = own
    _write_card(source, out, calibration, chosen, openvino)
    return Quantised(ModelRepository.open(out), ranged, chosen, calibration)


def _chosen(ranged: dict[str, Ranged], keep: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Parts of each graph that are quantised."""
    every = {name: tuple(dict.fromkeys(own.groups.values())) for name, own in ranged.items()}
    known = {f"{name} {group}" for name, groups in every.items() for group in groups}
    for item in keep:
        if item not in known:
            raise CalibrationError(f"--keep {item!r}: no such part; choose from {', '.join(sorted(known))}")
    return {name: tuple(group for group in groups if f"{name} {group}" not in keep) for name, groups in every.items()}


def _copy(source: Path, out: Path) -> None:
    """The whole repository but for what other runtimes made of the old graphs."""
    made = ("model.xml", "model.bin", "*.plan", "model.tensorrt.onnx")
    shutil.copytree(source, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*made))
    for stale in (path for pattern in made for path in out.rglob(pattern)):
        stale.unlink()


def _write_card(
    source: ModelRepository,
    out: Path,
    calibration: Calibration,
    chosen: dict[str, tuple[str, ...]],
    openvino: dict[str, Path],
) -> None:
    card = {
        **source.card,
        "files": {name: _described(out, out / name / "1" / "model.onnx") for name in GRAPHS},
        "quantization": {
            "bits": 8,
            "photos": len(calibration.photos),
            "people": calibration.people,
            "groups": {name: list(groups) for name, groups in chosen.items()},
            "openvino": {name: _described(out, path) for name, path in openvino.items()},
        },
    }
    (out / CARD).write_text(json.dumps(card, indent=1) + "\n")


def _described(out: Path, path: Path) -> dict[str, Any]:
    """A file for the card; of OpenVINO's pair, the sizes of both and the sum of the weights."""
    weights = path.with_suffix(".bin") if path.suffix == ".xml" else path
    size = path.stat().st_size + (weights.stat().st_size if weights != path else 0)
    return {
        "file": str(path.relative_to(out)),
        "bytes": size,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }


def threads_of(request: Request) -> int:
    """Threads of one inference."""
    return request.threads or usable_cores()
