"""Measure the full pipeline, photo in to `People` out, on held-out pictures.

The sets are all held out by the rules of `training/data/splits.py`. One that is absent, or of which no picture is held
out, is left out and reported:

- photos: CCP photos with part labels of their main person. All people with a score of at least 0.5 are pasted into one
  label map: a person who is missed becomes background, and one found beside the labelled person counts as wrong.
  The `main_person` figures leave those others out, and so show what passers-by without labels cost;
  `main_person_found` counts only photos on which somebody is labelled. The `registered` figures correct that these
  label maps lie half a pixel off their photos. The `single` figures leave out five photos of which CCP holds a copy
  that is trained on (`CCP_TWINS`).
- backgrounds: pictures without people. Those with a person of score >= 0.5 are counted.
- crowd: the composites of `benchmarks/make_eval.py`. Detections count from a score of 0.05 up.
- groups: everyday photos with boxes. Crowd regions, and people less than 64 pixels tall, are ignored.
- synthetic: rendered people whose every pixel is known (`training/evaluation/synthetic.py`).
- consistency: the photos again, mirrored and cropped by a tenth (`training/evaluation/consistency.py`).
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import Analyzer, Options
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP, Taxonomy
from training.data.datasets.records import as_labelled
from training.data.groups import GroupPhotos
from training.data.sample import IGNORE_LABEL, mask_box
from training.data.sources import LabelledPhotos, background_photos, read_map
from training.data.splits import CCP_TWINS
from training.errors import DatasetError, EmptySplitError
from training.evaluation.common import (
    FOUND_OVERLAP,
    LEAST_GROUP_HEIGHT,
    LEAST_RANKED_SCORE,
    SURE,
    group_of,
    on_picture,
)
from training.evaluation.consistency import measure_consistency
from training.evaluation.synthetic import SyntheticResult, evaluate_synthetic
from training.metrics.confusion import CIHP_TO_14, NAMES_14, ConfusionMatrix
from training.metrics.detection import (
    PictureBoxes,
    average_precision,
    box_iou,
    mean_average_precision,
    precision_recall,
)
from training.metrics.parsing import ParsedPeople
from training.progress import Progress

# pixels: CCP's photos were reduced by OpenCV's INTER_AREA, and its label maps by INTER_NEAREST, which reads the corners
# of pixels, so that a label belongs to the point half a pixel left of and above the centre of its pixel
LABEL_SHIFT = np.float32(0.5)
_WRITTEN_BY = "write it by `python -m benchmarks.make_eval --data DATA"
_UNTRAINED = "the parsing head of this model is not trained"
_OTHER_CLASSES = (
    "the labels are of CIHP's classes, and this model has others; measure its parts by --dataset on pictures of its own"
)


@dataclass
class PhotoResult:
    """One labelled photo: `miou` over the classes present in it or found; maps uint8 [H,W]."""

    path: Path
    miou: float
    truth: NDArray[np.uint8]
    prediction: NDArray[np.uint8]


@dataclass
class GroupResult:
    """One group photo with its found and its true boxes."""

    path: Path
    boxes: PictureBoxes


@dataclass
class Evaluation:
    """Figures by set (JSON-compatible, fractions 0..1), results by picture for the sheets, and why a set is absent."""

    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    photos: list[PhotoResult] = field(default_factory=list)
    groups: list[GroupResult] = field(default_factory=list)
    crowd: list[PictureBoxes] = field(default_factory=list)
    synthetic: SyntheticResult | None = None
    absent: dict[str, str] = field(default_factory=dict)


def _plain(items: Sequence[Any], _: str) -> Iterable[Any]:
    return items


def evaluate(
    analyzer: Analyzer,
    data: Path,
    crowd: Path | None = None,
    synthetic: Path | None = None,
    progress: Progress = _plain,
) -> Evaluation:
    """Measure an analyzer on every set of which pictures are held out.

    Args:
        analyzer: what to measure.
        data: folder that holds ccp, backgrounds and groups.
        crowd, synthetic: folders that `benchmarks/make_eval.py` wrote (None: left out).
        progress: wraps each sequence that is walked, for a progress bar: (items, name of the set) -> items.

    Raises:
        DatasetError: none of the sets is there, or one is damaged.
    """
    result = Evaluation()
    for name, needed, remedy, measure in (
        ("photos", data / "ccp" / "images", "--data is the folder that holds ccp", measure_photos),
        ("backgrounds", data / "backgrounds", "--data is the folder that holds backgrounds", _backgrounds),
        ("groups", data / "groups" / "annotations.json", "--data is the folder that holds groups", _groups),
    ):
        if name == "photos" and not analyzer.info.tasks.get("parsing"):
            result.absent[name] = _UNTRAINED
        elif name == "photos" and analyzer.info.classes != CIHP.classes:
            result.absent[name] = _OTHER_CLASSES
        elif needed.exists():
            try:
                result.figures[name] = measure(analyzer, data, progress, result)
            except EmptySplitError as error:
                result.absent[name] = str(error)
        else:
            result.absent[name] = f"no {needed}: {remedy}"
    _both_tasks(analyzer, data, synthetic, progress, result)
    if not analyzer.info.tasks.get("parsing"):
        result.absent["crowd"] = _UNTRAINED
    elif crowd is not None and (crowd / "annotations.json").exists():
        result.figures["crowd"] = _crowd(analyzer, crowd, progress, result)
        if analyzer.info.classes != CIHP.classes:
            result.absent["parts of the crowd"] = _OTHER_CLASSES
    else:
        result.absent["crowd"] = f"no {crowd}/annotations.json: {_WRITTEN_BY} --out {crowd}`"
    if not result.figures:
        raise DatasetError("nothing to measure: " + "; ".join(result.absent.values()))
    result.figures["model"] = model_facts(analyzer)
    return result


def _both_tasks(analyzer: Analyzer, data: Path, synthetic: Path | None, progress: Progress, result: Evaluation) -> None:
    """The sets that need parts and IUV together: consistency on the photos, and synthetic people."""
    if not analyzer.info.tasks.get("densepose"):
        result.absent |= dict.fromkeys(("consistency", "synthetic"), "the DensePose head of this model is not trained")
        return
    if "photos" in result.figures:
        held_out = LabelledPhotos.open(data / "ccp", validation=True).images
        result.figures["consistency"] = measure_consistency(analyzer, held_out, progress)
    else:  # it is measured on them
        result.absent["consistency"] = result.absent["photos"]
    if synthetic is not None and (synthetic / "densepose.json").exists():
        result.figures["synthetic"], result.synthetic = evaluate_synthetic(analyzer, synthetic, progress)
        if analyzer.info.classes != CIHP.classes:
            result.absent["parts of the synthetic people"] = _OTHER_CLASSES
    else:
        result.absent["synthetic"] = f"no {synthetic}/densepose.json: {_WRITTEN_BY} --synthetic {synthetic}`"


def model_facts(analyzer: Analyzer) -> dict[str, Any]:
    """What was measured, for the files of results (JSON-compatible)."""
    info = analyzer.info
    return {"name": info.name, "version": info.version, "runtime": info.runtime, "tasks": dict(info.tasks)}


def refuse_other_classes(taxonomy: Taxonomy) -> None:
    """Refuse to measure a model on the labelled photos of `data` whose classes are not theirs.

    Raises:
        DatasetError: so it is.
    """
    if taxonomy != CIHP:
        raise DatasetError(
            f"--data: the label maps of its photos are of CIHP's classes, and the model's parts of {taxonomy.name}'s: "
            "leave --data out, and measure the parts by `evaluate --dataset`"
        )


def measure_photos(analyzer: Analyzer, data: Path, progress: Progress, result: Evaluation) -> dict[str, Any]:
    """Figures (JSON-compatible, fractions 0..1) of the labelled photos; those of each photo go into `result`.

    Figures of the exact paste are NaN if the analyzer gives no probabilities.

    Raises:
        DatasetError: the photos or their labels are absent or broken.
        EmptySplitError: no photo is held out.
    """
    photos = LabelledPhotos.open(data / "ccp", validation=True)
    classes = len(CIHP_TO_14)
    fast, exact, main_only, registered, single = (ConfusionMatrix(classes) for _ in range(5))
    found = labelled = 0
    probabilities = gives_probabilities(analyzer, as_labelled(photos.images[0]))
    options = Options(tasks=frozenset({"parsing"}), confidence=SURE, part_probs=probabilities)
    for path, label_path in progress(list(zip(photos.images, photos.labels, strict=True)), "photos"):
        truth = read_map(label_path, classes)
        people = analyzer.analyze(as_labelled(path), options)
        prediction = people.label_map()
        fast.add(truth, prediction)
        if path.stem not in CCP_TWINS.values():
            single.add(truth, prediction)
        if options.part_probs:
            exact.add(truth, people.label_map(exact=True))
        registered.add(truth, replace(people, boxes=people.boxes + LABEL_SHIFT).label_map())
        overlaps = _overlaps(people, truth)
        anybody = bool(_of_person(truth).any())  # a photo on which nobody is labelled has no main person
        main_only.add(truth, people.select(np.argsort(-overlaps)[:anybody]).label_map())
        labelled += anybody
        found += bool((overlaps >= FOUND_OVERLAP).any())
        own = ConfusionMatrix(classes)
        own.add(truth, prediction)
        result.photos.append(PhotoResult(path, own.mean_iou(), truth, prediction))
    merged = fast.merged(CIHP_TO_14)
    return {
        "pictures": len(photos.images),
        "miou": fast.mean_iou(),
        "miou_true_classes": fast.mean_iou(true_classes=True),
        "miou_exact_paste": exact.mean_iou(),
        "miou_main_person": main_only.mean_iou(),
        "miou_registered": registered.mean_iou(),
        "miou_single": single.mean_iou(),
        "miou_14": merged.mean_iou(),
        "pixel_accuracy": fast.pixel_accuracy(),
        "mean_class_accuracy": fast.mean_class_accuracy(),
        "person_iou": fast.foreground_iou(),
        "person_iou_registered": registered.foreground_iou(),
        "person_iou_single": single.foreground_iou(),
        "person_iou_main_person": main_only.foreground_iou(),
        "main_person_found": found / labelled if labelled else float("nan"),
        "iou": dict(zip(analyzer.info.classes, fast.iou().tolist(), strict=True)),
        "iou_exact_paste": dict(zip(analyzer.info.classes, exact.iou().tolist(), strict=True)),
        "iou_14": dict(zip(NAMES_14, merged.iou().tolist(), strict=True)),
        "truth_pixels": dict(zip(analyzer.info.classes, fast.counts.sum(1).tolist(), strict=True)),
    }


def gives_probabilities(analyzer: Analyzer, image: bytes | NDArray[np.uint8]) -> bool:
    """Whether an analyzer gives the class probabilities that the exact paste needs; servers do not."""
    try:
        analyzer.analyze(image, Options(tasks=frozenset({"parsing"}), part_probs=True))
    except InvalidOptions:
        return False
    return True


def _of_person(truth: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a label map has parts: bool [H,W]."""
    return np.asarray((truth != 0) & (truth != IGNORE_LABEL))


