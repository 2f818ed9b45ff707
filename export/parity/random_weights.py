"""Parity of the paper's sizes with random weights: R50 and ResNeXt-101-32x8d, which are exported but not shipped.

    python -m export.parity.random_weights training/configs/paper/cihp_r50_1x.yaml
    python -m export.parity.random_weights training/configs/paper/cihp_x101_3x.yaml

Exports into a temporary folder, compares torch, ONNX Runtime and OpenVINO in fp32 on small canvases, prints the report
and the peak memory, and exits 1 where a limit is broken. A process takes one recipe, so that its memory is given back.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from export.onnx import export_repository
from export.parity.report import to_markdown
from export.parity.situations import Situation
from export.parity.verify import verify
from export.rendered.pictures import render_scene
from training.config import Config, load_config
from training.random_weights import random_model

_CARD = {"tasks": {"parsing": {"trained": False}, "densepose": {"trained": False}}}


def small_situations(canvas: tuple[int, int]) -> list[Situation]:
    """Nobody, 1 and 5 people, landscape, portrait and square, all within `canvas` (height, width)."""
    height, width = canvas
    limits = {people: np.array([2.0 if people == 0 else 0.0, max(people, 1)], np.float32) for people in (0, 1, 5)}
    side = min(canvas)
    return [
        Situation("nobody", (render_scene(0, height, width, people=0),), limits[0], 0),
        Situation("1 person", (render_scene(1, width, height, people=1),), limits[1], 1),
        Situation("5 people", (render_scene(2, height, width, people=5),), limits[5], 5),
        Situation("square", (render_scene(3, side, side, people=3),), limits[5]),
    ]


def verify_random(config: Config, canvas: tuple[int, int] = (256, 320), seed: int = 0) -> dict[str, Any]:
    """The parity report of a recipe with random weights (`training.random_weights`).

    The weights are settled on that module's own picture, whatever `canvas` is. On a small one the last batch norms
    would have statistics of a handful of pixels, and scores would be so saturated that rounding decides their order.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        export_repository(random_model(config, seed=seed), config, out, version="random", card=_CARD)
        report, _, _ = verify(out, situations=small_situations(canvas))
    return report


def main(arguments: list[str] | None = None) -> int:
    """Verify one recipe."""
    parser = argparse.ArgumentParser(
        prog="python -m export.parity.random_weights", description="Parity with random weights."
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--canvas", type=int, nargs=2, default=(256, 320), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    report = verify_random(load_config(options.recipe), tuple(options.canvas), options.seed)
    print(to_markdown(report))
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
