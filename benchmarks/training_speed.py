"""Training speed beside torchvision's Mask R-CNN: pictures a second and peak memory, in turns, in one run.

    python -m benchmarks.training_speed data/rendered --out out/benchmarks/training.json

Run it on an interpreter with torch. DATASET is any folder that `parsing-rcnn datasets check` knows with part labels.
The row without heads compares like with like; with heads each network trains its own. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import require_torch
from benchmarks.rounds import ratios, side_by_side, summarise

PAIRS = ("none", "all")  # of heads


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Figures of our loop, torchvision's, and the data loader alone."""
    common = [
        str(options.dataset), "--short-side", str(options.short_side), "--pictures", str(options.pictures),
        "--threads", str(options.threads), "--device", options.device, "--autocast", options.autocast,
    ]  # fmt: skip
    rows: list[dict[str, Any]] = []
    quotients = {}
    for heads in PAIRS:
        commands = [_command(who, [*common, "--heads", heads]) for who in ("ours", "torchvision")]
        pair = side_by_side(commands, options.threads, [options.steps] * 2, options.rounds)
        rows += [_row(about, answers) for about, answers in pair]
        (_, ours), (_, theirs) = pair
        quotients[heads] = ratios(ours, theirs)
    alone = side_by_side([_command("loader", common)], options.threads, [options.steps * 2], 1)
    rows += [_row(about, answers) for about, answers in alone]
    return {"short_side": options.short_side, "rows": rows, "ours_over_torchvision": quotients}


def _command(who: str, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "benchmarks.training_worker", who, *arguments]


def _row(about: dict[str, Any], answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    figures = summarise(answers)
    speed = 1000 * about["pictures"] / figures["ms_median"]
    held = [frame["gpu_mb"] for answer in answers for frame in answer["stages"] if "gpu_mb" in frame]
    return {**about, **figures, "pictures_per_second": speed, "peak_gpu_mb": max(held, default=None)}


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| training | pictures/s | s a step | peak memory MB | of the GPU |", "|---|---:|---:|---:|---:|"]
    for row in result["rows"]:
        speed, seconds = row["pictures_per_second"], row["ms_median"] / 1000
        held = "" if row.get("peak_gpu_mb") is None else f"{row['peak_gpu_mb']:.0f}"
        lines.append(f"| {row['name']} | {speed:.2f} | {seconds:.2f} | {row['peak_rss_mb']:.0f} | {held} |")
    for heads, label in (("none", "without heads"), ("all", "each with its head")):
        q = result["ours_over_torchvision"][heads]
        span = f"{q['least_round']:.2f}-{q['greatest_round']:.2f}"
        lines.append(f"| ours over torchvision, {label} | {q['median']:.2f}x ({span}) | | | |")
    lines += ["", _bottleneck(result["rows"])]
    return "\n".join(lines) + "\n"


def _bottleneck(rows: Sequence[dict[str, Any]]) -> str:
    """How many processes of the data loader keep the fastest row of ours fed."""
    loader = next(row["pictures_per_second"] for row in rows if row["who"] == "loader")
    wanted = max(row["pictures_per_second"] for row in rows if row["who"] == "ours")
    processes = math.ceil(wanted / loader)
    place = "the network" if processes == 1 else f"the loader, with fewer than {processes} processes (train.workers)"
    return f"One process of the loader makes {loader / wanted:.1f} times what our fastest row takes: {place} is slower."


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--short-side", type=int, default=512)
    parser.add_argument("--pictures", type=int, default=2, help="a step")
    parser.add_argument("--steps", type=int, default=12, help="of each, over all rounds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--autocast", choices=("none", "bf16", "fp16"), default="none")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    require_torch("training_speed")
    result = measure(options)
    print(table(result))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