def _overlaps(people: People, truth: NDArray[np.uint8]) -> NDArray[np.float64]:
    """IoU float64 [n] of each person with the box around all true parts; zeros where there are none."""
    box = mask_box(_of_person(truth))
    return np.zeros(len(people)) if box is None else box_iou(people.boxes, box)[:, 0]


def _backgrounds(analyzer: Analyzer, data: Path, progress: Progress, _: Evaluation) -> dict[str, Any]:
    paths = background_photos(data / "backgrounds", validation=True)
    options = Options(tasks=frozenset({"parsing"}), confidence=LEAST_RANKED_SCORE)
    highest = {}
    for path in progress(paths, "backgrounds"):
        people = analyzer.analyze(path.read_bytes(), options)
        highest[path.name] = float(people.scores.max(initial=0.0))
    false = sorted(name for name, score in highest.items() if score >= SURE)
    return {"pictures": len(paths), "with_false_person": len(false), "names": false, "highest_scores": highest}


def _groups(analyzer: Analyzer, data: Path, progress: Progress, result: Evaluation) -> dict[str, Any]:
    photos = GroupPhotos.open(data / "groups", validation=True)
    options = Options(tasks=frozenset({"parsing"}), confidence=LEAST_RANKED_SCORE)
    for path, truth, crowd in progress(list(zip(photos.images, photos.boxes, photos.ignore, strict=True)), "groups"):
        people = analyzer.analyze(as_labelled(path), options)
        result.groups.append(GroupResult(path, PictureBoxes(people.boxes, people.scores, truth, crowd)))
    return _box_figures([group.boxes for group in result.groups], LEAST_GROUP_HEIGHT)


