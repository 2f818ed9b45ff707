"""Measure an analyzer on published datasets, by the protocols of their papers (each metric's docs name its paper).

- part labels (CIHP, MHP v2): mIoU, pixel and mean class accuracy over the whole set, AP^p 50 and vol, PCP50, and AP^r
  50 and vol, which papers on CIHP have given since 2018
- DensePose points: GPS and GPSm AP, if there is a body to measure distances on
- COCO keypoints: AP by OKS, if the network has a keypoint head
- boxes, of all datasets: AP of COCO

Area ranges go by the annotated area of silhouettes, or by the boxes where none is annotated.

Parts are pasted as they are served: each pixel takes the nearest cell, and where people overlap it belongs to the
silhouette that it lies deeper in (`parsing_rcnn.maps.overlaps`). With `exact` they are pasted as in the authors' code:
by interpolated probabilities, with the higher score in front. The authors' maps also keep specks; whoever opens the
analyzer chooses that (`GraphPipeline.sweep`).
AP^p and GPS rank people by the score of the box times how sure their maps are (`People.map_scores`), or, with `exact`,
by the score of the box alone, as the authors do.
People with a score of at least .3 (CIHP) or .05 (MHP v2) are on the map of mIoU, as in the authors' code.

GPSm differs from detectron2's evaluation in how silhouettes are rasterised. Here the middle of each pixel is looked up
in the nearest of the 256x256 annotated cells of the box, and of the answered cells. There both are enlarged to whole
pixels by interpolation, and placed at the whole pixel left of and above the box's corner. Our GPSm is a little higher.

A picture without any detection counts as background, and its people as missed. The authors' code leaves such pictures
out of mIoU and the accuracies alone (`missing_predictions="skip"`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import Analyzer, Options
from parsing_rcnn.errors import ImageTooLarge, InvalidImage, UnsupportedImage
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP, MHP
from training.data.datasets.check import refuse_cut_off, refuse_no_pictures
from training.data.datasets.records import Annotated, DensePosePoints, Reader, Record, as_labelled
from training.errors import DatasetError, OutputError
from training.evaluation.common import COMPARED_OVERLAP, LEAST_RANKED_SCORE, SURE, on_picture
from training.metrics.confusion import ConfusionMatrix, MissingPredictions
from training.metrics.densepose import (
    BodySurface,
    GpsSurface,
    PicturePoints,
    gps_average_precision,
    point_similarity,
    read_cells,
)
from training.metrics.detection import PictureBoxes, average_precision, box_areas, box_coverage, box_iou
from training.metrics.detection import mean_average_precision as mean_box_precision
from training.metrics.keypoints import SIGMAS, PictureKeypoints, compare, keypoint_average_precision
from training.metrics.matching import AREAS, MOST_DETECTIONS
from training.metrics.parsing import ParsedPeople
from training.metrics.regions import PartRegions
from training.metrics.smpl import SmplSurface, SurfaceError
from training.progress import Progress

_ON_MAP = {len(CIHP): 0.3, len(MHP): 0.05}  # least score on the map of mIoU, by the number of classes
_EVALUATED = 255.0  # the published evaluation divides dp_x by this, although training divides by 256
_FRAME = 256  # cells of a side of the annotated regions of a box


@runtime_checkable
class KeypointLocator(Analyzer, Protocol):
    """An analyzer that also finds COCO's 17 keypoints."""

    def locate(self, image: bytes | NDArray[np.uint8], options: Options) -> tuple[People, NDArray[np.float32]]:
        """What `analyze` gives, and everybody's keypoints float32 [n,17,3]: x, y in the picture's pixels, score.

        Raises:
            ParsingRCNNError: the image or an option is not usable.
        """
        ...


@dataclass
class _Collected:
    """Results of the pictures of one split so far; `labelled` and `pointed` count pictures and people with labels."""

    classes: ConfusionMatrix
    parsed: ParsedPeople
    regions: PartRegions
    boxes: list[PictureBoxes] = field(default_factory=list)
    points: list[PicturePoints] = field(default_factory=list)
    masked: list[PicturePoints] = field(default_factory=list)
    keypoints: list[PictureKeypoints] = field(default_factory=list)
    labelled: int = 0
    pointed: int = 0


@dataclass(frozen=True)
class DatasetResult:
    """What was measured on a split.

    Attributes:
        figures: by name, JSON-compatible, fractions 0..1.
        boxes: found and annotated ones of each picture.
        pictures: (index of the reader, quality 0..1) of each picture: the mean IoU of its classes, or the mean GPS, OKS
            or box IoU of its people.
    """

    figures: dict[str, Any]
    boxes: list[PictureBoxes]
    pictures: list[tuple[int, float]]


