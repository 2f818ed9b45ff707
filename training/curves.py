"""curves.png: the losses of a run and the figures of its validation pictures, over the steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from training.files import replacing
from training.log_rows import read_rows

_SMOOTHED = 20  # rows of the log, one every ten steps; of a short log a quarter
_COLUMNS = 4
_NO_LOSSES = ("step", "s/batch", "minutes")  # what else a row of the log holds
# the figures of `evaluate --dataset` that are drawn, where they were measured
_HEADLINES = {
    "miou": "mIoU",
    "ap_p_50": "AP^p50",
    "gps_ap": "GPS AP",
    "keypoint_ap": "keypoint AP",
    "box_ap": "box AP",
}
# value by step: a run that was resumed logs some steps twice, and the later row counts
Points = dict[int, float]


def plot_curves(log: Path, out: Path) -> None:
    """Draw log.jsonl as a PNG: a panel for each loss, and one for each validation split that was measured.

    Raises:
        OutputError: `out` cannot be written.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    losses, splits = _points_of(read_rows(log))
    count = len(losses) + len(splits)
    columns = max(1, min(count, _COLUMNS))
    rows = max(1, -(-count // columns))
    size = (3.2 * columns, 2.8 * rows)
    figure, grid = plt.subplots(rows, columns, figsize=size, constrained_layout=True, squeeze=False)
    panels = list(grid.flat)
    for (name, points), panel in zip(losses.items(), panels, strict=False):
        _draw_loss(panel, name, points)
    for (name, figures), panel in zip(splits.items(), panels[len(losses) :], strict=False):
        _draw_split(panel, name, figures)
    for panel in panels[count:]:
        panel.set_visible(False)
    with replacing(out) as partial:
        figure.savefig(partial, dpi=110, format="png")
    plt.close(figure)


def _points_of(rows: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Points], dict[str, dict[str, Points]]]:
    """(losses by name, headline figures by validation split and name) of the rows of log.jsonl.

    Rows need not hold all of them: a batch without labelled people has no losses of the branches.
    """
    losses: dict[str, Points] = {}
    splits: dict[str, dict[str, Points]] = {}
    for row in rows:
        if "validation" not in row:
            for name, value in row.items():
                if name not in _NO_LOSSES:
                    losses.setdefault(name, {})[row["step"]] = value
            continue
        for split, figures in (row["validation"] or {}).items():  # null where measuring failed
            for name in _HEADLINES:
                if name in figures:
                    splits.setdefault(split, {}).setdefault(name, {})[row["step"]] = figures[name]
    return losses, splits


def smoothing_width(rows: int) -> int:
    """How many rows a curve of so many is averaged over."""
    return min(_SMOOTHED, max(1, rows // 4))


def _draw_loss(panel: Any, name: str, points: Points) -> None:
    """Values in grey and their running mean in blue, which stands at the last of its rows. Outliers are cut off."""
    steps = sorted(points)
    values = np.array([points[step] for step in steps])
    width = smoothing_width(len(values))
    panel.plot(steps, values, color="0.8", linewidth=0.7)
    mean = np.convolve(values, np.ones(width) / width, "valid")
    panel.plot(steps[width - 1 :], mean, linewidth=1.5, marker="o" if len(mean) == 1 else None)
    panel.set_title(name, fontsize=9)
    panel.set_ylim(0, np.percentile(values, 98) * 1.1 + 1e-6)
    panel.set_xlabel("step", fontsize=8)


def _draw_split(panel: Any, name: str, figures: Mapping[str, Points]) -> None:
    """Figures of one validation split in percent, a dot wherever it was measured."""
    for key, points in figures.items():
        steps = sorted(points)
        panel.plot(steps, [100 * points[step] for step in steps], linewidth=1.5, marker=".", label=_HEADLINES[key])
    panel.set_title(name if len(name) <= 40 else f"...{name[-37:]}", fontsize=9)
    panel.set_ylim(bottom=0)
    panel.set_ylabel("%", fontsize=8)
    panel.set_xlabel("step", fontsize=8)
    panel.legend(fontsize=7)