def _crowd(analyzer: Analyzer, folder: Path, progress: Progress, result: Evaluation) -> dict[str, Any]:
    parsed, boxes = ParsedPeople(len(CIHP_TO_14)), result.crowd
    of_cihp = analyzer.info.classes == CIHP.classes
    by_count: dict[str, list[int]] = defaultdict(list)
    options = Options(tasks=frozenset({"parsing"}), confidence=LEAST_RANKED_SCORE)
    for path, truth_boxes, truths in _composites(folder, progress):
        people = analyzer.analyze(as_labelled(path), options)
        by_count[group_of(len(truths))].append(len(boxes))
        if of_cihp:
            maps = [on_picture(people, index, people.crop(index)[0]) for index in range(len(people))]
            parsed.add(maps, people.map_scores("parsing"), truths)
        boxes.append(PictureBoxes(people.boxes, people.scores, truth_boxes, np.zeros((0, 4), np.float32)))
    return {
        **_box_figures(boxes, 0),
        "ap_p_50": parsed.average_precision(0.5) if of_cihp else math.nan,
        "ap_p_vol": parsed.average_precision_volume() if of_cihp else math.nan,
        "pcp_50": parsed.pcp(0.5) if of_cihp else math.nan,
        "by_count": {name: _box_figures([boxes[i] for i in rows], 0) for name, rows in sorted(by_count.items())},
    }