def evaluate_dataset(
    analyzer: Analyzer,
    reader: Reader,
    progress: Progress,
    surface: GpsSurface | None = None,
    missing_predictions: MissingPredictions = "background",
    *,
    exact: bool = False,
    most: int | None = None,
) -> DatasetResult:
    """Measure one split.

    Args:
        surface: the body that GPS is measured on; without one there are no GPS figures.
        missing_predictions: how pictures where nobody is found count in mIoU and accuracies, see `ConfusionMatrix`.
        exact: paste parts by their probabilities (which servers do not give), with the higher score in front, and rank
            people by the score of the box alone.
        most: measure only the first pictures, at most this many.

    Raises:
        DatasetError: a picture or its labels are missing or broken, or of other classes than the model's; or there is
            no picture.
    """
    refuse_no_pictures(reader)
    classes = len(analyzer.info.classes)
    if analyzer.info.tasks.get("parsing") and reader.classes not in (None, classes):
        raise DatasetError(
            f"{reader.name} has {reader.classes} part classes, and {analyzer.info.name} {classes}: measure a model "
            "that was trained on its classes (CIHP has 20, MHP v2 59)"
        )
    found = _Collected(ConfusionMatrix(classes, missing_predictions), ParsedPeople(classes), PartRegions(classes))
    parses, densepose = (bool(analyzer.info.tasks.get(task)) for task in ("parsing", "densepose"))
    pictures: list[tuple[int, float]] = []
    count = len(reader) if most is None else min(most, len(reader))
    for index in progress(range(count), reader.name):
        record = reader.read(index)
        if not parses:
            record = replace(record, parts=None)
        pointed = densepose and any(p.points is not None for p in record.people)
        body = surface if pointed else None
        options = Options(
            _tasks(record, body), confidence=LEAST_RANKED_SCORE, part_probs=exact and record.parts is not None
        )
        quality = _measure(found, analyzer, record, body, options, keypoints=reader.keypoints, exact=exact)
        pictures.append((index, quality))
    return DatasetResult(_figures(found, count, analyzer.info.classes), found.boxes, pictures)


def _tasks(record: Record, body: GpsSurface | None) -> frozenset[str]:
    wanted = {name for name, it in (("parsing", record.parts), ("densepose", body)) if it is not None}
    return frozenset(wanted or {"parsing"})  # boxes come with any task; parts are the cheaper one


def _measure(
    found: _Collected,
    analyzer: Analyzer,
    record: Record,
    body: GpsSurface | None,
    options: Options,
    *,
    keypoints: bool,
    exact: bool,
) -> float:
    """Analyze a picture and add all that can be compared to `found`. Returns the picture's quality, 0..1."""
    image, located = as_labelled(record.image), None
    try:
        if keypoints and isinstance(analyzer, KeypointLocator):
            people, located = analyzer.locate(image, options)
        else:
            people = analyzer.analyze(image, options)
    except InvalidImage as error:  # which of the split's pictures it is, the error does not say
        refuse_cut_off(record.image)
        reason = str(error).removesuffix(": send it whole")  # a remedy for clients of a gateway
        raise DatasetError(f"{record.image}: {reason}") from error
    except (ImageTooLarge, UnsupportedImage) as error:
        raise DatasetError(f"{record.image}: {error}") from error
    if people.image_size != record.size:
        raise DatasetError(
            f"{record.image}: analysed as {people.image_size} pixels, but its labels are of {record.size}"
        )
    found.boxes.append(_boxes(people, record.people))
    quality = _box_quality(found.boxes[-1])
    if located is not None:
        quality = _keypoints(found, people, located, record.people)
    if body is not None:
        quality = _points(found, people, record, body, exact=exact)
    if record.parts is not None:
        quality = _parsing(found, people, record, exact=exact)
    return quality


def _box_quality(boxes: PictureBoxes) -> float:
    """The mean over the annotated people of their best IoU; 1 if there is nobody."""
    if not len(boxes.truth):
        return 1.0
    return float(box_iou(boxes.boxes, boxes.truth).max(0).mean()) if len(boxes.boxes) else 0.0


def _boxes(people: People, annotated: Sequence[Annotated]) -> PictureBoxes:
    def of(crowd: bool) -> NDArray[np.float32]:
        return np.array([p.box for p in annotated if p.crowd == crowd], np.float32).reshape(-1, 4)

    return PictureBoxes(people.boxes, people.scores, of(crowd=False), of(crowd=True))


