"""One training picture and its labels, and the affine view that every source uses."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.geometry import PAD_VALUE

FILL = PAD_VALUE  # in training as in serving
IGNORE_LABEL = 255  # in label maps: no loss reads this pixel
LEAST_PIXELS = (12, 5)  # height and width of a person on a drawn canvas: whoever is smaller is ignored
LEAST_VISIBLE = 0.35  # of a person's box: of whom the canvas shows less is ignored
# COCO's keypoints, nose first, as a mirror exchanges them
MIRRORED_KEYPOINTS = np.array([0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15], np.uint8)


@dataclass(frozen=True, eq=False)
class PlacedPoints:
    """DensePose points of a person on a canvas (`training.data.datasets.records.DensePosePoints`).

    Attributes:
        frame: float32 [4], the annotated box in canvas pixels; it may reach beyond the canvas.
        x, y: float32 [k] in canvas pixels.
        part: int64 [k], 1..24; u, v: float32 [k] in 0..1.
        regions: uint8 [256,256], 1..14, painted over the frame.
    """

    frame: NDArray[np.float32]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    part: NDArray[np.int64]
    u: NDArray[np.float32]
    v: NDArray[np.float32]
    regions: NDArray[np.uint8]


@dataclass
class Sample:
    """A canvas with its labels.

    Attributes:
        image: uint8 [H,W,3] RGB.
        boxes: float32 [n,4], visible extents in canvas pixels.
        instance_ids: int64 [n], the value of each person in `instances`; 0 = this person has no part labels.
        ignore: float32 [m,4], regions that are neither person nor background.
        parts: uint8 [H,W] class ids of all labelled people.
        instances: uint8 [H,W], 0 = nobody.
        background_certain: False where unlabelled people may stand in the background.
        iuv: uint8 [H,W,3] DensePose part, U and V times 255, of the people in `mapped`; None: of nobody.
        mapped: values in `instances` of the people whose IUV is known.
        points: DensePose points of people by their `instance_ids`; keypoints: float32 [17,3] of COCO (x, y in canvas
            pixels, visibility 0..2) likewise. These people have no part labels.
        origin: the file that it was made of, or else the source (for messages).
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    instance_ids: NDArray[np.int64]
    ignore: NDArray[np.float32]
    parts: NDArray[np.uint8]
    instances: NDArray[np.uint8]
    background_certain: bool
    iuv: NDArray[np.uint8] | None = None
    mapped: tuple[int, ...] = ()
    points: dict[int, PlacedPoints] = field(default_factory=dict)
    keypoints: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    origin: str = ""


@dataclass(frozen=True)
class View:
    """An affine map from a source picture to a canvas: x' = m @ (x, y, 1), in continuous pixel coordinates."""

    matrix: NDArray[np.float64]
    flipped: bool

    def warp(self, picture: NDArray[np.uint8], size: tuple[int, int], *, labels: bool, fill: int) -> NDArray[np.uint8]:
        """The picture on a canvas of (height, width)."""
        m = self.matrix.copy()
        # OpenCV counts from pixel centres, boxes from pixel corners
        m[:, 2] += m[:, :2] @ (0.5, 0.5) - 0.5
        shrink = np.sqrt(abs(np.linalg.det(m[:, :2])))
        if not labels and shrink < 0.5:  # bilinear sampling of a strongly reduced picture aliases
            factor = int(min(4, 0.999 / shrink))
            picture = np.asarray(cv2.blur(picture, (factor, factor)), np.uint8)
            if factor % 2 == 0:  # its middle lies between pixels: OpenCV's result lies half a pixel right of and below
                m[:, 2] -= m[:, :2] @ (0.5, 0.5)
        out = cv2.warpAffine(
            picture,
            m,
            (size[1], size[0]),
            flags=cv2.INTER_NEAREST if labels else cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(fill,) * 3,
        )
        return np.asarray(out, np.uint8)

    def of_shifted(self, pixels: float) -> View:
        """The same view for a label map that lies so many source pixels right of and below its picture."""
        matrix = self.matrix.copy()
        matrix[:, 2] -= matrix[:, :2] @ (pixels, pixels)
        return View(matrix, self.flipped)

    def boxes(self, boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """Boxes [n,4] on the canvas, cut to it: the hull of each box's corners."""
        corners = boxes.reshape(-1, 4)[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
        moved = corners @ self.matrix[:, :2].T + self.matrix[:, 2]
        low, high = moved.min(1), moved.max(1)
        limit = np.array([size[1], size[0]], np.float64)
        return np.concatenate([low.clip(0, limit), high.clip(0, limit)], 1).astype(np.float32)


def random_view(
    rng: np.random.Generator,
    anchor: tuple[float, float],
    target: tuple[float, float],
    scale: float,
    *,
    aspect: float = 1.1,
    degrees: float = 4.0,
) -> View:
    """A view that puts the source point `anchor` on the canvas point `target` at `scale`, flipped half the time.

    Args:
        aspect: the horizontal scale is multiplied by a log-uniform value in [1/aspect, aspect].
        degrees: standard deviation of the rotation.
    """
    stretch = float(np.exp(rng.uniform(-np.log(aspect), np.log(aspect))))
    flipped = bool(rng.random() < 0.5)
    angle = np.deg2rad(rng.normal(0, degrees)) if degrees else 0.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([scale * stretch * (-1 if flipped else 1), scale])
    offset = np.asarray(target) - linear @ np.asarray(anchor)
    return View(np.concatenate([linear, offset[:, None]], 1), flipped)


def mask_box(mask: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    """Tight box (x1, y1, x2, y2) of a mask, or None when it is empty."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(columns):
        return None
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def no_boxes() -> NDArray[np.float32]:
    """An empty float32 [0,4]."""
    return np.zeros((0, 4), np.float32)
