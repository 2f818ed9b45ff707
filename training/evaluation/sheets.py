"""Sheets of pictures of an evaluation: best, median and worst answers beside the truth."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn import draw
from parsing_rcnn.analyzer import Analyzer, Options
from parsing_rcnn.taxonomy import CIHP, DENSEPOSE
from training.data.datasets.records import Reader, Record, as_labelled, read_pixels
from training.data.sources import read_jpeg
from training.evaluation.common import SURE
from training.evaluation.consistency import label_maps, part_map
from training.evaluation.datasets import DatasetResult, KeypointLocator
from training.evaluation.evaluate import GroupResult, PhotoResult
from training.evaluation.synthetic import SyntheticResult

TILE = 256  # pixels, height of one picture of a sheet
_GREY = 128
_OUTSIDE = 8  # pixels from the edge where nothing of a dot or a line is seen
_COLUMNS = 4  # tiles of a row
_GROUPS = 15  # group photos of a sheet
_WORST = 3 * _COLUMNS  # pictures of a published dataset on its sheet
_Item = TypeVar("_Item")


def photo_sheet(photos: list[PhotoResult], *, maps_only: bool = False) -> NDArray[np.uint8]:
    """Best, median and worst photos: a row each, every tile photo | truth | prediction. uint8 [H,W,3] BGR.

    Args:
        maps_only: show the maps alone, with no pixel of the photo.
    """
    rows = _best_median_worst(sorted(photos, key=lambda photo: -photo.miou))
    return _grid([[_photo_tile(photo, maps_only) for photo in row] for row in rows])


def _best_median_worst(ordered: list[_Item]) -> list[list[_Item]]:
    """Rows of the first, the middle and the last items."""
    middle = max(0, len(ordered) // 2 - _COLUMNS // 2)
    return [ordered[:_COLUMNS], ordered[middle : middle + _COLUMNS], ordered[-_COLUMNS:]]


def _photo_tile(photo: PhotoResult, maps_only: bool) -> NDArray[np.uint8]:
    image = _read(photo.path)
    if maps_only:
        maps = [_colours(labels, CIHP.palette) for labels in (photo.truth, photo.prediction)]
        return _caption(np.hstack([_to_height(m) for m in maps]), f"{100 * photo.miou:.0f}")
    pictures = [image]
    for labels in (photo.truth, photo.prediction):
        pictures.append(_painted(image, labels, CIHP.palette))
    tile = np.hstack([_to_height(picture) for picture in pictures])
    return _caption(tile, f"{photo.path.stem}  mIoU {100 * photo.miou:.0f}")


def synthetic_sheet(
    result: SyntheticResult, folder: Path, analyzer: Analyzer, *, people_only: bool = False
) -> NDArray[np.uint8]:
    """Best, median and worst rendered pictures by right parts: picture | true I | found I. uint8 [H,W,3] BGR.

    Args:
        people_only: paint the background photos grey.
    """
    rows = _best_median_worst(sorted(result.pictures, key=lambda item: -item[1]))
    return _grid([[_synthetic_tile(folder, analyzer, *item, people_only) for item in row] for row in rows])


def _synthetic_tile(folder: Path, analyzer: Analyzer, name: str, right: float, people_only: bool) -> NDArray[np.uint8]:
    image = _read(folder / "Images" / name)
    truth = _read(folder / "IUV" / f"{Path(name).stem}.png")[..., 0]
    _, found = label_maps(analyzer, image[..., ::-1])
    if people_only:
        image = np.where(truth[..., None] > 0, image, 90).astype(np.uint8)
    pictures = [image]
    for parts in (truth, found):
        pictures.append(_painted(image, parts, DENSEPOSE.palette))
    return _caption(np.hstack([_to_height(p) for p in pictures]), f"{Path(name).stem}  right I {100 * right:.0f} %")


def group_sheet(photos: list[GroupResult]) -> NDArray[np.uint8]:
    """Evenly spaced group photos: truth white, ignored grey, found (score >= 0.5) green. uint8 [H,W,3] BGR."""
    chosen = [photos[i] for i in np.unique(np.linspace(0, len(photos) - 1, _GROUPS).astype(int))]
    tiles = []
    for photo in chosen:
        image = _read(photo.path)
        sure = photo.boxes.scores >= SURE
        for boxes, colour, width in (
            (photo.boxes.crowd, (128, 128, 128), 2),
            (photo.boxes.truth, (255, 255, 255), 3),
            (photo.boxes.boxes[sure], (0, 220, 0), 1),
        ):
            _frames(image, boxes, colour, width)
        tiles.append(_caption(_to_height(image), photo.path.stem))
    return _grid([tiles[start : start + 5] for start in range(0, len(tiles), 5)])


def _read(path: Path) -> NDArray[np.uint8]:
    """A picture in BGR as stored, without any EXIF turn: labels and boxes are of these pixels."""
    return np.ascontiguousarray(read_pixels(path)[..., ::-1])


def _to_height(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    width = max(1, round(image.shape[1] * TILE / image.shape[0]))
    return np.asarray(cv2.resize(image, (width, TILE), interpolation=cv2.INTER_AREA), np.uint8)


def _caption(tile: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    tile = np.ascontiguousarray(tile)
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(tile, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, width, cv2.LINE_AA)
    return tile


def _grid(rows: list[list[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Rows of tiles of equal height, left-aligned on dark grey."""
    strips = [np.hstack(row) for row in rows]
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(s, ((0, 4), (0, width - s.shape[1]), (0, 0)), constant_values=40) for s in strips]
    return np.asarray(np.vstack(padded), np.uint8)