def _parsing(found: _Collected, people: People, record: Record, *, exact: bool) -> float:
    """Add the part labels of a picture. Returns its mean IoU over the classes."""
    assert record.parts is not None
    assert record.instances is not None
    found.labelled += 1
    maps = [on_picture(people, index, people.crop(index, exact)[0]) for index in range(len(people))]
    sure = np.flatnonzero(people.scores >= _ON_MAP.get(len(found.classes), SURE))
    shown = people.select(sure)
    on_map = _painted(shown, [maps[index] for index in sure])[0] if exact else shown.label_map()
    found.classes.add(record.parts, on_map if len(people) else None)
    truths = [person.map_in(record) for person in record.people if person.label]
    found.parsed.add(maps, people.scores if exact else people.map_scores("parsing"), truths)
    everybody = _painted(people, maps) if exact else (people.label_map(), people.instance_map())
    found.regions.add(*everybody, people.scores, record.parts, record.instances)
    own = ConfusionMatrix(len(found.classes))
    own.add(record.parts, on_map)
    return own.mean_iou()


def _painted(people: People, maps: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Class labels [H,W] of a picture, and the owner of each pixel [H,W]: 0 nobody, k the k-th person.

    People are painted in the order of their scores, the highest last, as in the authors' code.

    Args:
        maps: part labels [H,W] of each person on the whole picture.
    """
    labels, owners = np.zeros(people.image_size, np.uint8), np.zeros(people.image_size, np.uint16)
    for index in people.back_to_front():
        mask = maps[index] > 0
        labels[mask], owners[mask] = maps[index][mask], index + 1
    return labels, owners


def _points(found: _Collected, people: People, record: Record, surface: GpsSurface, *, exact: bool) -> float:
    """Add the DensePose points of a picture. Returns the mean over its people with points of their best GPS."""
    people = people.select(np.argsort(-people.scores, kind="stable")[:MOST_DETECTIONS])
    annotated = record.people
    boxes = np.array([p.box for p in annotated], np.float64).reshape(-1, 4)
    overlap = box_iou(people.boxes, boxes)
    crowd = np.array([p.crowd for p in annotated], bool)
    pointless = np.array([p.crowd or p.points is None or not len(p.points.part) for p in annotated], bool)
    similarity, silhouettes = np.zeros((2, len(people), len(annotated)))
    for column, person in enumerate(annotated):
        if pointless[column] or person.points is None:
            continue
        for row in np.flatnonzero(overlap[:, column] > COMPARED_OVERLAP):
            index = int(row)
            similarity[index, column] = _similarity(surface, people, index, person.box, person.points)
            silhouettes[index, column] = _silhouette_iou(people, index, person.box, person.points)
    covered = np.where(crowd[None], box_coverage(people.boxes, boxes), overlap)
    common = (covered, box_areas(people.boxes), _areas(annotated), pointless, crowd)
    found.pointed += int((~pointless).sum())
    ranked_by = people.scores if exact else people.map_scores("densepose")
    found.points.append(PicturePoints(ranked_by, similarity, *common))
    found.masked.append(PicturePoints(ranked_by, np.sqrt(similarity * silhouettes), *common))
    best = similarity[:, ~pointless]
    return float(best.max(0).mean()) if best.size else float(pointless.all())


def _areas(annotated: Sequence[Annotated]) -> NDArray[np.float64]:
    boxes = box_areas(np.array([p.box for p in annotated], np.float64).reshape(-1, 4))
    return np.array([b if p.area is None else p.area for p, b in zip(annotated, boxes, strict=True)], np.float64)


def _keypoints(
    found: _Collected, people: People, keypoints: NDArray[np.float32], annotated: Sequence[Annotated]
) -> float:
    """Add the keypoints of a picture. Returns the mean over its people with keypoints of their best OKS."""
    unknown = np.zeros((len(SIGMAS), 3), np.float32)
    truth = np.reshape([unknown if p.keypoints is None else p.keypoints for p in annotated], (-1, *unknown.shape))
    boxes = np.array([p.box for p in annotated], np.float64).reshape(-1, 4)
    crowd = np.array([p.crowd for p in annotated], bool)
    picture = compare(people.scores, keypoints, truth, boxes, _areas(annotated), crowd)
    found.keypoints.append(picture)
    best = picture.similarity[:, ~picture.unlabelled]
    return float(best.max(0).mean()) if best.size else float(picture.unlabelled.all())


def _similarity(
    surface: GpsSurface, people: People, index: int, box: NDArray[np.float32], points: DensePosePoints
) -> float:
    """GPS of a detection and a person: the mean similarity of the annotated points."""
    x = box[0] + points.x * (box[2] - box[0]) / _EVALUATED
    y = box[1] + points.y * (box[3] - box[1]) / _EVALUATED
    part, u, v = read_cells(people.iuv_cells(index), people.boxes[index], x, y)
    predicted, true = surface.points(part, u, v), surface.points(points.part, points.u, points.v)
    return float(point_similarity(surface.geodesic(predicted, true), points.part).mean())


def _silhouette_iou(people: People, index: int, box: NDArray[np.float32], points: DensePosePoints) -> float:
    """IoU of the detected and the annotated silhouette, within the smallest frame around both boxes."""
    low = np.floor(np.minimum(box[:2], people.boxes[index, :2])).astype(int)
    high = np.ceil(np.maximum(box[2:], people.boxes[index, 2:])).astype(int)
    ys, xs = np.mgrid[low[1] : high[1], low[0] : high[0]] + 0.5
    part, _, _ = read_cells(people.iuv_cells(index), people.boxes[index], xs.ravel(), ys.ravel())
    columns = np.floor((xs.ravel() - box[0]) / (box[2] - box[0]) * _FRAME).astype(int)
    rows = np.floor((ys.ravel() - box[1]) / (box[3] - box[1]) * _FRAME).astype(int)
    inside = (columns >= 0) & (columns < _FRAME) & (rows >= 0) & (rows < _FRAME)
    painted = points.regions[rows.clip(0, _FRAME - 1), columns.clip(0, _FRAME - 1)] > 0
    true, predicted = painted & inside, part > 0
    return float((true & predicted).sum() / max((true | predicted).sum(), 1))


def _figures(found: _Collected, pictures: int, names: Sequence[str]) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "pictures": pictures,
        "people": int(sum(len(picture.truth) for picture in found.boxes)),
        "box_ap": mean_box_precision(found.boxes),
        "box_ap_50": average_precision(found.boxes),
    }
    if found.labelled:
        figures |= {
            "miou": found.classes.mean_iou(),
            "pixel_accuracy": found.classes.pixel_accuracy(),
            "mean_class_accuracy": found.classes.mean_class_accuracy(),
            "ap_p_50": found.parsed.average_precision(0.5),
            "ap_p_vol": found.parsed.average_precision_volume(),
            "pcp_50": found.parsed.pcp(0.5),
            "ap_r_50": found.regions.average_precision(0.5),
            "ap_r_vol": found.regions.average_precision_volume(),
            "iou": dict(zip(names, found.classes.iou().tolist(), strict=True)),
        }
    if found.pointed:
        for name, pictures_ in (("gps", found.points), ("gpsm", found.masked)):
            figures |= {
                f"{name}_ap": gps_average_precision(pictures_),
                f"{name}_ap_50": gps_average_precision(pictures_, 0.5),
                f"{name}_ap_75": gps_average_precision(pictures_, 0.75),
                f"{name}_ap_medium": gps_average_precision(pictures_, area=AREAS["medium"]),
                f"{name}_ap_large": gps_average_precision(pictures_, area=AREAS["large"]),
            }
    if found.keypoints:
        figures |= {
            "keypoint_ap": keypoint_average_precision(found.keypoints),
            "keypoint_ap_50": keypoint_average_precision(found.keypoints, 0.5),
            "keypoint_ap_75": keypoint_average_precision(found.keypoints, 0.75),
            "keypoint_ap_medium": keypoint_average_precision(found.keypoints, area=AREAS["medium"]),
            "keypoint_ap_large": keypoint_average_precision(found.keypoints, area=AREAS["large"]),
        }
    return figures


def open_surface(path: Path) -> GpsSurface:
    """The body in a file surface.npz (`parsing-rcnn render`), or in a folder with SMPL's files (training.metrics.smpl).

    Raises:
        DatasetError: neither is there, or it cannot be read.
        OutputError: what SMPL's files are turned into cannot be written beside them.
    """
    try:
        if path.is_dir():
            return SmplSurface.load(path)
        return BodySurface.load(path)
    except OutputError:
        raise
    except (SurfaceError, OSError, KeyError, ValueError) as error:
        raise DatasetError(f"{path}: no body to measure GPS on ({error}); give surface.npz or SMPL's folder") from error
