"""Measure IUV and parts on the synthetic test, where the truth is known at every pixel.

`benchmarks/make_eval.py` writes the test: 300 pictures of bodies, outfits, poses, skins and backgrounds that training
never draws. Figures of synthetic people compare models with each other; they say little about photos.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import Analyzer, Options
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP, DENSEPOSE
from training.errors import DatasetError
from training.evaluation.common import (
    COMPARED_OVERLAP,
    FOUND_OVERLAP,
    LEAST_RANKED_SCORE,
    SURE,
    group_of,
    on_picture,
)
from training.metrics.confusion import CIHP_TO_14, ConfusionMatrix
from training.metrics.densepose import (
    BodySurface,
    PicturePoints,
    gps_average_precision,
    point_similarity,
    read_cells,
)
from training.metrics.detection import PictureBoxes, average_precision, box_iou
from training.metrics.matching import MOST_DETECTIONS
from training.progress import Progress

_SMALL = 96  # pixels: people less tall are reported as small


@dataclass
class PersonResult:
    """One annotated person: the groups of the report that they belong to, whether they were found, and how well."""

    groups: tuple[str, ...]
    found: bool
    part_accuracy: float
    class_accuracy: float
    gps: float


@dataclass
class SyntheticResult:
    """Everything measured, with a figure for each picture for the sheet.

    `points` holds the GPS of each detection with each person, `masked` its geometric mean with the IoU of silhouettes
    (GPSm of the reference evaluation).
    """

    people: list[PersonResult] = field(default_factory=list)
    boxes: list[PictureBoxes] = field(default_factory=list)
    points: list[PicturePoints] = field(default_factory=list)
    masked: list[PicturePoints] = field(default_factory=list)
    classes: ConfusionMatrix = field(default_factory=lambda: ConfusionMatrix(len(CIHP_TO_14)))
    part_right: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(DENSEPOSE), np.int64))
    part_total: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(DENSEPOSE), np.int64))
    errors: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    pictures: list[tuple[str, float]] = field(default_factory=list)


def evaluate_synthetic(analyzer: Analyzer, folder: Path, progress: Progress) -> tuple[dict[str, Any], SyntheticResult]:
    """Figures (JSON-compatible) of a folder that `parsing-rcnn render --held-out` wrote.

    Raises:
        DatasetError: its annotations or maps are absent.
    """
    document = json.loads((folder / "densepose.json").read_text(encoding="utf-8"))
    surface = BodySurface.load(folder / "surface.npz")
    by_image = defaultdict(list)
    for annotation in document["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    result = SyntheticResult()
    for image in progress(document["images"], "synthetic"):
        rows = by_image[image["id"]]
        people = analyzer.analyze(
            (folder / "Images" / image["file_name"]).read_bytes(),
            Options(confidence=LEAST_RANKED_SCORE, max_people=MOST_DETECTIONS),
        )
        maps = [_read(folder / name / f"{Path(image['file_name']).stem}.png") for name in _MAPS]
        _measure(result, surface, people, rows, maps, image["file_name"])
    return _figures(result), result


_MAPS = ("Category_ids", "Human_ids", "IUV")


def _read(path: Path) -> NDArray[np.uint8]:
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise DatasetError(f"{path}: missing, or no PNG; render the test again")
    return np.asarray(found, np.uint8)


def _measure(
    result: SyntheticResult,
    surface: BodySurface,
    people: People,
    rows: list[dict[str, Any]],
    maps: list[NDArray[np.uint8]],
    name: str,
) -> None:
    """Add one picture to `result`: its annotations `rows`, the true maps of `_MAPS`, and its file name."""
    category, human, iuv = maps
    truth = np.array([row["bbox"] for row in rows], np.float32).reshape(-1, 4)
    truth[:, 2:] += truth[:, :2]
    nobody = np.zeros((0, 4), np.float32)
    result.boxes.append(PictureBoxes(people.boxes, people.scores, truth, nobody))
    overlap = box_iou(people.boxes, truth)
    similarity, silhouettes = _similarities(surface, people, rows, overlap, human)
    ranked_by = people.map_scores("densepose")
    result.points.append(PicturePoints(ranked_by, similarity))
    result.masked.append(PicturePoints(ranked_by, np.sqrt(similarity * silhouettes)))
    if people.taxonomy == CIHP:  # as the labels are
        result.classes.add(category, people.select(people.scores >= SURE).label_map())
    accuracies = []
    taken: set[int] = set()
    for column, row in enumerate(rows):
        index = _detection_of(people, overlap[:, column], taken)
        mask = human == row["human"]
        right, classes, gps = 0.0, 0.0, 0.0
        if index is not None:
            taken.add(index)
            right = _right_parts(result, people, index, mask, iuv[..., 0])
            classes = _right_classes(people, index, mask, category)
            gps = float(similarity[index, column])
            for part, error in zip(row["dp_I"], _distances(surface, people, index, row), strict=True):
                result.errors[int(part)].append(float(error))
        accuracies.append(right)
        groups = _groups(row, len(rows), np.unique(iuv[..., 0][mask]))
        result.people.append(PersonResult(groups, index is not None, right, classes, gps))
    result.pictures.append((name, float(np.mean(accuracies)) if accuracies else 1.0))


def _similarities(
    surface: BodySurface,
    people: People,
    rows: list[dict[str, Any]],
    overlap: NDArray[np.float64],
    human: NDArray[np.uint8],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """GPS and IoU of silhouettes, float64 [n,m] each, of detections and people; 0 where their boxes hardly overlap."""
    similarity, silhouettes = np.zeros((2, len(people), len(rows)))
    for column, row in enumerate(rows):
        for index in np.flatnonzero(overlap[:, column] > COMPARED_OVERLAP):
            distance = _distances(surface, people, int(index), row)
            similarity[index, column] = point_similarity(distance, np.array(row["dp_I"], int)).mean()
            found = on_picture(people, int(index), people.iuv_crop(int(index))[0][0]) > 0
            true = human == row["human"]
            silhouettes[index, column] = (found & true).sum() / (found | true).sum()
    return similarity, silhouettes


def _detection_of(people: People, overlap: NDArray[np.float64], taken: set[int]) -> int | None:
    """The sure detection, not yet `taken`, with the highest `overlap` [n] with a person; None: the person is missed."""
    candidates = [i for i in np.argsort(-overlap) if i not in taken and people.scores[i] >= SURE]
    return int(candidates[0]) if candidates and overlap[candidates[0]] >= FOUND_OVERLAP else None


def _right_parts(
    result: SyntheticResult, people: People, index: int, mask: NDArray[np.bool_], parts: NDArray[np.uint8]
) -> float:
    """The share of a person's pixels whose DensePose part is right; the pixels of each part are added to `result`."""
    hits = mask & (on_picture(people, index, people.iuv_crop(index)[0][0]) == parts)
    result.part_right += np.bincount(parts[hits], minlength=len(DENSEPOSE))
    result.part_total += np.bincount(parts[mask], minlength=len(DENSEPOSE))
    return float(hits.sum() / mask.sum())


