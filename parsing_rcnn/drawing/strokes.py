"""Outlines, boxes, letters and isolines on a canvas, in place. Colours are RGB."""

from __future__ import annotations

import unicodedata

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.maps.paste import PixelWindow

Colour = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX


def outline(canvas: NDArray[np.uint8], mask: NDArray[np.bool_], offset: tuple[int, int], colour: Colour) -> None:
    """The outer outline of a mask [h,w] whose top left pixel is at `offset` (x0, y0)."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=offset)
    # Specks of a few pixels would become blobs of outline.
    lines = [line for line in found if len(line) >= 8]
    cv2.polylines(canvas, lines, True, colour, _thickness(canvas), cv2.LINE_AA)


def _thickness(canvas: NDArray[np.uint8]) -> int:
    longest: int = max(canvas.shape[0], canvas.shape[1])
    return max(1, round(longest / 1200))


def box_around(canvas: NDArray[np.uint8], window: PixelWindow, colour: Colour) -> None:
    """A box on the pixels of a window."""
    # On the outermost pixels of the person: whole pixels keep a thin straight line crisp.
    corners = (window.left, window.top), (window.right - 1, window.bottom - 1)
    cv2.rectangle(canvas, *corners, colour, _thickness(canvas), cv2.LINE_8)


def tag(canvas: NDArray[np.uint8], box: NDArray[np.float32], text: str, colour: Colour) -> None:
    """Text on a filled strip above the top left corner of a box, or inside the box when there is no room above."""
    height, width = canvas.shape[:2]
    scale = max(0.34, max(height, width) / 3000)
    weight = 1 if scale < 0.7 else 2
    text_width, text_height, _ = extent(text, scale, weight)
    margin = max(2, round(text_height * 0.25))
    strip = text_height + 2 * margin
    left = int(np.clip(np.floor(box[0]), 0, max(width - text_width - 2 * margin, 0)))
    top = int(np.floor(box[1])) - strip
    top = top if top >= 0 else int(np.clip(np.floor(box[1]), 0, max(height - strip, 0)))
    cv2.rectangle(canvas, (left, top), (left + text_width + 2 * margin, top + strip - 1), colour, cv2.FILLED)
    write(canvas, text, (left + margin, top + margin + text_height), scale, (16, 16, 16), weight)


def extent(text: str, scale: float, weight: int = 1) -> tuple[int, int, int]:
    """(width, height above the base line, height below it) of a text as `write` draws it, pixels."""
    (width, height), below = cv2.getTextSize(_written(text), _FONT, scale, weight)
    return width, height, below


def write(
    canvas: NDArray[np.uint8], text: str, at: tuple[int, int], scale: float, colour: Colour, weight: int = 1
) -> None:
    """Write a text, which may be anything, in one line whose base line begins at the pixel `at` (x, y)."""
    cv2.putText(canvas, _written(text), at, _FONT, scale, colour, weight, cv2.LINE_AA)


def _written(text: str) -> str:
    """The text with spaces for line breaks, tabs and the like, and question marks for lone surrogates.

    Python has surrogates for bytes of a command line that are not UTF-8, and OpenCV 5 ends the process at one.
    """
    spaced = "".join(" " if letter.isspace() or unicodedata.category(letter) == "Cc" else letter for letter in text)
    return spaced.encode("utf-8", "replace").decode()


def colours_of(colour_map: int) -> NDArray[np.uint8]:
    """The colours uint8 [256,3] of one of OpenCV's colour maps."""
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8), colour_map)
    return np.asarray(table.reshape(256, 3)[:, ::-1], dtype=np.uint8)


def isolines(
    region: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    values: NDArray[np.float32],
    *,
    colour_map: int,
    levels: int,
    width: float,
) -> None:
    """Draw lines of equal `values` inside the parts of `labels`, in place.

    The distance to the nearest line is the distance in value over the slope: no tracing, and antialiasing for free.

    Args:
        region: uint8 [h,w,3] RGB to draw on.
        labels: uint8 [h,w]; there are no lines where it is 0, nor at edges between parts.
        values: float32 [h,w] in 0..1.
        colour_map: of OpenCV, for the lines by their value.
        levels: lines from 0 to 1.
        width: of a line, pixels.
    """
    steps = values * np.float32(levels - 1)
    nearest = np.rint(steps)
    slope_x, slope_y = cv2.Sobel(steps, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(steps, cv2.CV_32F, 0, 1, scale=1 / 8)
    slope = cv2.magnitude(slope_x, slope_y)
    weight = np.clip(np.float32(width / 2 + 0.5) - np.abs(steps - nearest) / np.maximum(slope, 1e-3), 0, 1)
    # Slopes across the edge of a part are jumps between charts, and flat areas have no line.
    edge = cv2.erode(labels, np.ones((3, 3), np.uint8)) != cv2.dilate(labels, np.ones((3, 3), np.uint8))
    lines = (weight > 0) & (labels > 0) & (slope >= 1e-3) & ~edge
    shades = np.rint(nearest[lines] * np.float32(255 / max(levels - 1, 1))).astype(np.uint8)
    table = colours_of(colour_map).astype(np.float32)
    under = region[lines].astype(np.float32)
    region[lines] = np.rint(under + (table[shades] - under) * weight[lines][:, None]).astype(np.uint8)
