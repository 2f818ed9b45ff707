"""What a run leaves for people to look at: loss curves and a sheet of predictions on held-out photos."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn import draw
from training.config import TrainConfig
from training.data.sources import GroupPhotos, LabelledPhotos, read_jpeg
from training.engine import TorchAnalyzer, load_checkpoint
from training.files import replacing, write_png

_CELL = 288
_COLUMNS = 6


def write_report(run: Path, data: Path) -> None:
    """Write curves.png and, where there are held-out photos to look at, sheet.png into the folder of a run."""
    plot_curves(run / "log.jsonl", run / "curves.png")
    loaded = load_checkpoint(run / "weights.safetensors")
    if not has_sheet(loaded[1].train, data):
        return
    analyzer = TorchAnalyzer(*loaded)
    tasks = analyzer.info.tasks
    photos = LabelledPhotos.open(data / "ccp", validation=True)
    groups = GroupPhotos.open(data / "groups", validation=True)
    chosen = [*photos.images[::9][:12], *groups.images[::27][:12]]
    cells = []
    for path in chosen:
        image = read_jpeg(path)
        people = analyzer.analyze(image)
        if tasks["parsing"]:
            cells.append(_cell(people.draw(image)))
        if tasks["densepose"]:
            cells.append(_cell(draw.iuv(people, image)))
    write_sheet(cells, run / "sheet.png")


def has_sheet(train: TrainConfig, data: Path) -> bool:
    """Whether there are held-out photos to look at, and something to paint on them: keypoints alone leave nothing."""
    there = (data / "ccp" / "images").is_dir() and (data / "groups" / "annotations.json").is_file()
    return there and (train.parsing or train.densepose)


def plot_curves(log: Path, out: Path) -> None:
    """Losses over steps from log.jsonl, smoothed over 20 rows."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    # a run that was resumed has some steps twice: the later row counts
    read = [row for row in map(json.loads, log.read_text().splitlines()) if "validation" not in row]
    rows = list({row["step"]: row for row in read}.values())
    # a batch without labelled people has no losses of the branches
    names = list(dict.fromkeys(k for row in rows for k in row if k not in ("step", "s/batch", "minutes")))
    figure, axes = plt.subplots(1, len(names), figsize=(3.2 * len(names), 2.8), constrained_layout=True)
    for axis, name in zip(np.atleast_1d(axes), names, strict=True):
        steps = [row["step"] for row in rows if name in row]
        values = np.array([row[name] for row in rows if name in row])
        width = min(20, len(values))
        axis.plot(steps, values, color="0.8", linewidth=0.7)
        axis.plot(steps[width - 1 :], np.convolve(values, np.ones(width) / width, "valid"), linewidth=1.5)
        axis.set_title(name, fontsize=9)
        axis.set_ylim(0, np.percentile(values, 98) * 1.1 + 1e-6)
        axis.set_xlabel("step", fontsize=8)
    with replacing(out) as partial:
        figure.savefig(partial, dpi=110, format="png")
    plt.close(figure)


def _cell(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    scale = _CELL / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    cell = np.full((_CELL, _CELL, 3), 255, np.uint8)
    top, left = (_CELL - small.shape[0]) // 2, (_CELL - small.shape[1]) // 2
    cell[top : top + small.shape[0], left : left + small.shape[1]] = small
    return cell


def write_sheet(cells: list[NDArray[np.uint8]], out: Path) -> None:
    """A contact sheet of equal RGB cells."""
    blank = np.full((_CELL, _CELL, 3), 255, np.uint8)
    cells = cells + [blank] * (-len(cells) % _COLUMNS)
    rows = [np.hstack(cells[i : i + _COLUMNS]) for i in range(0, len(cells), _COLUMNS)]
    write_png(out, np.asarray(cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR), np.uint8))
