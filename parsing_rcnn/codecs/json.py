"""People as JSON: boxes with their centre and their corners, COCO run lengths, PNGs in base64."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

import cv2
import numpy as np
import orjson
from numpy.typing import NDArray

from parsing_rcnn.codecs import png, rle
from parsing_rcnn.convert import encode_chart, outlines
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.maps.full_frame import instances_of
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import DENSEPOSE, Taxonomy

MaskFormat = Literal["rle", "png", "polygon", "none"]
MASK_FORMATS: tuple[str, ...] = get_args(MaskFormat)

INCLUDE = ("masks", "parts", "label_map", "iuv", "part_masks", "inds")
"""What can be carried beyond the boxes: "inds" of all people together, the others in each person's entry."""

DEFAULT_INCLUDE = ("masks", "parts", "label_map", "iuv")

_STRIP = 2**20
"""Pixels that are counted at once: float32, in which OpenCV counts, holds every number up to 2**24."""


def to_json(
    people: People,
    *,
    include: Collection[str] = DEFAULT_INCLUDE,
    mask_format: str = "rle",
    exact: bool = False,
) -> dict[str, Any]:
    """A plain dict, ready for `dumps`; `supervision.Detections.from_inference` reads it as it is.

    Boxes are in pixels of the upright original, x2 and y2 exclusive. `offset` is the [x0, y0] where everything that is
    as large as the box (`parts_png`, `mask_png`, `densepose`, a part's `crop_rle`) lies in the picture.

    Args:
        people: of one picture.
        include: of `INCLUDE`. "masks": the silhouette in `mask_format`. "parts": class, score and area of each part.
            "label_map": `parts_png`. "iuv": `densepose`, with class, score and area of each chart. "part_masks":
            `crop_rle` of each part. "inds": `inds_png`. What was not computed is left out.
        mask_format: "rle": full frame; "png": cut to the box; "polygon": in `polygons` the outline of every piece,
            largest first, as of `People.polygons` (holes are filled; pieces with fewer than three corners, dots and
            lines a pixel wide, are left out), and in `points` the first of them; "none".
        exact: parts as in `People.crop`, where there are any; and IUV is pasted smoothly.

    Returns:
        `image` {width, height}, `predictions` in the order of the people, `timings_ms`; with "inds" also `inds_png`,
        the instances of the whole picture as a grey PNG: 0 for nobody, else the person's index plus one. A person is
        where a part is or I > 0, by the maps that were computed (an untrained head's does not count beside another),
        and `parsing_rcnn.maps.overlaps.assign_contested_pixels` decides who is in front.

    Raises:
        InvalidOptions: an unknown name in `include` or `mask_format`.
        ValueError: `exact`, and parts without `part_probs`.
    """
    unknown = sorted(set(include) - set(INCLUDE))
    if unknown:
        raise InvalidOptions(f"include: {', '.join(map(repr, unknown))} is unknown, choose from {', '.join(INCLUDE)}")
    if mask_format not in MASK_FORMATS:
        raise InvalidOptions(f"mask_format: {mask_format!r} is unknown, choose from {', '.join(MASK_FORMATS)}")
    height, width = people.image_size
    predictions, claims, sources = [], [], people.silhouette_tasks
    for index in range(len(people)):
        labels, iuv = _maps(people, index, include, exact)
        predictions.append(_person(people, index, (labels, iuv), include, mask_format, exact))
        own = {"parsing": labels, "densepose": None if iuv is None else iuv[0]}
        planes = [plane > 0 for task, plane in own.items() if plane is not None and task in sources]
        if "inds" in include and planes:
            claims.append(planes[0] | planes[-1])
    document: dict[str, Any] = {
        "image": {"width": width, "height": height},
        "predictions": predictions,
        "timings_ms": {stage: round(float(ms), 3) for stage, ms in people.timings.items()},
    }
    if "inds" in include and len(claims) == len(people):  # not of boxes alone
        document["inds_png"] = png.to_base64(png.encode_inds(instances_of(people, claims)))
    return document


def dumps(document: Any) -> bytes:
    """JSON text in UTF-8; numpy scalars and arrays are written as numbers and lists."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _maps(
    people: People, index: int, include: Collection[str], exact: bool
) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None]:
    """A person's classes [h,w] where there are parts, and IUV [3,h,w] where it is needed."""
    labels = None if people.parts is None else people.crop(index, exact)[0]
    silhouettes = "inds" in include or "parsing" not in people.silhouette_tasks
    wanted = people.iuv is not None and ("iuv" in include or silhouettes)
    return labels, people.iuv_crop(index, exact=exact)[0] if wanted else None