def _composites(
    folder: Path, progress: Progress
) -> Iterator[tuple[Path, NDArray[np.float32], list[NDArray[np.uint8]]]]:
    """Each composite: (path, boxes float32 [n,4] of its people, one part map uint8 [H,W] a person)."""
    document = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    for image in progress(document["images"], "crowd"):
        rows = [row for row in document["annotations"] if row["image_id"] == image["id"]]
        boxes = np.array([row["bbox"] for row in rows], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        stem = Path(image["file_name"]).stem
        labels = read_map(folder / "labels" / f"{stem}.png", len(CIHP_TO_14))
        instances = read_map(folder / "instances" / f"{stem}.png")
        unknown = labels == IGNORE_LABEL
        people = [np.where((instances == row["instance"]) | unknown, labels, 0).astype(np.uint8) for row in rows]
        yield folder / "images" / image["file_name"], boxes, people


def _box_figures(pictures: list[PictureBoxes], min_height: float) -> dict[str, Any]:
    precision, recall, scores = precision_recall(pictures, min_height=min_height)
    sure = int((scores >= SURE).sum())
    heights = [box[3] - box[1] for picture in pictures for box in picture.truth]
    return {
        "pictures": len(pictures),
        "people": int(sum(height >= min_height for height in heights)),
        "ap_50": average_precision(pictures, min_height=min_height),
        "ap": mean_average_precision(pictures, min_height=min_height),
        "precision_at_0.5": float(precision[sure - 1]) if sure else float("nan"),
        "recall_at_0.5": float(recall[sure - 1]) if sure else 0.0,
    }