def people_sheet(analyzer: Analyzer, photos: list[Path]) -> NDArray[np.uint8]:
    """Each photo | the 24 DensePose parts of everybody on it | lines of equal U and V. uint8 [H,W,3] BGR."""
    tiles = []
    for path in photos:
        image = read_jpeg(path)
        people = analyzer.analyze(image, Options(confidence=SURE))
        pictures = [image[..., ::-1], _painted(image[..., ::-1], part_map(people), DENSEPOSE.palette)]
        pictures.append(draw.contours(image, people)[..., ::-1])
        tiles.append(_caption(np.hstack([_to_height(p) for p in pictures]), path.stem))
    return _grid([tiles[start : start + _COLUMNS] for start in range(0, len(tiles), _COLUMNS)])


def dataset_sheet(result: DatasetResult, reader: Reader, analyzer: Analyzer) -> NDArray[np.uint8]:
    """The worst pictures of a published dataset: picture | annotations | answer. uint8 [H,W,3] BGR."""
    worst = sorted(result.pictures, key=lambda item: item[1])[:_WORST]
    tiles = [_dataset_tile(reader.read(index), analyzer, quality) for index, quality in worst]
    return _grid([tiles[start : start + _COLUMNS] for start in range(0, len(tiles), _COLUMNS)])


def _dataset_tile(record: Record, analyzer: Analyzer, quality: float) -> NDArray[np.uint8]:
    image = _read(record.image)
    tasks = {"parsing"} if record.parts is not None else {t for t, on in analyzer.info.tasks.items() if on}
    options = Options(tasks=frozenset(tasks), confidence=SURE)
    located: NDArray[np.float32] = np.zeros((0, 0, 3), np.float32)
    if isinstance(analyzer, KeypointLocator) and any(person.keypoints is not None for person in record.people):
        people, located = analyzer.locate(as_labelled(record.image), options)
    else:
        people = analyzer.analyze(as_labelled(record.image), options)
    found, true = image.copy(), image.copy()
    if record.parts is not None:
        palette = people.taxonomy.palette
        found, true = _painted(image, people.label_map(), palette), _painted(image, record.parts, palette)
    elif people.iuv is not None:
        found = np.ascontiguousarray(draw.iuv(people, image[..., ::-1])[..., ::-1])
    for person in record.people:
        colour = (128, 128, 128) if person.crowd else (255, 255, 255)
        _frames(true, person.box[None], colour, 2)
        if person.keypoints is not None:
            _dots(true, person.keypoints[person.keypoints[:, 2] > 0], colour)
        if person.points is not None:
            scale = (person.box[2:] - person.box[:2]) / person.points.regions.shape[0]
            places = person.box[:2] + np.stack([person.points.x, person.points.y], 1) * scale
            for at, part in zip(_drawable(true, places), person.points.part, strict=True):
                cv2.circle(true, at, 3, DENSEPOSE.palette[int(part)][::-1].tolist(), -1)
    _frames(found, people.boxes, (0, 220, 0), 1)
    for own in located:
        _dots(found, own, (0, 220, 0))
    tile = np.hstack([_to_height(picture) for picture in (image, true, found)])
    return _caption(tile, f"{record.image.stem}  {100 * quality:.0f} %")


def _dots(image: NDArray[np.uint8], points: NDArray[np.float32], colour: tuple[int, int, int]) -> None:
    for at in _drawable(image, points[:, :2] - 0.5):
        cv2.circle(image, at, 3, colour, -1)


def _frames(image: NDArray[np.uint8], boxes: NDArray[np.float32], colour: tuple[int, int, int], width: int) -> None:
    for box in boxes:
        first, last = _drawable(image, box.reshape(2, 2))
        cv2.rectangle(image, first, last, colour, width)


def _drawable(image: NDArray[np.uint8], places: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Places [k,2] as OpenCV takes them: what lies far outside the picture lies just outside."""
    height, width = image.shape[:2]
    near = np.rint(places).clip(-_OUTSIDE, (width + _OUTSIDE, height + _OUTSIDE)).astype(int)
    return [(x, y) for x, y in near.tolist()]


def _painted(image: NDArray[np.uint8], labels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels [H,W] in colours over a BGR picture, whose rest is darkened."""
    colours = _colours(labels, palette)
    return np.where(labels[..., None] > 0, 0.35 * image + 0.65 * colours, 0.6 * image).astype(np.uint8)


def _colours(labels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels [H,W] in colours, uint8 [H,W,3] BGR; grey where a label is unknown (255)."""
    everything = np.full((256, 3), _GREY, np.uint8)
    everything[: len(palette)] = palette
    return everything[labels][..., ::-1]
