"""The report of `quantize`: sizes, mIoU by part before and after, sensitivity, times, and whether INT8 should ship."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx

from export.memory_graphs import MemoryGraphs
from export.parity.comparison import Difference
from export.quantization.quantize import Quantised
from export.quantization.sensitivity import GroupError
from parsing_rcnn.analyzer import Analyzer, Options
from parsing_rcnn.inference.compiled import has_bf16, openvino_core
from parsing_rcnn.pipeline import GraphPipeline, Pipeline
from parsing_rcnn.repository import GRAPHS, ModelRepository
from parsing_rcnn.runtime import no_int8
from training.evaluation.evaluate import Evaluation, measure_photos
from training.progress import Progress

MOST_LOST = 0.005  # of mIoU: half a point
_ROUNDS = 3


@dataclass(frozen=True)
class Decision:
    """Whether INT8 ships for one runtime, and why; None: not yet, because something was not measured."""

    runtime: str
    ships: bool | None
    reason: str


def decide(runtime: str, lost: float | None, plain_ms: float | None, int8_ms: float | None) -> Decision:
    """The rule: INT8 ships unless it loses more than half a point of mIoU, or is not faster.

    Args:
        runtime: its name, for the report.
        lost: mIoU in fp32 minus mIoU in INT8, as fractions; None: not measured.
        plain_ms: milliseconds a photo in the fastest other precision; None: not measured.
        int8_ms: milliseconds a photo in INT8; None: not measured.
    """
    if lost is None:
        return Decision(runtime, None, "no labelled photos: its mIoU is not known")
    if lost > MOST_LOST:
        return Decision(
            runtime, False, f"mIoU changes by {-100 * lost:+.2f} points: more than {100 * MOST_LOST:.1f} are lost"
        )
    if plain_ms is None or int8_ms is None:
        return Decision(runtime, None, f"mIoU changes by {-100 * lost:+.2f} points; its speed was not measured here")
    if int8_ms >= plain_ms:
        return Decision(runtime, False, f"not faster: {int8_ms:.1f} ms a photo, {plain_ms:.1f} without INT8")
    return Decision(runtime, True, f"mIoU changes by {-100 * lost:+.2f} points; {plain_ms / int8_ms:.2f} times as fast")


def analyzers(source: ModelRepository, quantised: Quantised, threads: int) -> dict[str, Analyzer]:
    """What is compared, by name: fp32, the reference; INT8 as an exact device computes it; INT8 kernels of OpenVINO."""
    fp32 = Pipeline(source.path, runtime="onnxruntime", precision="fp32", threads=threads)
    protos = {name: onnx.load(quantised.repository.graph(name, "int8")) for name in GRAPHS}
    found: dict[str, Analyzer] = {
        "fp32": fp32,
        "int8 exact": GraphPipeline(MemoryGraphs(protos, threads), fp32.info, quantised.repository.taxonomy),
    }
    if find_spec("openvino") is not None and no_int8(quantised.repository) is None:
        found["int8 OpenVINO"] = Pipeline(
            quantised.repository.path, runtime="openvino", precision="int8", threads=threads
        )
    return found


def measure_accuracy(compared: dict[str, Analyzer], data: Path, progress: Progress) -> dict[str, dict[str, Any]]:
    """Figures of the labelled validation photos (`training.evaluation.evaluate`) of each analyzer.

    Raises:
        DatasetError: there are none in `data`.
    """
    figures = {}
    for name, analyzer in compared.items():

        def named(items: Sequence[Any], what: str, name: str = name) -> Any:
            return progress(items, f"{what}, {name}")

        found = measure_photos(analyzer, data, named, Evaluation())
        figures[name] = {key: found[key] for key in ("pictures", "miou", "miou_exact_paste", "person_iou", "iou")}
    return figures


def measure_times(quantised: Quantised, threads: int, progress: Progress) -> dict[str, float]:
    """Milliseconds a photo of every runtime and precision: the median over calibration photos, all stages.

    They take turns, each with several photos in a row.
    """
    path, ways = quantised.repository.path, {}
    int8 = ("int8",) if no_int8(quantised.repository) is None else ()
    if int8 and find_spec("openvino") is not None:
        bf16 = ("bf16",) if has_bf16(openvino_core()) else ()
        for precision in ("fp32", *bf16, *int8):
            ways[f"OpenVINO {precision}"] = Pipeline(path, runtime="openvino", precision=precision, threads=threads)
    for precision in ("fp32", *int8):
        ways[f"ONNX Runtime {precision}"] = Pipeline(path, runtime="onnxruntime", precision=precision, threads=threads)
    times: dict[str, list[float]] = {name: [] for name in ways}
    photos = [path.read_bytes() for path in quantised.calibration.photos[:8]]
    options = Options(max_people=8)
    for turn in progress(range(_ROUNDS + 1), "times"):
        for name, way in ways.items():
            way.analyze(photos[0], options)  # brings its weights back into the processor's caches
            for photo in photos:
                begin = time.perf_counter()
                way.analyze(photo, options)
                if turn:  # the first turn compiles
                    times[name].append(1000 * (time.perf_counter() - begin))
    return {name: statistics.median(values) for name, values in times.items()}


def report(
    source: ModelRepository,
    quantised: Quantised,
    accuracy: dict[str, dict[str, Any]] | None,
    sensitivity: Sequence[GroupError],
    times: dict[str, float] | None,
    command: str,
) -> dict[str, Any]:
    """The whole report as JSON; `command` is the command line that makes it again."""
    card = quantised.repository.card
    sizes = {
        name: {
            "fp32": source.graph(name).stat().st_size,
            "int8": card["quantization"]["files"].get(name, {}).get("bytes"),
        }
        for name in GRAPHS
    }
    return {
        "model": {"name": card["name"], "version": card["version"]},
        "command": command,
        "quantization": {key: card["quantization"][key] for key in ("photos", "people", "activations", "groups")},
        "bytes": sizes,
        "accuracy": accuracy,
        "sensitivity": [asdict(error) for error in sensitivity],
        "times_ms": times,
        "load": round(os.getloadavg()[0], 1),
        "decisions": [asdict(d) for d in _decisions(accuracy, times)],
    }


def _decisions(accuracy: dict[str, dict[str, Any]] | None, times: dict[str, float] | None) -> list[Decision]:
    times = times or {}

    def lost(name: str) -> float | None:
        if accuracy is None or name not in accuracy:
            return None
        return float(accuracy["fp32"]["miou"] - accuracy[name]["miou"])

    plain = min((ms for name, ms in times.items() if name in ("OpenVINO fp32", "OpenVINO bf16")), default=None)
    return [
        decide("OpenVINO on this CPU", lost("int8 OpenVINO"), plain, times.get("OpenVINO int8")),
        decide(
            "ONNX Runtime on this CPU",
            lost("int8 exact"),
            times.get("ONNX Runtime fp32"),
            times.get("ONNX Runtime int8"),
        ),
    ]


def to_markdown(document: dict[str, Any]) -> str:
    """The report as a page."""
    used, model = document["quantization"], document["model"]
    lines = [
        "# INT8",
        "",
        f"Model `{model['name']}` {model['version']}, calibrated on {used['photos']} photos with {used['people']} "
        f"people, none of which is measured on; activations in {used['activations']}. Q/DQ pairs in ONNX files, "
        "measured as they stand, as an exact INT8 device would compute them, and in OpenVINO's INT8 kernels.",
        "",
        f"    {document['command']}",
        "",
        "It is a command of its own, because it takes an exported repository and photos, not a checkpoint. What it "
        "writes is a repository as any other, with `model.int8.onnx` beside each `model.onnx`: `--precision int8` "
        "of every command takes those.",
        "",
        "| graph | fp32, weights in fp16, MB | INT8, MB |",
        "|---|---:|---:|",
    ]
    for name, sizes in document["bytes"].items():
        cells = " | ".join("-" if v is None else f"{v / 1e6:.2f}" for v in sizes.values())
        lines.append(f"| {name} | {cells} |")
    lines += [
        "",
        "## Decision",
        "",
        f"INT8 ships where it loses at most {100 * MOST_LOST:.1f} points of mIoU and is faster than the best precision "
        "that is not INT8 (bf16 where the CPU has it, else fp32).",
        "",
    ]
    for decision in document["decisions"]:
        verdict = {True: "ship INT8", False: "do not ship INT8", None: "not yet"}[decision["ships"]]
        lines.append(f"- {decision['runtime']}: **{verdict}**: {decision['reason']}.")
    lines += ["", *_accuracy(document["accuracy"]), *_times(document), *_sensitivity(document["sensitivity"])]
    return "\n".join(lines)


def _accuracy(accuracy: dict[str, dict[str, Any]] | None) -> list[str]:
    if accuracy is None:
        return ["No labelled photos were given (--data): mIoU before and after is not known.", ""]
    names = list(accuracy)
    lines = [
        f"## Accuracy, {accuracy[names[0]]['pictures']} labelled validation photos",
        "",
        "| | " + " | ".join(f"{name} %" for name in names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    for key, label in (("miou", "mIoU"), ("miou_exact_paste", "mIoU, exact paste"), ("person_iou", "person IoU")):
        lines.append(f"| **{label}** | " + " | ".join(f"{100 * accuracy[n][key]:.2f}" for n in names) + " |")
    for part in accuracy[names[0]]["iou"]:
        lines.append(f"| {part} | " + " | ".join(f"{100 * accuracy[n]['iou'][part]:.1f}" for n in names) + " |")
    return [*lines, ""]


def _times(document: dict[str, Any]) -> list[str]:
    if document["times_ms"] is None:
        return []
    lines = [f"## Milliseconds a photo, load {document['load']} at the end", "", "| | ms |", "|---|---:|"]
    return [*lines, *(f"| {name} | {ms:.1f} |" for name, ms in document["times_ms"].items()), ""]


def _sensitivity(errors: list[dict[str, Any]]) -> list[str]:
    if not errors:
        return []
    lines = [
        "## Sensitivity",
        "",
        "One part of the network in INT8, the rest in fp32, against all fp32: what changes in the answers. "
        "A part that hurts stays in fp32 with `--keep 'GRAPH PART'`.",
        "",
        "| graph | part | layers | unmatched | box px: median / worst | score, worst | labels equal % | I equal % |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for error in errors:
        d = Difference(**error["difference"])
        lines.append(
            f"| {error['graph']} | {error['group']} | {error['layers']} | {d.unmatched} of {2 * d.people} "
            f"| {d.box_median:.2f} / {d.box:.1f} | {d.score:.3f} | {100 * d.parts:.2f} | {100 * d.iuv:.2f} |"
        )
    return [*lines, ""]
