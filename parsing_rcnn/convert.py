"""People in the types of other libraries, each of which is imported only when it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.codecs import png, rle
from parsing_rcnn.codecs.rle import RLE
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import DENSEPOSE

PERSON_CATEGORY = 1
"""COCO's id of "person"."""


def person_rle(people: People, index: int) -> RLE:
    """One person's silhouette in the full frame, as COCO run lengths.

    Raises:
        ValueError: neither parts nor IUV were computed.
    """
    mask, offset = people.mask(index)
    return rle.encode_at(mask, offset, people.image_size)


def outlines(mask: NDArray[np.bool_], offset: tuple[int, int] = (0, 0)) -> list[NDArray[np.int32]]:
    """The outer outlines of a mask, largest first. Holes and pieces with fewer than three corners are lost.

    Args:
        mask: bool [h,w].
        offset: (x0, y0) of its top left pixel in the picture.

    Returns:
        int32 [k,2] (x, y) for each piece: its outermost pixels, so that `cv2.fillPoly` restores the piece.
    """
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=offset)
    pieces = [np.asarray(line[:, 0], dtype=np.int32) for line in found if len(line) >= 3]
    return sorted(pieces, key=lambda piece: (cv2.contourArea(piece), len(piece)), reverse=True)


@dataclass(frozen=True)
class _Piece:
    """One class of one person: box (x0, y0, width, height) in whole pixels, score of the person times the class's."""

    person: int
    class_id: int
    score: float
    box: tuple[int, int, int, int]
    mask: RLE


def _pieces(people: People, charts: bool) -> list[_Piece]:
    """Everybody's parts or, with `charts`, the I of their charts.

    Raises:
        ValueError: they were not computed; also where nobody was found.
    """
    if (people.iuv if charts else people.parts) is None:
        name, task = ("iuv", "densepose") if charts else ("parts", "parsing")
        raise ValueError(f'these people have no {name}: analyze with the task "{task}"')
    found = []
    scores = people.iuv_scores if charts else people.part_scores
    for index in range(len(people)):
        if charts:
            labels, (left, top) = people.iuv_crop(index)[0][0], people.window(index)[:2]
        else:
            labels, (left, top) = people.crop(index)
        for class_id, crop in rle.encode_classes(labels).items():
            x, y, width, height = cv2.boundingRect((labels == class_id).view(np.uint8))
            score = float(people.scores[index])
            if scores is not None:
                score *= float(scores[index, class_id])
            mask = rle.shift(crop, (left, top), people.image_size)
            found.append(_Piece(index, class_id, score, (left + x, top + y, width, height), mask))
    return found


def _one_of(parts: bool, charts: bool) -> bool:
    """Whether parts or charts are wanted instead of people.

    Raises:
        ValueError: both are wanted, and their classes have the same numbers.
    """
    if parts and charts:
        raise ValueError("parts or charts: their classes have the same numbers, so ask for one after the other")
    return parts or charts


def to_coco(
    people: People, image_id: int, *, boxes: bool = True, parts: bool = False, charts: bool = False
) -> list[dict[str, Any]]:
    """COCO results, as `pycocotools.coco.COCO.loadRes` takes them.

    Args:
        people: of one picture.
        image_id: of the picture in the ground truth.
        boxes: False leaves `bbox` out where there are maps. pycocotools takes a result's area from its box where it has
            one, so that AP of silhouettes by area ("small", "medium") would go by the boxes.
        parts: one result for each part of each person, instead of one for each person.
        charts: one result for each I of each person's charts.

    Returns:
        One dict for each person: `image_id`, `category_id` 1, `score`, `bbox` [x, y, width, height] in pixels, and
        `segmentation` where there are maps. Of parts, `category_id` is the class of the taxonomy, `score` that of the
        person times that of the part, and `person` the index of the person; of charts likewise, with I of `DENSEPOSE`.

    Raises:
        ValueError: `parts` or `charts`, which were not computed; or both.
    """
    results: list[dict[str, Any]] = []
    if _one_of(parts, charts):
        for piece in _pieces(people, charts):
            own = {"bbox": [float(side) for side in piece.box]} if boxes else {}
            whose = {"image_id": image_id, "category_id": piece.class_id, "score": piece.score, "person": piece.person}
            results.append({**whose, **own, "segmentation": piece.mask})
        return results
    for index, (box, score) in enumerate(zip(people.boxes.tolist(), people.scores.tolist(), strict=True)):
        x1, y1, x2, y2 = box
        result: dict[str, Any] = {"image_id": image_id, "category_id": PERSON_CATEGORY, "score": score}
        maps = people.parts is not None or people.iuv is not None
        if boxes or not maps:
            result["bbox"] = [x1, y1, x2 - x1, y2 - y1]
        if maps:
            result["segmentation"] = person_rle(people, index)
        results.append(result)
    return results


