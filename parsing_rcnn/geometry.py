"""Between picture and network coordinates: the EXIF turn, the resize to a canvas, and boxes there and back.

Boxes are continuous: (0, 0) is the outer corner of the first pixel, a whole picture is the box (0, 0, width, height).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Region = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels of the upright original; its pixels are those from x1 up to, but without, x2."""

PAD_VALUE = 114
"""Grey of the padding: near the mean of photos, so a border makes no strong edge."""

# EXIF orientation -> whether to (transpose, flip rows, flip columns), in this order, to turn the picture upright.
_TURNS: dict[int, tuple[bool, bool, bool]] = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def turn_upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Apply an EXIF orientation.

    Args:
        image: uint8 [H,W] or [H,W,C] as stored.
        orientation: 1..8; anything else counts as 1, as viewers do.

    Returns:
        The upright picture, C-contiguous; height and width are exchanged for 5..8.
    """
    transpose, rows, columns = _TURNS.get(orientation, _TURNS[1])
    if transpose:
        image = image.swapaxes(0, 1)
    if rows:
        image = image[::-1]
    if columns:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def turned_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    """(height, width) after `turn_upright`."""
    return (width, height) if _TURNS.get(orientation, _TURNS[1])[0] else (height, width)


@dataclass(frozen=True)
class Window:
    """Where a picture lies on its canvas: canvas = image * scale + pad.

    Attributes:
        scale_y: canvas pixels per image pixel, vertically.
        scale_x: the same, horizontally (they differ by rounding only).
        pad_top: canvas row of the picture's top edge.
        pad_left: canvas column of the picture's left edge.
        height: of the upright original, pixels.
        width: of the upright original, pixels.
    """

    scale_y: float
    scale_x: float
    pad_top: float
    pad_left: float
    height: float
    width: float

    def to_array(self) -> NDArray[np.float32]:
        """The WINDOW tensor, float32 [6], in the order of the fields."""
        return np.array(
            [self.scale_y, self.scale_x, self.pad_top, self.pad_left, self.height, self.width], dtype=np.float32
        )

    @classmethod
    def from_array(cls, array: NDArray[np.floating]) -> Window:
        """Read a WINDOW tensor [6]."""
        values = np.asarray(array, dtype=np.float64).ravel()
        if values.shape != (6,):
            raise ValueError(f"a window has 6 numbers, got shape {np.shape(array)}")
        return cls(*(float(v) for v in values))

    def to_image(
        self, boxes: NDArray[np.floating], region: Region | None = None, *, clip: bool = True
    ) -> NDArray[np.float32]:
        """Canvas boxes [n,4] -> float32 [n,4] in pixels of the upright original, clipped to it, or to this region of
        it, or not at all."""
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        offset = np.array([self.pad_left, self.pad_top] * 2)
        scale = np.array([self.scale_x, self.scale_y] * 2)
        left, top, right, bottom = region or (0, 0, self.width, self.height)
        found = (boxes - offset) / scale
        return np.asarray(np.clip(found, [left, top] * 2, [right, bottom] * 2) if clip else found, dtype=np.float32)

    def clip(self, boxes: NDArray[np.floating], region: Region | None = None) -> NDArray[np.float32]:
        """Boxes [n,4] on this canvas, cut to where the picture, or this region of it, lies: float32 [n,4]."""
        edges = np.array(region or (0, 0, self.width, self.height)) * ([self.scale_x, self.scale_y] * 2)
        low, high = np.split(edges + [self.pad_left, self.pad_top] * 2, 2)
        return np.asarray(np.clip(np.asarray(boxes).reshape(-1, 4), [*low] * 2, [*high] * 2), dtype=np.float32)

    def onto(self, other: Window, boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Boxes [n,4] on this canvas -> float32 [n,4] at the same places of the picture on another canvas."""
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        offset, others = np.array([self.pad_left, self.pad_top] * 2), np.array([other.pad_left, other.pad_top] * 2)
        ratio = np.array([other.scale_x / self.scale_x, other.scale_y / self.scale_y] * 2)
        return np.asarray((boxes - offset) * ratio + others, dtype=np.float32)


