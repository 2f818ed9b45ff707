"""The paper's speed table (table 2): RoIs of 14, 32 and 64 cells, and the fewer proposals of its row "100 RoIs".

    python -m benchmarks.roi_sizes --out out/benchmarks/roi_sizes

One picture of 384x640, the network alone, no decoding. For each row these take turns, each in a process of its own: the
light network in eager torch; torchvision's Mask R-CNN (ResNet-50-FPN, eager) with RoIs of as many cells; and, for the
32 cells and 100 proposals that the shipped graphs have, the light network on OpenVINO. All compute masks or parts of
`--people` people, whatever they see. Weights of the eager networks are random: this measures speed alone. Runs in the
training environment.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import machine, require_torch
from benchmarks.rounds import ROOT, answer, side_by_side, summarise

HEIGHT, WIDTH = 384, 640
ROWS = ((14, 1000), (32, 1000), (32, 100), (64, 1000))  # cells of a RoI, proposals
RECIPE = ROOT / "training" / "configs" / "light.yaml"
Step = Callable[[], Mapping[str, float]]


def picture() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Noise, uint8 [384,640,3]."""
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def light(cells: int, proposals: int, people: int, threads: int) -> tuple[Mapping[str, Any], Step]:
    """The light network in torch: boxes and parts of the best `people` boxes, repeated where there are fewer."""
    import torch

    from training.config import load_config
    from training.model.parsing_rcnn import build_model

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    sizes = {"branch.roi_size": cells, "rpn.pre_nms": proposals, "rpn.proposals_test": proposals}
    config = load_config(RECIPE, tuple(f"model.{key}={value}" for key, value in sizes.items()))
    model = build_model(config.model).eval()
    images = torch.from_numpy(picture()).permute(2, 0, 1)[None]

    @torch.inference_mode()
    def step() -> Mapping[str, float]:
        pyramid = model.pyramid(images)
        found = model.detect(pyramid, (HEIGHT, WIDTH)).boxes
        boxes = found[torch.arange(people) % len(found)]
        labels = model.parsing(model.roi_features(pyramid, [boxes])).argmax(1)
        if len(labels) != people:
            raise RuntimeError(f"{len(labels)} people, expected {people}")
        return {}

    step()
    return {"name": "light, eager torch", "cells": cells, "proposals": proposals, "people": people}, step


def exported(cells: int, proposals: int, people: int, threads: int) -> tuple[Mapping[str, Any], Step]:
    """The shipped graphs: the detector with 64 people, its RoIs repeated up to `people`, and the parsing head."""
    from parsing_rcnn.repository import ModelRepository
    from parsing_rcnn.runtime import Runtime

    runtime = Runtime(ModelRepository.open(), threads=threads)
    canvas, limits = picture(), np.array([0, min(people, 64)], np.float32)

    def step() -> Mapping[str, float]:
        rows = runtime.detector(canvas, limits)["ROI_FEATURES"]
        runtime.parsing(rows[np.arange(people) % len(rows)], probabilities=False)
        return {}

    step()
    return {"name": f"light, {runtime.name}", "cells": cells, "proposals": proposals, "people": people}, step


def peer(cells: int, proposals: int, people: int, threads: int) -> tuple[Mapping[str, Any], Step]:
    """torchvision's Mask R-CNN, with overlapping boxes, so that it keeps `people` of them."""
    import torch

    from benchmarks.peer_maskrcnn import build

    torch.set_num_threads(threads)
    example = torch.from_numpy(picture()).permute(2, 0, 1).float().div(255)
    model = build((HEIGHT, WIDTH), example, detections=people, proposals=proposals, roi=cells)
    model.roi_heads.nms_thresh = 1.0  # the least score stays: without it NMS had 90 classes of every proposal to sort

    @torch.inference_mode()
    def step() -> Mapping[str, float]:
        (found,) = model([example])
        if len(found["masks"]) != people:
            raise RuntimeError(f"{len(found['masks'])} masks, expected {people}")
        return {}

    step()
    return {"name": "torchvision Mask R-CNN, eager", "cells": cells, "proposals": proposals, "people": people}, step


KINDS = {"light": light, "exported": exported, "peer": peer}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every row: its competitors in turns."""
    before, rows = machine(), []
    for cells, proposals in options.rows:
        kinds = ["light", "peer", *(["exported"] if (cells, proposals) == (32, 100) else [])]
        numbers = [str(number) for number in (cells, proposals, options.people, options.threads)]
        commands = [[sys.executable, "-m", "benchmarks.roi_sizes", "--worker", kind, *numbers] for kind in kinds]
        results = side_by_side(commands, options.threads, [options.frames] * len(kinds), options.frames)
        for about, answers in results:
            rows.append({**about, **summarise(answers)})
            print(f"{rows[-1]['name']}, {cells} cells: {rows[-1]['ms_median']:.0f} ms", file=sys.stderr, flush=True)
    return {"machine": before, "threads": options.threads, "rows": rows}


def table(result: Mapping[str, Any]) -> str:
    """Markdown."""
    lines = [
        f"{result['machine']['cpu']}, {result['threads']} threads; {result['rows'][0]['people']} people computed.",
        "",
        "| RoI | proposals | network | ms | fps |",
        "|---:|---:|---|---:|---:|",
    ]
    for row in result["rows"]:
        lines.append(
            f"| {row['cells']}x{row['cells']} | {row['proposals']} | {row['name']} | {row['ms_median']:.0f} "
            f"| {row['fps_median']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=100, help="RoIs that the head computes")
    parser.add_argument("--frames", type=int, default=5, help="pictures for each competitor")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cells", type=int, nargs="+", default=[14, 32, 64], choices=[14, 32, 64])
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks/roi_sizes"), help="without an ending")
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        kind, *numbers = options.worker
        answer(lambda: KINDS[kind](*map(int, numbers)))
        return
    require_torch("roi_sizes")
    options.rows = [row for row in ROWS if row[0] in options.cells]
    result = measure(options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    options.out.with_suffix(".md").write_text(table(result), encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
