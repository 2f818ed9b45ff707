"""What each choice of the light design costs: the network with one of them changed, side by side with itself.

    python -m benchmarks.design --out out/benchmarks/design

Every design is `training/configs/light.yaml` with an override and random weights, exported and run by the embedded
engine in a process of its own, in turns with all others: a 1080p JPEG in, boxes, parts and IUV of --people people out.
This measures speed and size alone: accuracy takes training (`benchmarks.pareto` puts both together). Writes design.json
and a Markdown table. It runs in the training environment.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import machine, require_torch
from benchmarks.frames import drawn_person, frame_of, jpeg
from benchmarks.rounds import ROOT, answer, ratios, side_by_side, summarise
from benchmarks.runtimes_prepare import COMMAND, run

RECIPE = ROOT / "training" / "configs" / "light.yaml"
AS_SHIPPED = "as shipped"
_WIDE = ("aspp_channels=128", "channels=192", "non_local_channels=96", "conv_channels=256")
_NARROW = ("aspp_channels=32", "channels=48", "non_local_channels=24", "conv_channels=64")
DESIGNS: Mapping[str, tuple[str, ...]] = {
    AS_SHIPPED: (),
    "EfficientNet-Lite0": ("model.backbone=efficientnet_lite0",),
    "EfficientNet-Lite1": ("model.backbone=efficientnet_lite1",),
    "proposals from P2": ("model.rpn.levels=[2,3,4,5,6]", "model.rpn.anchor_sizes=[20,40,88,180,380]"),
    "proposals from P4": ("model.rpn.levels=[4,5,6]", "model.rpn.anchor_sizes=[88,180,380]"),
    "50 proposals": ("model.rpn.proposals_test=50",),
    "300 proposals": ("model.rpn.proposals_test=300",),
    "pyramid of 32 channels": ("model.fpn.channels=32",),
    "pyramid of 128 channels": ("model.fpn.channels=128",),
    "heads of half the width": tuple(f"model.branch.{change}" for change in _NARROW),
    "heads of twice the width": tuple(f"model.branch.{change}" for change in _WIDE),
    "keys not pooled": ("model.branch.pool_keys=false",),
    "one trunk for both heads": ("model.share_trunk=true",),
}
"""{name: what is changed in the recipe}."""


def write_design(overrides: Sequence[str], out: Path) -> dict[str, float]:
    """Export one design with random weights into `out`, by the project's own command.

    Returns:
        what the command printed: "mb", megabytes of the files (weights in fp16); "gflop_canvas", GFLOP of a 384x640
        canvas; "gflop_person", GFLOP of both heads for one person.

    Raises:
        RuntimeError: the command failed; its words are in the message.
    """
    from training.config import load_config
    from training.random_weights import write_random

    checkpoint = write_random(RECIPE, out, lambda _: load_config(RECIPE, tuple(overrides)))
    printed = run([*COMMAND, "export", str(checkpoint), "--out", str(out), "--version", "random"])

    def total(pattern: str) -> float:
        return sum(float(number) for number in re.findall(pattern, printed))

    return {
        "mb": total(r"\(([\d.]+) MB"),
        "gflop_canvas": total(r"384x640 (\S+) GFLOP"),
        "gflop_person": total(r"a person (\S+) GFLOP"),
    }


def prepare(
    repository: Path, frame: Path, people: int, threads: int
) -> tuple[Mapping[str, Any], Callable[[], Mapping[str, float]]]:
    """(facts, a function that takes the encoded picture to `People` and returns its stage times).

    Raises:
        RuntimeError: another number of people came out.
    """
    from parsing_rcnn.analyzer import Options
    from parsing_rcnn.pipeline import Pipeline

    data, engine = frame.read_bytes(), Pipeline(repository, threads=threads)
    wanted = Options(confidence=0.0, max_people=people)

    def step() -> Mapping[str, float]:
        found = engine.analyze(data, wanted)
        if len(found) != people:
            raise RuntimeError(f"{len(found)} people, expected {people}")
        return found.timings

    for _ in range(5):  # the first pictures meet cold caches
        step()
    return {"runtime": engine.info.runtime}, step


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Figures of every design, for every number of people."""
    before = machine()
    options.out.mkdir(parents=True, exist_ok=True)
    frame = options.out / "frame.jpg"
    frame.write_bytes(jpeg(frame_of(drawn_person())))
    designs: dict[str, dict[str, Any]] = {}
    for name in options.designs:
        designs[name] = {"overrides": DESIGNS[name], **write_design(DESIGNS[name], _folder(options.out, name))}
        print(f"exported: {name}", file=sys.stderr)
    for people in options.people:
        for name, figures in _side_by_side(options, frame, people).items():
            designs[name][f"{people} people"] = figures
    return {"machine": before, "rounds": options.rounds, "designs": designs}


def _folder(out: Path, name: str) -> Path:
    return out / name.replace(" ", "_")


def _side_by_side(options: argparse.Namespace, frame: Path, people: int) -> dict[str, dict[str, Any]]:
    """{design: its figures}, with so many people."""
    worker = [sys.executable, "-m", "benchmarks.design", "--worker"]
    commands = [
        [*worker, str(_folder(options.out, name)), str(frame), str(people), str(options.threads)]
        for name in options.designs
    ]
    results = side_by_side(commands, options.threads, [options.frames] * len(commands), options.rounds)
    _, shipped = results[options.designs.index(AS_SHIPPED)]
    return {
        name: {**about, **summarise(answers), "times_the_time": ratios(shipped, answers)}
        for name, (about, answers) in zip(options.designs, results, strict=True)
    }


def table(document: Mapping[str, Any], people: Sequence[int]) -> str:
    """Markdown: milliseconds, times those of the shipped design (least and greatest round), memory, size, work."""
    heads = [f"{n} {'person' if n == 1 else 'people'}: ms | times" for n in people]
    lines = [
        f"| design | {' | '.join(heads)} | peak MB | files, MB | GFLOP a canvas | GFLOP a person |",
        "|---|" + "---:|" * (2 * len(people) + 4),
    ]
    for name, design in document["designs"].items():
        cells = []
        for n in people:
            figures = design[f"{n} people"]
            ratio = figures["times_the_time"]
            cells.append(f"{figures['ms_median']:.1f}")
            cells.append(f"{ratio['median']:.2f} ({ratio['least_round']:.2f}-{ratio['greatest_round']:.2f})")
        most = max(design[f"{n} people"]["peak_rss_mb"] for n in people)
        rest = f"{most:.0f} | {design['mb']:.1f} | {design['gflop_canvas']:.2f} | {design['gflop_person']:.2f}"
        lines.append(f"| {name} | {' | '.join(cells)} | {rest} |")
    return "\n".join(lines) + "\n"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.design", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=list(DESIGNS), metavar="NAME")
    parser.add_argument("--people", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--frames", type=int, default=60, help="pictures of each design and number of people")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks/design"))
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not 1 <= options.rounds <= options.frames:
        parser.error(f"--rounds {options.rounds}: needs 1 to --frames, a picture in every round")
    if AS_SHIPPED not in options.designs:
        options.designs.insert(0, AS_SHIPPED)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write both files."""
    options = parse(arguments)
    if options.worker:
        repository, frame, people, threads = options.worker
        answer(lambda: prepare(Path(repository), Path(frame), int(people), int(threads)))
        return 0
    require_torch("design")
    document = measure(options)
    (options.out / "design.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    shown = table(document, options.people)
    (options.out / "design.md").write_text(shown, encoding="utf-8")
    print(f"{document['machine']['cpu']}, load before {document['machine']['load_before']}\n\n{shown}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