def intersection(boxes: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.floating]:
    """Areas that boxes [n,4] and [m,4] share: [n,m]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.asarray(np.clip(high - low, 0, None).prod(axis=2))


def iou(
    boxes: NDArray[np.floating], others: NDArray[np.floating], shared: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """Intersection over union of boxes [n,4] and [m,4]: [n,m]. `shared` is their `intersection`, where it is known."""
    if shared is None:
        shared = intersection(boxes, others)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)[:, None] + (others[:, 2:] - others[:, :2]).prod(axis=1)[None]
    return np.asarray(shared / np.maximum(areas - shared, 1e-9), np.float64)


def choose_canvas(height: int, width: int, canvases: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The (height, width) of `canvases` on which a picture appears largest; ties go to the fewest pixels."""
    if not canvases:
        raise ValueError("no canvas to choose from")
    return max(canvases, key=lambda c: (min(c[0] / height, c[1] / width), -c[0] * c[1]))


def shown_size(height: int, width: int, canvas: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a picture on a canvas of this (height, width), as large as it fits."""
    return scaled(height, width, min(canvas[0] / height, canvas[1] / width))


def scaled(height: int, width: int, scale: float) -> tuple[int, int]:
    """(height, width) of a scaled picture: a very long or very thin one keeps one pixel in its short direction."""
    return max(round(height * scale), 1), max(round(width * scale), 1)


def within(height: int, width: int, side: int | None) -> tuple[int, int] | None:
    """(height, width) of a picture that is scaled down to this longest side; None where it is no longer, or no limit is
    given."""
    longest = max(height, width)
    return None if side is None or longest <= side else scaled(height, width, side / longest)


def fit(image: NDArray[np.uint8], canvases: Sequence[tuple[int, int]]) -> tuple[NDArray[np.uint8], Window]:
    """Scale a picture onto the canvas that fits it best: aspect kept, at the top left, the rest grey.

    Args:
        image: uint8 [h,w,3], upright.
        canvases: (height, width) of the network inputs.

    Returns:
        (uint8 [H,W,3], window).
    """
    height, width = image.shape[:2]
    chosen = choose_canvas(height, width, canvases)
    rows, columns = shown_size(height, width, chosen)
    canvas = np.full((*chosen, 3), PAD_VALUE, dtype=np.uint8)
    canvas[:rows, :columns] = resize(image, rows, columns)
    return canvas, Window(rows / height, columns / width, 0.0, 0.0, height, width)


def resize(
    image: NDArray[np.uint8], height: int, width: int, filled: tuple[float, float] = (1.0, 1.0)
) -> NDArray[np.uint8]:
    """Resize with antialiasing: area means by halves, then bilinear.

    Args:
        image: uint8 [h,w,C].
        height: of the result, pixels.
        width: of the result, pixels.
        filled: shares of the image's height and width that the picture fills, from the top left. The rest, less than
            a pixel, is cut off.

    Returns:
        uint8 [height,width,C].
    """
    # Bilinear reads 2x2 pixels, so beyond a half it would skip some: halve by the mean (fast) until it does not.
    while image.shape[0] > 2 * height or image.shape[1] > 2 * width:
        rows = image.shape[0] // 2 if image.shape[0] > 2 * height else image.shape[0]
        columns = image.shape[1] // 2 if image.shape[1] > 2 * width else image.shape[1]
        image = np.asarray(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    if filled != (1.0, 1.0):
        return _resize_filled(image, height, width, filled)
    if image.shape[:2] == (height, width):
        return np.ascontiguousarray(image)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _resize_filled(image: NDArray[np.uint8], height: int, width: int, filled: tuple[float, float]) -> NDArray[np.uint8]:
    """Bilinear resize of a picture that ends inside the last row or column of its array."""
    y, x = height / (image.shape[0] * filled[0]), width / (image.shape[1] * filled[1])
    if (round(image.shape[0] * y), round(image.shape[1] * x)) != image.shape[:2]:
        larger = cv2.resize(image, None, fx=x, fy=y, interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(larger[:height, :width], dtype=np.uint8)
    # `cv2.resize` would copy an image whose rounded size stays the same
    back = np.array([[1 / x, 0, 0.5 / x - 0.5], [0, 1 / y, 0.5 / y - 0.5]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    found = cv2.warpAffine(image, back, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, dtype=np.uint8)
