"""Runtimes side by side on the paper's size: what OpenVINO's graph gains over ONNX Runtime and eager torch on a CPU.

    python -m benchmarks.runtimes --photos DATA/ccp/images --out out/benchmarks/runtimes.json

Four pieces of work (`--works`): the trunk (ResNet-50, FPN, RPN at 800x1344); the parsing head (5 and 20 people);
everything from JPEG to people, beside torchvision's Mask R-CNN; and the machine's ceiling, the densest convolutions
there are, which the others' TFLOP/s are compared with. Weights are random (`training.random_weights`): this measures
speed alone. Every runtime has a process of its own; they are called in turns.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environment import machine, require_torch
from benchmarks.frames import frame_of, jpeg, read_photo
from benchmarks.rounds import ROOT, WorkerError, ratios, side_by_side, summarise
from benchmarks.runtimes_prepare import Models, prepare_models
from parsing_rcnn.card import LARGEST_SIDE, LEAST_SIDE, STEP
from parsing_rcnn.inference.cores import usable_cores

RECIPE = ROOT / "training" / "configs" / "paper" / "cihp_r50_1x.yaml"
WORKER = (sys.executable, "-m", "benchmarks.runtimes_worker")


@dataclass(frozen=True)
class Row:
    """One competitor of one work: its name in the table, and its process."""

    work: str
    name: str
    command: tuple[str, ...]


def capabilities() -> set[str]:
    """What OpenVINO says that this CPU computes in: FP32, BF16, INT8 and more."""
    from parsing_rcnn.inference.compiled import openvino_core

    return set(openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def precisions(models: Models, able: set[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """(OpenVINO's precisions with the repository of each; those left out, with the reason)."""
    found, left_out = {"fp32": models.exported}, {}
    if "BF16" in able:
        found["bf16"] = models.exported
    else:
        left_out["openvino bf16"] = "this CPU does not compute in bf16 (no AMX, no AVX-512 BF16)"
    if models.int8 is not None:
        found["int8"] = models.int8
    else:
        left_out["openvino int8"] = models.no_int8
    return found, left_out


def rows(options: argparse.Namespace, models: Models, ways: Mapping[str, Path], frame: Path) -> list[Row]:
    """Every competitor of `options.works`.

    Args:
        ways: OpenVINO's precisions with the repository of each, see `precisions`. frame: the JPEG of the full run.
    """
    threads = ("--threads", str(options.threads))
    canvas = ("--canvas", *map(str, options.canvas))
    found: list[Row] = []

    def add(work: str, title: str, runtime: str, name: str, *extra: str) -> None:
        found.append(Row(title, name, (*WORKER, work, runtime, *threads, *canvas, *extra)))

    def compared(work: str, title: str, *extra: str) -> None:
        add(work, title, "ort", "ONNX Runtime fp32", "--repository", str(models.exported), *extra)
        add(work, title, "torch", "torch eager fp32", "--checkpoint", str(models.checkpoint), *extra)
        for precision, repository in ways.items():
            own = ("--repository", str(repository), "--precision", precision)
            add(work, title, "openvino", f"OpenVINO {precision}", *own, *extra)

    if "trunk" in options.works:
        compared("trunk", f"trunk {options.canvas[0]}x{options.canvas[1]}")
    if "head" in options.works:
        for people in options.people:
            compared("head", f"head, {people} people", "--people", str(people))
    if "full" in options.works:
        title = f"JPEG to {options.people[0]} people"
        sides = map(str, sorted(options.canvas))
        peer = (sys.executable, "-m", "benchmarks.peer_maskrcnn", str(frame), "--sides", *sides)
        found.append(
            Row(title, "torchvision maskrcnn_resnet50_fpn", (*peer, *threads, "--people", str(options.people[0])))
        )
        for precision, repository in ways.items():
            own = ("--repository", str(repository), "--precision", precision, "--photo", str(frame))
            add(
                "full",
                title,
                "openvino",
                f"Parsing R-CNN R50, OpenVINO {precision}",
                *own,
                "--people",
                str(options.people[0]),
            )
    if "ceiling" in options.works:
        for precision in (p for p in ways if p != "int8"):
            add("ceiling", "ceiling", "openvino", f"OpenVINO {precision}", "--precision", precision)
    return found


def measure(found: Sequence[Row], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Figures of every row; the rows of one work take turns, and only they are in memory."""
    results = []
    for work in dict.fromkeys(row.work for row in found):
        own = [row for row in found if row.work == work]
        measured = side_by_side(
            [row.command for row in own], options.threads, [options.runs] * len(own), options.rounds
        )
        for row, (about, answers) in zip(own, measured, strict=True):
            result = {**about, **summarise(answers), "work": work, "name": row.name, "faster_than": {}}
            for other, (_, theirs) in zip(own, measured, strict=True):
                if other is not row:
                    result["faster_than"][other.name] = ratios(answers, theirs)
            results.append(result)
            print(f"{work:22} {row.name:44} {_ms(result)}", flush=True)
    return _with_shares(results)


def _with_shares(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add TFLOP/s where the work's GFLOP are known, and the share of the ceiling of the same precision."""
    gflop = {r["work"]: r["gflop"] for r in results if "gflop" in r}
    best = {r["name"]: r["gflop"] / r["ms_best"] for r in results if r["work"] == "ceiling"}
    for result in results:
        if result["work"] in gflop:
            result["tflops_best"] = gflop[result["work"]] / result["ms_best"]
            result["tflops_median"] = gflop[result["work"]] / result["ms_median"]
        if result["work"] != "ceiling" and result["name"] in best and "tflops_best" in result:
            result["share_of_ceiling"] = result["tflops_best"] / best[result["name"]]
    return results


def _ms(result: Mapping[str, Any]) -> str:
    return f"{result['ms_median']:.0f} [{result['ms_best']:.0f}-{result['ms_worst']:.0f}] ms"


def to_markdown(document: Mapping[str, Any]) -> str:
    """The figures as a table."""
    about = document["machine"]
    lines = [
        "# Runtimes",
        "",
        f"{about['cpu']}, {document['threads']} threads, load before {about['load_before']}; random weights; median "
        f"[best-worst] of {document['runs']} runs in {document['rounds']} turns.",
        "",
        "| work | runtime | ms | times as fast as (medians) | TFLOP/s, best | share of ceiling, best | memory MB |",
        "|---|---|---:|---|---:|---:|---:|",
    ]
    for row in document["rows"]:
        faster = ", ".join(f"{name} {ratio['median']:.2f}" for name, ratio in row["faster_than"].items())
        speed = f"{row['tflops_best']:.2f}" if "tflops_best" in row else ""
        share = f"{100 * row['share_of_ceiling']:.0f} %" if "share_of_ceiling" in row else ""
        cells = (row["work"], row["name"], _ms(row), faster, speed, share, f"{row['peak_rss_mb']:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- Left out: {name}: {reason}." for name, reason in document["left_out"].items()), ""]
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtimes", description="Runtimes side by side.")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--models", type=Path, default=Path("out/benchmarks/r50"), help="where they are kept")
    parser.add_argument("--photos", type=Path, help="folder of photos to calibrate INT8 on (default: no INT8)")
    parser.add_argument("--count", type=int, default=16, help="how many of these photos")
    parser.add_argument("--photo", type=Path, help="of the full run (default: a drawn figure)")
    parser.add_argument("--works", nargs="+", choices=("trunk", "head", "full", "ceiling"))
    parser.add_argument("--canvas", type=int, nargs=2, default=(800, 1344), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--people", type=int, nargs="+", default=(5, 20), help="of the head; the full run: the first")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--runs", type=int, default=12, help="of each runtime")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks/runtimes.json"))
    options = parser.parse_args(arguments)
    options.works = options.works or ("trunk", "head", "full", "ceiling")
    if not 1 <= options.rounds <= options.runs:
        parser.error(f"--rounds {options.rounds}: needs 1 to --runs ({options.runs}), a run in every round")
    if any(side % STEP or not LEAST_SIDE <= side <= LARGEST_SIDE for side in options.canvas):
        high, wide = options.canvas
        parser.error(f"--canvas {high} {wide}: multiples of {STEP} from {LEAST_SIDE} to {LARGEST_SIDE}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare, measure, print, write JSON and Markdown."""
    options = parse(arguments)
    require_torch("runtimes")
    before, recipe = machine(), options.recipe
    try:
        photo = read_photo(options.photo)
    except OSError as error:
        print(f"runtimes: {error}", file=sys.stderr)
        return 1
    high, wide = options.canvas
    try:
        models = prepare_models(recipe, options.models, [(high, wide), (wide, high)], options.photos, options.count)
        ways, left_out = precisions(models, capabilities())
        with tempfile.TemporaryDirectory() as folder:
            frame = Path(folder) / "frame.jpg"
            frame.write_bytes(jpeg(frame_of(photo)))
            results = measure(rows(options, models, ways, frame), options)
    except (WorkerError, RuntimeError) as error:
        print(f"runtimes: {error}", file=sys.stderr)
        return 1
    document = {
        "machine": before,
        "recipe": str(recipe.relative_to(ROOT) if recipe.is_relative_to(ROOT) else recipe),
        **{key: getattr(options, key) for key in ("threads", "runs", "rounds")},
        "rows": results,
        "left_out": left_out,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    options.out.with_suffix(".md").write_text(to_markdown(document), encoding="utf-8")
    print(to_markdown(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
