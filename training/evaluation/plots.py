"""Plots of an evaluation: precision over recall, and IoU by class. Without matplotlib nothing is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.evaluation.common import LEAST_GROUP_HEIGHT, SURE
from training.files import replacing
from training.metrics.detection import PictureBoxes, precision_recall

_OVERLAPS = (0.5, 0.75)


def _pyplot() -> Any:
    """matplotlib's pyplot without a display; None where it is not installed."""
    try:
        import matplotlib as mpl
    except ImportError:
        return None
    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot


def plot_precision_recall(sets: Mapping[str, Sequence[PictureBoxes]], out: Path) -> bool:
    """Plot precision of person boxes over recall, a curve for each set and IoU. Returns whether it was drawn."""
    pyplot = _pyplot()
    if pyplot is None or not sets:
        return False
    figure, axis = pyplot.subplots(figsize=(5.2, 4.2), constrained_layout=True)
    for number, (name, pictures) in enumerate(sets.items()):
        for overlap, style in zip(_OVERLAPS, ("-", "--"), strict=True):
            height = LEAST_GROUP_HEIGHT if name == "groups" else 0  # as in the figures of the set
            precision, recall, scores = precision_recall(pictures, iou=overlap, min_height=height)
            axis.plot(recall, precision, style, color=f"C{number}", label=f"{name}, IoU {overlap}")
            if overlap == _OVERLAPS[0] and (sure := int((scores >= SURE).sum())):
                axis.plot(recall[sure - 1], precision[sure - 1], "o", color=f"C{number}")
    axis.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision", title=f"people; dots: score {SURE}")
    axis.legend(fontsize=8)
    with replacing(out) as partial:
        figure.savefig(partial, dpi=110, format="png")
    pyplot.close(figure)
    return True


def plot_classes(sets: Mapping[str, Mapping[str, float]], out: Path) -> bool:
    """Plot the IoU of each class, with the bars of all sets side by side. Returns whether it was drawn."""
    pyplot = _pyplot()
    if pyplot is None or not sets:
        return False
    names = list(dict.fromkeys(name for own in sets.values() for name in own))
    figure, axis = pyplot.subplots(figsize=(max(6.0, 0.32 * len(names) * len(sets)), 3.8), constrained_layout=True)
    width = 0.8 / len(sets)
    for number, (label, own) in enumerate(sets.items()):
        values = np.nan_to_num([100 * own.get(name, float("nan")) for name in names])
        axis.bar(np.arange(len(names)) + (number + 0.5) * width - 0.4, values, width, label=label)
    axis.set_xticks(range(len(names)), names, rotation=70, ha="right", fontsize=8)
    axis.set(ylim=(0, 100), ylabel="IoU, %")
    axis.legend(fontsize=8)
    with replacing(out) as partial:
        figure.savefig(partial, dpi=110, format="png")
    pyplot.close(figure)
    return True
