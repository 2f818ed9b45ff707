"""The ablation ladder of the paper's table 6, small: light backbone, 192 pixels, our own data, some seeds a rung.

    python -m benchmarks.ladder --data DATA --crowd data/eval/crowd --out out/ladder

Every run starts from ImageNet weights and sees as many pictures; what is done lies in OUT and is not done again. Writes
ladder.json, a Markdown table beside the paper's gains, and a plot. It runs in the training environment.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environment import require_torch
from benchmarks.rounds import ROOT

CONFIGS = ROOT / "training" / "configs" / "ladder"
PAPER = {"1_baseline": 47.2, "2_pss": 48.2, "3_err": 50.7, "4_gce": 52.7, "5_ipbc": 53.5}
"""mIoU of table 6: CIHP, ResNet-50."""
FIGURES = {
    "photo_miou": ("photos", "miou"), "photo_pixel_accuracy": ("photos", "pixel_accuracy"),
    "crowd_ap_p_vol": ("crowd", "ap_p_vol"), "crowd_ap_p_50": ("crowd", "ap_p_50"), "crowd_pcp_50": ("crowd", "pcp_50"),
    "crowd_box_ap_50": ("crowd", "ap_50"),
}  # fmt: skip
_SHOWN = ("photo_miou", "photo_pixel_accuracy", "crowd_ap_p_50", "crowd_ap_p_vol", "crowd_pcp_50", "crowd_box_ap_50")


@dataclass(frozen=True)
class Run:
    """One rung and seed: what it reached, 0..1, and the minutes that its training took."""

    rung: str
    seed: int
    figures: dict[str, float]
    minutes: float


def train_rung(rung: str, seed: int, options: argparse.Namespace) -> Run:
    """Train and measure one rung, or read what an earlier call measured."""
    out = options.out / f"{rung}_{seed}"
    done = out / "figures.json"
    if done.is_file():
        return Run(rung, seed, **json.loads(done.read_text()))
    from training.config import load_config
    from training.engine import TorchAnalyzer
    from training.evaluation.evaluate import evaluate
    from training.model.parsing_rcnn import ParsingRCNN
    from training.train import Trainer

    overrides = (f"train.seed={seed}", f"data.rendered={options.rendered}", *(options.set or ()))
    config = load_config(CONFIGS / f"{rung}.yaml", overrides)
    trainer = Trainer(config, options.data, out)
    trainer.resume()
    begin = time.monotonic() - trainer.elapsed
    trainer.run()
    minutes = (time.monotonic() - begin) / 60
    model = trainer.average.model
    assert isinstance(model, ParsingRCNN)
    analyzer = TorchAnalyzer(model, config, canvases=config.data.canvases)
    found = evaluate(analyzer, options.data, options.crowd).figures
    figures = {name: float(found[part][key]) for name, (part, key) in FIGURES.items() if part in found}
    done.write_text(json.dumps({"figures": figures, "minutes": round(minutes, 1)}))
    return Run(rung, seed, figures, minutes)


def table(runs: Sequence[Run]) -> str:
    """Markdown: the mean over the seeds and their standard deviation, in per cent, beside the paper's mIoU."""
    lines = [
        "| rung | mIoU | pixel acc. | AP^p 50 | AP^p vol | PCP 50 | box AP 50 | paper: mIoU |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for rung in sorted({run.rung for run in runs}):
        own = [run.figures for run in runs if run.rung == rung]
        cells = [_cell([figures[name] for figures in own if name in figures]) for name in _SHOWN]
        lines.append(f"| {rung[2:]} | {' | '.join(cells)} | {PAPER[rung]} |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "-"
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def plot(runs: Sequence[Run], out: Path) -> None:
    """mIoU and AP^p vol of every run, and the paper's mIoU, over the rungs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rungs = sorted({run.rung for run in runs})
    places = range(len(rungs))
    figure, axes = pyplot.subplots(figsize=(7, 4), dpi=120)
    for name, label, colour in (
        ("photo_miou", "photos: mIoU", "tab:blue"),
        ("crowd_ap_p_vol", "crowds: AP$^p$ vol", "tab:orange"),
    ):
        groups = [
            [100 * run.figures[name] for run in runs if run.rung == rung and name in run.figures] for rung in rungs
        ]
        axes.plot(places, [statistics.mean(g) if g else float("nan") for g in groups], color=colour, label=label)
        for place, values in zip(places, groups, strict=True):
            axes.scatter([place] * len(values), values, s=14, color=colour)
    axes.plot(places, [PAPER[rung] for rung in rungs], "k--", label="paper: mIoU (CIHP, ResNet-50)")
    axes.set_xticks(list(places), [rung[2:] for rung in rungs])
    axes.set_ylabel("%")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(out)
    pyplot.close(figure)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="holds ccp/, groups/ and backgrounds/")
    parser.add_argument("--rendered", type=Path, default=Path("data/rendered"), help="what parsing-rcnn render wrote")
    parser.add_argument("--crowd", type=Path, default=Path("data/eval/crowd"), help="what benchmarks.make_eval wrote")
    parser.add_argument("--out", type=Path, default=Path("out/ladder"))
    parser.add_argument("--rungs", nargs="+", default=list(PAPER), choices=list(PAPER))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", action="append", help="override of every recipe: section.key=value")
    options = parser.parse_args()
    require_torch("ladder")
    import torch

    from training.errors import TrainingError
    from training.interruption import TrainingStopped
    from training.train import TrainingDiverged

    torch.set_num_threads(options.threads)
    runs = []
    try:
        for seed in options.seeds:  # seed by seed: a ladder that is cut short is whole for its first seeds
            for rung in options.rungs:
                runs.append(train_rung(rung, seed, options))
                print(f"{rung} seed {seed}: {runs[-1].minutes:.1f} min, {runs[-1].figures}", flush=True)
    except (TrainingError, TrainingDiverged, TrainingStopped) as error:
        sys.exit(f"ladder: {error}")
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [{"rung": r.rung, "seed": r.seed, "minutes": r.minutes, **r.figures} for r in runs]
    (options.out / "ladder.json").write_text(json.dumps(rows, indent=1))
    (options.out / "ladder.md").write_text(table(runs))
    plot(runs, options.out / "ladder.png")
    print(table(runs))


if __name__ == "__main__":
    main()