def _person(
    people: People,
    index: int,
    maps: tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None],
    include: Collection[str],
    mask_format: str,
    exact: bool,
) -> dict[str, Any]:
    x1, y1, x2, y2 = (round(v, 3) for v in people.boxes[index].tolist())
    entry: dict[str, Any] = {
        "x": round((x1 + x2) / 2, 4),
        "y": round((y1 + y2) / 2, 4),
        "width": round(x2 - x1, 3),
        "height": round(y2 - y1, 3),
        "bbox": [x1, y1, x2, y2],
        "confidence": round(float(people.scores[index]), 5),
        "class": "person",
        "class_id": 0,
        "detection_id": str(index),
        "tracker_id": None if people.tracker_id is None else int(people.tracker_id[index]),
        "offset": list(people.window(index)[:2]),
    }
    labels, iuv = maps
    silhouette = labels
    if iuv is not None and "parsing" not in people.silhouette_tasks:
        silhouette = iuv[0]
    if silhouette is not None and "masks" in include:
        entry |= _mask(silhouette > 0, people, index, mask_format)
    if labels is not None:
        if "parts" in include or "part_masks" in include:
            areas = _areas(labels) if exact else people.areas(index)
            masks = rle.encode_classes(labels) if "part_masks" in include else {}
            entry["parts"] = _classes(areas, people.taxonomy, _row(people.part_scores, index), masks)
        if "label_map" in include:
            entry["parts_png"] = png.to_base64(png.encode_labels(labels))
    if iuv is not None and "iuv" in include:
        charts: dict[str, Any] = {"shape_chw": list(iuv.shape), "labels_uv_str": encode_chart(iuv)}
        if people.iuv_scores is not None:
            charts["score"] = round(float(people.certainty("densepose")[index]), 4)
        areas = _areas(iuv[0]) if exact else people.chart_areas(index)
        charts["charts"] = _classes(areas, DENSEPOSE, _row(people.iuv_scores, index))
        entry["densepose"] = charts
    return entry


def _areas(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Pixels of each class, int64 [256]: in a tenth of the time of `np.bincount`, which makes eight bytes of each."""
    rows = max(_STRIP // labels.shape[1], 1)
    strips = (labels[top : top + rows] for top in range(0, len(labels), rows))
    counts = [cv2.calcHist([strip], [0], None, [256], [0, 256]).ravel().astype(np.int64) for strip in strips]
    return np.asarray(np.sum(counts, axis=0), dtype=np.int64)


def _mask(mask: NDArray[np.bool_], people: People, index: int, mask_format: str) -> dict[str, Any]:
    left, top, _, _ = people.window(index)
    if mask_format == "rle":
        return {"rle": rle.encode_at(mask, (left, top), people.image_size)}
    if mask_format == "png":
        return {"mask_png": png.to_base64(png.encode_labels(mask.astype(np.uint8) * np.uint8(255)))}
    if mask_format == "polygon":
        pieces = [[{"x": x, "y": y} for x, y in piece.tolist()] for piece in outlines(mask, (left, top))]
        if pieces:  # readers of Roboflow's answers know `points` alone
            return {"points": pieces[0], "polygons": pieces}
    return {}


def _row(scores: NDArray[np.float32] | None, index: int) -> NDArray[np.float32] | None:
    return None if scores is None else scores[index]


def _classes(
    areas: NDArray[Any],
    taxonomy: Taxonomy,
    scores: NDArray[np.float32] | None,
    masks: Mapping[int, rle.RLE] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """An entry for each class with pixels (`areas` [classes]) but the background, with its score and mask if known."""
    found: list[dict[str, Any]] = []
    for class_id in (np.flatnonzero(areas[1:]) + 1).tolist():
        entry: dict[str, Any] = {"class": taxonomy.classes[class_id], "class_id": class_id}
        if scores is not None:
            entry["score"] = round(float(scores[class_id]), 4)
        entry["area"] = int(areas[class_id])
        if class_id in masks:
            entry["crop_rle"] = masks[class_id]
        found.append(entry)
    return found
