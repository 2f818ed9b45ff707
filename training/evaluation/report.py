"""The results of an evaluation: a table on the terminal, evaluation.md, results.json, plots and sheets of pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from parsing_rcnn.analyzer import Analyzer
from training.data.datasets.records import Reader
from training.evaluation.datasets import DatasetResult
from training.evaluation.evaluate import Evaluation
from training.evaluation.plots import plot_classes, plot_precision_recall
from training.evaluation.sheets import dataset_sheet, group_sheet, people_sheet, photo_sheet, synthetic_sheet
from training.files import write_json, write_png, write_text

_SHOWN = 20  # photos on the sheet of IUV

# (set, figure, name, goal): a goal is a fraction to reach, or, negative, the most pictures
ROWS: tuple[tuple[str, str, str, float | None], ...] = (
    ("photos", "miou", "photos: mIoU, 20 classes", 0.50),
    ("photos", "miou_true_classes", "photos: mIoU, classes that the photos hold", None),
    ("photos", "miou_exact_paste", "photos: mIoU, exact paste", None),
    ("photos", "miou_main_person", "photos: mIoU, without passers-by", None),
    ("photos", "miou_registered", "photos: mIoU, labels moved onto the photo", None),
    ("photos", "miou_single", "photos: mIoU, without five that the data holds twice", None),
    ("photos", "miou_14", "photos: mIoU, 14 classes drawn by people", None),
    ("photos", "pixel_accuracy", "photos: pixel accuracy", 0.93),
    ("photos", "mean_class_accuracy", "photos: mean class accuracy", None),
    ("photos", "person_iou", "photos: person IoU", 0.90),
    ("photos", "person_iou_registered", "photos: person IoU, labels moved onto the photo", None),
    ("photos", "person_iou_single", "photos: person IoU, without five that the data holds twice", None),
    ("photos", "person_iou_main_person", "photos: person IoU, without passers-by", None),
    ("photos", "main_person_found", "photos: main person found", 0.98),
    ("backgrounds", "with_false_person", "backgrounds: pictures with a false person", -1),
    ("crowd", "ap_50", "crowd: person AP50", 0.85),
    ("crowd", "ap", "crowd: person AP", None),
    ("crowd", "precision_at_0.5", "crowd: precision at score 0.5", None),
    ("crowd", "recall_at_0.5", "crowd: recall at score 0.5", None),
    ("crowd", "ap_p_50", "crowd: AP^p50", None),
    ("crowd", "ap_p_vol", "crowd: AP^p vol", None),
    ("crowd", "pcp_50", "crowd: PCP50", None),
    ("groups", "ap_50", "groups: person AP50, 64 pixels and taller", 0.50),
    ("groups", "ap", "groups: person AP", None),
    ("groups", "precision_at_0.5", "groups: precision at score 0.5", None),
    ("groups", "recall_at_0.5", "groups: recall at score 0.5", None),
    ("synthetic", "gps_ap", "synthetic: GPS AP", 0.55),
    ("synthetic", "gps_ap_50", "synthetic: GPS AP50", None),
    ("synthetic", "gps_ap_75", "synthetic: GPS AP75", None),
    ("synthetic", "gpsm_ap", "synthetic: GPSm AP", None),
    ("synthetic", "part_accuracy", "synthetic: right part I, pixels of found people", 0.80),
    ("synthetic", "ap_50", "synthetic: person AP50", None),
    ("synthetic", "miou", "synthetic: mIoU, 20 classes", None),
    ("consistency", "flip_parts", "mirrored photos: same part labels", None),
    ("consistency", "flip_iuv", "mirrored photos: same I", None),
    ("consistency", "crop_parts", "photos cropped by a tenth: same part labels", None),
    ("consistency", "crop_iuv", "photos cropped by a tenth: same I", None),
)


def print_table(result: Evaluation) -> None:
    """Print the figures beside the goals of the light model."""
    model = result.figures["model"]
    table = Table(title=f"{model['name']} {model['version']} on {model['runtime']}")
    for name in ("figure", "measured", "goal", ""):
        table.add_column(name, justify="left" if name == "figure" else "right")
    for group, key, name, goal in ROWS:
        if group in result.figures:
            table.add_row(name, *_cells(result.figures[group][key], result.figures[group]["pictures"], goal))
    console = Console()
    console.print(table)
    for name, reason in result.absent.items():
        console.print(f"{name} left out: {reason}", markup=False)


def _cells(value: float, pictures: int, goal: float | None) -> tuple[str, str, str]:
    """(measured, goal, verdict) of one row."""
    if isinstance(value, int):
        limit = None if goal is None else int(-goal)
        verdict = "" if limit is None else "reached" if value <= limit else "missed"
        return f"{value} of {pictures}", "" if limit is None else f"<= {limit}", verdict
    if math.isnan(value):  # a server gives no probabilities to paste exactly
        return "-", "", ""
    verdict = "" if goal is None else "reached" if value >= goal else "missed"
    return f"{100 * value:.1f} %", "" if goal is None else f">= {100 * goal:.0f} %", verdict


def write_report(result: Evaluation, out: Path, analyzer: Analyzer, synthetic: Path | None) -> None:
    """Write results.json, evaluation.md, plots and sheets of pictures (of what was measured) into `out`.

    Args:
        analyzer, synthetic: what was measured, and on which folder of rendered people, as `evaluate` took them.

    Plots, photos_maps.png and synthetic_people.png show no pixel of a photo: they may be published where the photos may
    not. photos_iuv.png shows up to 20 of the held-out photos, by their numbers, with their IUV.
    """
    document = {**result.figures, "absent": result.absent}
    write_json(out / "results.json", without_nan(document))
    write_text(out / "evaluation.md", to_markdown(result))
    curves = {"crowd": result.crowd, "groups": [group.boxes for group in result.groups]}
    plot_precision_recall({name: boxes for name, boxes in curves.items() if boxes}, out / "precision_recall.png")
    if "photos" in result.figures:
        plot_classes({"photos": result.figures["photos"]["iou"]}, out / "classes.png")
    if result.photos:
        if analyzer.info.tasks.get("densepose"):
            chosen = result.photos[:: max(1, len(result.photos) // _SHOWN)][:_SHOWN]
            write_png(out / "photos_iuv.png", people_sheet(analyzer, [photo.path for photo in chosen]))
        write_png(out / "photos.png", photo_sheet(result.photos))
        write_png(out / "photos_maps.png", photo_sheet(result.photos, maps_only=True))
    if result.synthetic is not None and synthetic is not None:
        write_png(out / "synthetic.png", synthetic_sheet(result.synthetic, synthetic, analyzer))
        people_only = synthetic_sheet(result.synthetic, synthetic, analyzer, people_only=True)
        write_png(out / "synthetic_people.png", people_only)
    if result.groups:
        write_png(out / "groups.png", group_sheet(result.groups))


def to_markdown(result: Evaluation) -> str:
    """All figures beside their goals, then the classes, as a page for docs/."""
    model = result.figures["model"]
    lines = [
        f"# Evaluation of {model['name']} {model['version']}",
        "",
        f"On {model['runtime']}, held-out pictures (`training/data/splits.py`), the full pipeline: a "
        "missed person is background, a person found beside the labelled one is wrong. AP^p and GPS rank people by "
        "their score times how sure their map is (`People.map_scores`). `parsing-rcnn evaluate --data "
        "DATA --crowd data/eval/crowd` writes this page.",
        "",
        "| figure | pictures | measured | goal | |",
        "|---|---:|---:|---:|---|",
    ]
    for group, key, name, goal in ROWS:
        if group in result.figures:
            pictures = result.figures[group]["pictures"]
            lines.append(
                f"| {name} | {pictures} | " + " | ".join(_cells(result.figures[group][key], pictures, goal)) + " |"
            )
    lines += ["", *(f"{name} left out: {reason}" for name, reason in result.absent.items())]
    if "photos" in result.figures:
        lines += ["## Photos, by class", "", _class_table(result.figures["photos"])]
    if "crowd" in result.figures:
        lines += ["## Crowd test, by people in the picture", "", _count_table(result.figures["crowd"]["by_count"])]
    if "synthetic" in result.figures:
        lines += _synthetic_tables(result.figures["synthetic"])
    return "\n".join(lines).rstrip() + "\n"


def print_datasets(figures: dict[str, dict[str, Any]]) -> None:
    """Print the figures of published datasets, a column for each split."""
    table = Table()
    table.add_column("figure")
    for split in figures:
        table.add_column(split, justify="right")
    names = [name for own in figures.values() for name, value in own.items() if not isinstance(value, dict)]
    for name in dict.fromkeys(names):
        table.add_row(name, *(_figure(own.get(name)) for own in figures.values()))
    Console().print(table)


def write_datasets(
    document: dict[str, Any],
    results: Mapping[str, DatasetResult],
    readers: Sequence[Reader],
    out: Path,
    analyzer: Analyzer,
) -> None:
    """Write datasets.json, datasets_precision_recall.png and datasets_classes.png, and a sheet of each split's worst
    pictures, datasets_worst_0.png and so on."""
    write_json(out / "datasets.json", without_nan(document))
    boxes = {name: result.boxes for name, result in results.items()}
    plot_precision_recall(boxes, out / "datasets_precision_recall.png")
    classes = {name: result.figures["iou"] for name, result in results.items() if "iou" in result.figures}
    plot_classes(classes, out / "datasets_classes.png")
    for number, reader in enumerate(readers):
        sheet = dataset_sheet(results[reader.name], reader, analyzer)
        write_png(out / f"datasets_worst_{number}.png", sheet)


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{100 * value:.1f} %"


def without_nan(value: Any) -> Any:
    """A copy with None in place of NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _class_table(figures: dict[str, Any]) -> str:
    lines = ["| class | IoU % | IoU %, exact paste | true pixels |", "|---|---:|---:|---:|"]
    for name, pixels in figures["truth_pixels"].items():
        values = (_percent(figures["iou"][name]), _percent(figures["iou_exact_paste"][name]), str(pixels))
        lines.append(f"| {name} | " + " | ".join(values) + " |")
    lines += ["", "| 14 classes drawn by people | IoU % |", "|---|---:|"]
    lines += [f"| {name} | {_percent(value)} |" for name, value in figures["iou_14"].items()]
    return "\n".join(lines) + "\n"