def _right_classes(people: People, index: int, mask: NDArray[np.bool_], category: NDArray[np.uint8]) -> float:
    """The share of a person's pixels whose CIHP class is right; NaN of a model with other classes."""
    if people.taxonomy != CIHP:
        return math.nan
    same = mask & (on_picture(people, index, people.crop(index)[0]) == category)
    return float(same.sum() / mask.sum())


def _distances(surface: BodySurface, people: People, index: int, row: dict[str, Any]) -> NDArray[np.float64]:
    """Metres between where each annotated point is on the body and where the detection says it is."""
    left, top, width, height = row["bbox"]
    x, y = left + np.array(row["dp_x"]) * width / 256, top + np.array(row["dp_y"]) * height / 256
    part, u, v = read_cells(people.iuv_cells(index), people.boxes[index], x, y)
    predicted = surface.points(part, u, v)
    true = surface.points(np.array(row["dp_I"], int), np.array(row["dp_U"]), np.array(row["dp_V"]))
    return surface.geodesic(predicted, true)


def _groups(row: dict[str, Any], count: int, parts: NDArray[np.uint8]) -> tuple[str, ...]:
    """The groups of the report that a person belongs to.

    Args:
        row: the person's annotation.
        count: people in the picture.
        parts: DensePose parts of the person that can be seen.
    """
    facts = row["synthetic"]
    head, feet = bool(np.isin(parts, (23, 24)).any()), bool(np.isin(parts, (5, 6)).any())
    legs, torso = bool(np.isin(parts, range(7, 15)).any()), bool(np.isin(parts, (1, 2)).any())
    whole = (
        "full body" if head and feet else "half body" if head and torso else "head" if head and not legs else "no head"
    )
    turned = abs((float(facts["yaw"]) + 180) % 360 - 180)
    return (
        group_of(count),
        whole,
        "front" if turned < 50 else "back" if turned > 130 else "side",
        "small (< 96 px)" if row["bbox"][3] < _SMALL else "96 px and taller",
        "sitting" if facts["style"] == "sit" else "not sitting",
        f"skin: {facts['tone']}",
        "women" if facts["woman"] else "men",
    )


def _figures(result: SyntheticResult) -> dict[str, Any]:
    groups: dict[str, list[PersonResult]] = defaultdict(list)
    for person in result.people:
        for name in ("everybody", *person.groups):
            groups[name].append(person)
    with np.errstate(invalid="ignore"):
        accuracy = result.part_right / np.where(result.part_total, result.part_total, np.nan)
    errors = {part: np.array(values) for part, values in result.errors.items()}
    return {
        "pictures": len(result.boxes),
        "people": len(result.people),
        "ap_50": average_precision(result.boxes),
        "gps_ap": gps_average_precision(result.points),
        "gps_ap_50": gps_average_precision(result.points, 0.5),
        "gps_ap_75": gps_average_precision(result.points, 0.75),
        "gpsm_ap": gps_average_precision(result.masked),
        "part_accuracy": float(result.part_right.sum() / max(result.part_total.sum(), 1)),
        "miou": result.classes.mean_iou(),
        "by_group": {name: _group(people) for name, people in sorted(groups.items())},
        "by_part": {
            DENSEPOSE.classes[part]: {
                "accuracy": float(accuracy[part]),
                "median_error_cm": float(100 * np.median(errors[part])) if part in errors else float("nan"),
                "within_10_cm": float((errors[part] <= 0.1).mean()) if part in errors else float("nan"),
            }
            for part in range(1, len(DENSEPOSE))
        },
    }


def _group(people: list[PersonResult]) -> dict[str, Any]:
    found = [person for person in people if person.found]

    def mean(name: str) -> float:
        return float(np.mean([getattr(person, name) for person in found])) if found else float("nan")

    return {
        "people": len(people),
        "found": len(found) / len(people),
        "part_accuracy": mean("part_accuracy"),
        "class_accuracy": mean("class_accuracy"),
        "gps": mean("gps"),
    }