def to_supervision(people: People, *, parts: bool = False, charts: bool = False, maps: bool = False) -> Any:
    """A `supervision.Detections` with masks kept as run lengths (`CompactMask`).

    Args:
        people: of one picture.
        parts: one detection for each part of each person, instead of one for each person.
        charts: one detection for each I of each person's charts.
        maps: put the arrays `parts` and `iuv` of each person into `data`, from where supervision's CSVSink and JSONSink
            write all of it: 200 KB a person and more.

    Returns:
        Detections with `xyxy`, `confidence`, `class_id` 0, `mask` where there are maps, `tracker_id` where people have
        one, and `data` holding `class_name`. Of parts, `class_id` and `class_name` are those of the taxonomy,
        `confidence` that of the person times that of the part, and `data` has `person`, the index of the person; of
        charts likewise, with I of `DENSEPOSE`.

    Raises:
        ImportError: supervision is not installed.
        ValueError: `parts` or `charts`, which were not computed; or more than one of the three.
    """
    try:
        supervision = import_module("supervision")
        compact_mask = import_module("supervision.detection.compact_mask").CompactMask
    except ImportError as error:
        raise ImportError("to_supervision needs supervision >= 0.30: pip install supervision") from error
    if _one_of(parts, charts):
        if maps:
            raise ValueError("maps are of people: leave them out where you ask for parts or charts")
        pieces = _pieces(people, charts)
        whole = np.array([piece.box for piece in pieces], dtype=np.float32).reshape(-1, 4)
        whole[:, 2:] += whole[:, :2]
        rles = [piece.mask for piece in pieces]
        ids = np.array([piece.class_id for piece in pieces], dtype=int)
        whose = np.array([piece.person for piece in pieces], dtype=int)
        return supervision.Detections(
            xyxy=whole,
            mask=compact_mask.from_coco_rle(rles, whole - [0, 0, 1, 1], people.image_size) if pieces else None,
            confidence=np.array([piece.score for piece in pieces], dtype=np.float32),
            class_id=ids,
            tracker_id=None if people.tracker_id is None else people.tracker_id[whose].astype(int),
            data={
                "class_name": np.array((DENSEPOSE if charts else people.taxonomy).classes)[ids],
                "person": whose,
            },
        )
    count = len(people)
    data: dict[str, NDArray[Any]] = {"class_name": np.full(count, "person")}
    if maps:
        data |= {name: value for name in ("parts", "iuv") if (value := getattr(people, name)) is not None}
    mask = None
    if count and (people.parts is not None or people.iuv is not None):
        # A compact mask takes inclusive corners; the window is where the pixels of the mask are.
        corners = np.array([people.window(i) for i in range(count)], dtype=np.float32) - [0, 0, 1, 1]
        rles = [person_rle(people, i) for i in range(count)]
        mask = compact_mask.from_coco_rle(rles, corners, people.image_size)
    return supervision.Detections(
        xyxy=people.boxes.copy(),
        mask=mask,
        confidence=people.scores.copy(),
        class_id=np.zeros(count, int),
        tracker_id=None if people.tracker_id is None else people.tracker_id.astype(int),
        data=data,
    )


@dataclass(frozen=True, eq=False)
class ChartResult:
    """One person's charts in detectron2's three forms, without detectron2 or torch.

    `DensePoseChartResultQuantized(torch.from_numpy(r.labels_uv_uint8))` makes detectron2's own object.

    Attributes:
        labels_uv_uint8: uint8 [3,h,w]: part 0..24, U times 255, V times 255, at the resolution of the picture.
        box: (x0, y0, x1, y1), whole pixels, x1 and y1 exclusive: where the map lies in the picture.
        score: of the person and the charts, by which they are ranked (`People.map_scores`).
    """

    labels_uv_uint8: NDArray[np.uint8]
    box: tuple[int, int, int, int]
    score: float

    def __repr__(self) -> str:
        x0, y0, x1, y1 = self.box
        return f"ChartResult({x1 - x0}x{y1 - y0} at ({x0}, {y0}): {self.score:.2f})"

    @property
    def labels(self) -> NDArray[np.int64]:
        """Part of each pixel, int64 [h,w], 0..24."""
        return np.asarray(self.labels_uv_uint8[0], dtype=np.int64)

    @property
    def uv(self) -> NDArray[np.float32]:
        """U and V, float32 [2,h,w] in 0..1."""
        return self.labels_uv_uint8[1:].astype(np.float32) / np.float32(255)

    def compressed(self) -> tuple[tuple[int, int, int], str]:
        """(`shape_chw`, `labels_uv_str`): the map as a PNG in base64."""
        _, height, width = self.labels_uv_uint8.shape
        return (3, height, width), encode_chart(self.labels_uv_uint8)


def encode_chart(labels_uv: NDArray[np.uint8]) -> str:
    """uint8 [3,h,w] -> the PNG in base64 that detectron2 calls `labels_uv_str`."""
    return png.to_base64(png.encode_iuv_planes(labels_uv))


def to_densepose(people: People) -> list[ChartResult]:
    """Every person's charts, cut to their box.

    Raises:
        ValueError: IUV was not computed.
    """
    results, scores = [], people.map_scores("densepose")
    for index in range(len(people)):
        labels_uv, _ = people.iuv_crop(index)
        results.append(ChartResult(labels_uv, people.window(index), float(scores[index])))
    return results
