"""People in the types of other libraries. Those libraries are imported when asked for, and none is needed otherwise."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.codecs import png, rle
from parsing_rcnn.people import People

if TYPE_CHECKING:
    from parsing_rcnn.codecs.rle import RLE

PERSON_CATEGORY = 1
"""COCO's id of "person"."""


def person_rle(people: People, index: int, exact: bool = False) -> RLE:
    """One person's silhouette in the full frame, as COCO run lengths.

    Raises:
        ValueError: neither parts nor IUV were computed.
    """
    mask, offset = people.mask(index, exact)
    return rle.encode_at(mask, offset, people.image_size)


def to_coco(people: People, image_id: int, *, boxes: bool = True) -> list[dict[str, Any]]:
    """COCO results, as `pycocotools.coco.COCO.loadRes` takes them.

    Args:
        people: of one picture.
        image_id: of the picture in the ground truth.
        boxes: False leaves `bbox` out where there are maps. pycocotools takes a result's area from its box where it has
            one, so that AP of silhouettes by area ("small", "medium") would go by the boxes.

    Returns:
        One dict a person: `image_id`, `category_id` 1, `score`, `bbox` [x, y, width, height] in pixels, and
        `segmentation` where there are maps.
    """
    results: list[dict[str, Any]] = []
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


def to_supervision(people: People) -> Any:
    """A `supervision.Detections` with masks kept as run lengths (`CompactMask`) and the maps in its `data`.

    Returns:
        Detections with `xyxy`, `confidence`, `class_id` 0, `mask` where there are maps, and `data` holding
        `class_name`, `parts` and `iuv`.

    Raises:
        ImportError: supervision is not installed.
    """
    try:
        supervision = import_module("supervision")
        compact_mask = import_module("supervision.detection.compact_mask").CompactMask
    except ImportError as error:
        raise ImportError("to_supervision needs supervision >= 0.30: pip install supervision") from error
    count = len(people)
    data: dict[str, NDArray[Any]] = {"class_name": np.full(count, "person")}
    data |= {name: value for name in ("parts", "iuv") if (value := getattr(people, name)) is not None}
    mask = None
    if count and (people.parts is not None or people.iuv is not None):
        # A compact mask takes inclusive corners; the window is where the pixels of the mask are.
        corners = np.array([people.window(i) for i in range(count)], dtype=np.float32) - [0, 0, 1, 1]
        rles = [person_rle(people, i) for i in range(count)]
        mask = compact_mask.from_coco_rle(rles, corners, people.image_size)
    return supervision.Detections(
        xyxy=people.boxes.copy(), mask=mask, confidence=people.scores.copy(), class_id=np.zeros(count, int), data=data
    )


@dataclass(frozen=True, eq=False)
class ChartResult:
    """One person's charts in detectron2's three forms, without detectron2 or torch.

    `DensePoseChartResultQuantized(torch.from_numpy(r.labels_uv_uint8))` makes detectron2's own object.

    Attributes:
        labels_uv_uint8: uint8 [3,h,w]: part 0..24, U times 255, V times 255, at the resolution of the picture.
        box: (x0, y0, x1, y1), whole pixels, x1 and y1 exclusive: where the map lies in the picture.
        score: of the person.
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


def decode_chart(labels_uv_str: str) -> NDArray[np.uint8]:
    """`labels_uv_str` -> uint8 [3,h,w].

    Raises:
        InvalidImage: it is no PNG with three channels.
    """
    return np.ascontiguousarray(png.decode_iuv(base64.b64decode(labels_uv_str)).transpose(2, 0, 1))


def to_densepose(people: People) -> list[ChartResult]:
    """Every person's charts, cut to their box.

    Raises:
        ValueError: IUV was not computed.
    """
    results = []
    for index in range(len(people)):
        labels_uv, _ = people.iuv_crop(index)
        results.append(ChartResult(labels_uv, people.window(index), float(people.scores[index])))
    return results