def _count_table(figures: dict[str, Any]) -> str:
    lines = ["| people | pictures | AP50 % | precision % | recall % |", "|---|---:|---:|---:|---:|"]
    for name, row in figures.items():
        values = (row["ap_50"], row["precision_at_0.5"], row["recall_at_0.5"])
        lines.append(f"| {name} | {row['pictures']} | " + " | ".join(_percent(value) for value in values) + " |")
    return "\n".join(lines) + "\n"


def _synthetic_tables(figures: dict[str, Any]) -> list[str]:
    groups = [
        "| people | count | found % | right I % | right class % | mean GPS % |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in figures["by_group"].items():
        values = (row[key] for key in ("found", "part_accuracy", "class_accuracy", "gps"))
        groups.append(f"| {name} | {row['people']} | " + " | ".join(_percent(value) for value in values) + " |")
    parts = ["| part | right I % | median error, cm | within 10 cm % |", "|---|---:|---:|---:|"]
    for name, row in figures["by_part"].items():
        error = row["median_error_cm"]
        centimetres = "-" if math.isnan(error) or math.isinf(error) else f"{error:.1f}"
        parts.append(f"| {name} | {_percent(row['accuracy'])} | {centimetres} | {_percent(row['within_10_cm'])} |")
    return [
        "## Synthetic people, by situation",
        "",
        "Found at a score of 0.5 with box IoU 0.5; the other columns are means over those found. Distances are on the "
        "skin of a body of 1.7 m; GPS by the part-wise scale of DensePose, on charts of our own: not comparable with "
        "published figures.",
        "",
        *groups,
        "",
        "## IUV, by part",
        "",
        *parts,
        "",
    ]


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
