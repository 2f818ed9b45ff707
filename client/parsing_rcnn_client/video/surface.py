"""Fast drawing on a person's surface: lines of equal U and V, and textures. About a millisecond for each person.

As much as possible is computed on the small maps themselves, the rest by OpenCV on whole planes of integers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.drawing.atlas import side_of
from parsing_rcnn.maps.paste import PixelWindow, pixel_window

Number = TypeVar("Number", np.uint8, np.uint16, np.float32)

LEVELS = 10
"""Number of lines of equal U on every part, from U = 0 to U = 1; the same for V."""

HALF = 128
"""Half of 256: added to 256 times a value before it is cut to its high byte, so that it is rounded."""

_DIMMED = 0.35  # by how much the photo is darkened under the lines, so that they show on white clothes as well
_STRIP = 96  # rows that are mixed at a time, so that they fit into the processor's cache
_CLOSE = 0.25  # of a cell (or half a pixel, if that is more): misplacement of maps that is accepted to save time
# a slope, in 1/256 of a level for each pixel -> four times the number of pixels from one level to the next
_PIXELS = np.minimum(4 * 256 / np.maximum(np.arange(256), 1), 255).astype(np.uint8)


class Ink(NamedTuple):
    """Colours to lay over a photo, for every cell or pixel.

    Attributes:
        colours: uint16 [h,w,3], the colour times its weight (0 to 256), plus `HALF`.
        rest: uint16 [h,w], the photo's weight: 256 minus that of the colour.
    """

    colours: NDArray[np.uint16]
    rest: NDArray[np.uint16]


def trimmed(
    maps: NDArray[np.uint8], body: NDArray[np.bool_], box: NDArray[np.float32], image_size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.float32], PixelWindow] | None:
    """Cut maps to the body, with a margin of one cell.

    Args:
        maps: uint8 [...,S,S], covering the box.
        body: bool [S,S], the cells of the body.
        box: float32 [4].
        image_size: (height, width).

    Returns:
        (the cut maps, the box that they cover, its pixels); None if there is no body.
    """
    x, y, wide, high = cv2.boundingRect(body.view(np.uint8))
    if not wide:
        return None
    rows, columns = body.shape
    left, top, right, bottom = max(x - 1, 0), max(y - 1, 0), min(x + wide + 1, columns), min(y + high + 1, rows)
    x1, y1, x2, y2 = box.tolist()
    step_x, step_y = (x2 - x1) / columns, (y2 - y1) / rows
    edges = x1 + left * step_x, y1 + top * step_y, x1 + right * step_x, y1 + bottom * step_y
    return maps[..., top:bottom, left:right], np.array(edges, np.float32), pixel_window(np.array(edges), image_size)


def enlarge(
    cells: NDArray[Number],
    box: NDArray[np.float32],
    window: PixelWindow,
    size: tuple[int, int] | None = None,
    how: int = cv2.INTER_LINEAR,
) -> NDArray[Number]:
    """Enlarge maps from their cells to the pixels of a window.

    Args:
        cells: uint8, uint16 or float32 [S,S] or [S,S,C], covering the box.
        box: float32 [4].
        window: the pixels.
        size: (width, height) of the result, if it is not that of the window.
        how: OpenCV's interpolation.
    """
    fitted = _fitted(cells, box, window, how)
    size = size or (window.right - window.left, window.bottom - window.top)
    # together with _fitted this takes a third of the time of a single warpAffine to all pixels
    return np.asarray(cv2.resize(fitted, size, interpolation=how), cells.dtype)


def lay_over(
    region: NDArray[np.uint8], ink: Ink, box: NDArray[np.float32] | None = None, window: PixelWindow | None = None
) -> None:
    """Mix colours into uint8 [h,w,3] RGB, in place.

    Args:
        region: the photo's pixels in a window.
        ink: of any size; it is enlarged to the region.
        box: float32 [4] that the ink covers, if that is not the region itself; then `window` is needed, too.
        window: where the region lies in the photo.
    """
    if box is not None and window is not None:
        ink = Ink(_fitted(ink.colours, box, window), _fitted(ink.rest, box, window))
    size = region.shape[1::-1]
    colours, rest = (np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.uint16) for plane in ink)
    for top in range(0, len(region), _STRIP):
        photo, strip = region[top : top + _STRIP], slice(top, top + _STRIP)
        # in 16-bit integers: NumPy multiplies them five times as fast as OpenCV blends bytes
        mixed = photo.astype(np.uint16)
        mixed *= _threefold(rest[strip])
        cv2.add(mixed, colours[strip], dst=mixed)  # saturates, where NumPy would overflow
        mixed >>= 8
        np.copyto(photo, mixed, casting="unsafe")


def wire_frame(
    region: NDArray[np.uint8], iuv: NDArray[np.uint8], box: NDArray[np.float32], window: PixelWindow, width: int = 1
) -> None:
    """Draw lines of equal U and of equal V into a window, as `parsing_rcnn.draw.contours` does.

    Lines lie where 9 U is a whole number. So 9 U, in units of 1/256, is enlarged to the pixels: its low byte gives the
    distance to the next line, which the slope, known for each cell, turns into pixels.

    Args:
        region: uint8 [h,w,3] RGB, the pixels of the window; changed in place.
        iuv: uint8 [3,S,S], covering the box.
        box: float32 [4].
        window: where the region lies in the picture.
        width: of a line, pixels. Lines are drawn in a picture that is smaller by this factor, so wide ones cost less.
    """
    size = _smaller(window, width)
    # only cells whose neighbours belong to the same part: others would be mixed with coordinates of another chart
    inner = _inner(iuv[0])
    levels, apart = _levels(iuv[1:], inner, box, width)
    # one 16-bit plane at a time: OpenCV enlarges these faster than bytes, and faster than two planes together
    planes = (*cv2.split(levels), *cv2.split(apart), inner, (iuv[0] > 0) * np.uint16(256 * _DIMMED))
    u, v, near_u, near_v, inside, dim = (enlarge(np.asarray(p, np.uint16), box, window, size) for p in planes)
    away_u, away_v = _away(u, near_u), _away(v, near_v)
    line_u, line_v = _nearest_line(u), _nearest_line(v) + np.uint8(LEVELS)
    index = np.asarray(cv2.copyTo(line_v, (away_v < away_u).view(np.uint8), line_u), np.uint8)
    weight = _of_256(np.minimum(255 - np.minimum(away_u, away_v), inside))
    # look up the four bytes of a colour as one number
    looked_up = np.take(_line_colours(), index, mode="clip").view(np.uint8).reshape(*index.shape, 4)
    colours = cv2.cvtColor(looked_up, cv2.COLOR_BGRA2BGR).astype(np.uint16)
    colours *= _threefold(weight)
    colours += np.uint16(HALF)
    rest = 256 - weight
    rest -= (rest * dim) >> 8
    lay_over(region, Ink(colours, rest))


def dressed(
    region: NDArray[np.uint8],
    iuv: NDArray[np.uint8],
    texels: NDArray[np.uint8],
    box: NDArray[np.float32],
    window: PixelWindow,
    width: int = 1,
) -> None:
    """Draw a texture atlas into a window, as `parsing_rcnn.draw.texture` does.

    Args:
        region: uint8 [h,w,3] RGB, the pixels of the window; changed in place.
        iuv: uint8 [3,S,S], covering the box.
        texels: uint8 [6N,4N,4] from `texels_of`.
        box: float32 [4].
        window: where the region lies in the picture.
        width: side of the pixel blocks, in pixels, for each of which the atlas is looked up once.
    """
    size = _smaller(window, width)
    # between inner cells (all neighbours belong to the same part) all places lie on one tile of the atlas
    inner = (enlarge(_inner(iuv[0]).astype(np.float32), box, window, size) > 254.5).view(np.uint8)
    columns, rows = (
        cv2.copyTo(enlarge(plane, box, window, size), inner, enlarge(plane, box, window, size, cv2.INTER_NEAREST_EXACT))
        for plane in _places(iuv, texels.shape[1] // 4)
    )
    colour_alpha = cv2.remap(texels, columns, rows, cv2.INTER_NEAREST, borderValue=0)
    colours = cv2.cvtColor(colour_alpha, cv2.COLOR_BGRA2BGR).astype(np.uint16)
    colours <<= 8
    colours |= HALF
    opacity = np.asarray(cv2.extractChannel(colour_alpha, 3), np.uint8)
    lay_over(region, Ink(colours, 256 - _of_256(opacity)))


def texels_of(atlas: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An atlas, uint8 [6N,4N,3 or 4], as RGBA with colours multiplied by their opacity. Without alpha, black is
    transparent.

    Raises:
        ValueError: the atlas does not have 6 rows of 4 squares.
    """
    side_of(atlas)
    if atlas.shape[2] == 3:
        opacity = atlas.any(axis=2).view(np.uint8) * np.uint8(255)
    else:
        opacity = np.ascontiguousarray(atlas[:, :, 3])
    colours = cv2.multiply(np.ascontiguousarray(atlas[:, :, :3]), np.dstack([opacity] * 3), scale=1 / 255)
    return np.asarray(np.dstack([colours, opacity]), np.uint8)


def _fitted(
    cells: NDArray[Number], box: NDArray[np.float32], window: PixelWindow, how: int = cv2.INTER_LINEAR
) -> NDArray[Number]:
    """Resample cells that cover a box, whose edges may lie between pixels, so that they cover exactly a window."""
    rows, columns = cells.shape[:2]
    high, wide = window.shape
    x1, y1, x2, y2 = box.tolist()
    scale_x, scale_y = columns / max(x2 - x1, 1e-6), rows / max(y2 - y1, 1e-6)
    off_x, off_y = (
        max(abs(window.left - x1), abs(window.right - x2)),
        max(abs(window.top - y1), abs(window.bottom - y2)),
    )
    # half a pixel: the error of rounding a box to whole pixels
    if off_x <= max(_CLOSE / scale_x, 0.5) and off_y <= max(_CLOSE / scale_y, 0.5):
        return cells
    # cells keep their size in the picture
    return _warped(cells, box, window, (max(round(wide * scale_x), 1), max(round(high * scale_y), 1)), how)


def _warped(
    cells: NDArray[Number], box: NDArray[np.float32], window: PixelWindow, size: tuple[int, int], how: int
) -> NDArray[Number]:
    """Cells that cover a box, resampled to a grid of `size` (width, height) that covers a window."""
    rows, columns = cells.shape[:2]
    x1, y1, x2, y2 = box.tolist()
    scale_x, scale_y = columns / max(x2 - x1, 1e-6), rows / max(y2 - y1, 1e-6)
    step_x, step_y = window.shape[1] / size[0], window.shape[0] / size[1]
    transform = np.array(
        [
            [step_x * scale_x, 0, (window.left + step_x / 2 - x1) * scale_x - 0.5],
            [0, step_y * scale_y, (window.top + step_y / 2 - y1) * scale_y - 0.5],
        ]
    )
    flags = (cv2.INTER_LINEAR if how == cv2.INTER_LINEAR else cv2.INTER_NEAREST) | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(cells, transform, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, cells.dtype)


def _smaller(window: PixelWindow, width: int) -> tuple[int, int]:
    """(width, height) of the window's picture reduced by the factor `width`."""
    return max((window.right - window.left) // width, 1), max((window.bottom - window.top) // width, 1)


def _of_256(values: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Values of 0 to 255, scaled to 0 to 256."""
    wide = values.astype(np.uint16)
    return wide + (wide >> 7)


def _threefold(plane: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The plane [h,w], repeated for red, green and blue: [h,w,3]."""
    return np.asarray(cv2.merge([plane] * 3), np.uint16)


def _places(iuv: NDArray[np.uint8], side: int) -> list[NDArray[np.float32]]:
    """Where each cell of an IUV map, uint8 [3,S,S], lies in an atlas of squares of `side`.

    Returns:
        [columns, rows], float32 [S,S] each. They are half a texel lower than in `draw.texture`, which cuts them to
        whole texels, because `cv2.remap` rounds.
    """
    part = np.arange(256) - 1
    starts = part // 6 * side, part % 6 * side
    # background cells point outside the atlas; 0.499, not 0.5, leaves room for errors of the arithmetic
    tables = (np.where(part < 0, -side, start - 0.499).astype(np.float32)[None] for start in starts)
    shifts = (plane * np.float32((side - 1) / 255) for plane in (iuv[1], 255 - iuv[2]))
    return [cv2.LUT(iuv[0], table) + shift for table, shift in zip(tables, shifts, strict=True)]


def _inner(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """255 where a cell and all its neighbours belong to the same part, else 0."""
    around = np.ones((3, 3), np.uint8)
    same = cv2.compare(cv2.erode(labels, around), cv2.dilate(labels, around), cv2.CMP_EQ)
    return np.asarray(cv2.copyTo(same, labels), np.uint8)


def _levels(
    uv: NDArray[np.uint8], inner: NDArray[np.uint8], box: NDArray[np.float32], width: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Where the lines of U and of V lie.

    Returns:
        (U and V of each cell in 1/256 of a level, float32 [S,S,2]; four times the distance from one level to the next,
        at most 255, in pixels of a picture reduced by the factor `width`, uint8 [S,S,2]).
    """
    rough = cv2.merge(list(uv)).astype(np.float32)
    rough *= np.float32(256 * (LEVELS - 1) / 255)
    # smooth the steps between byte values
    levels = cv2.copyTo(cv2.GaussianBlur(rough, (3, 3), 0.8), inner, rough)
    rows, columns = inner.shape
    across, down = columns * width / max(float(box[2] - box[0]), 1.0), rows * width / max(float(box[3] - box[1]), 1.0)
    slope_x = cv2.Sobel(levels, cv2.CV_32F, 1, 0, scale=across / 8)
    slope_y = cv2.Sobel(levels, cv2.CV_32F, 0, 1, scale=down / 8)
    slope = cv2.convertScaleAbs(cv2.magnitude(slope_x, slope_y))
    pixels = cv2.LUT(slope, _PIXELS)
    # the slope is wrong at the edge of a part; the slopes of neighbouring cells are better
    spread = cv2.dilate(cv2.copyTo(pixels, inner), np.ones((3, 3), np.uint8))
    # where the value is flat it is moved midway between two lines, as a line there would be a blot
    flat = np.asarray(slope == 0) & (inner > 0)[:, :, None]
    if flat.any():
        levels[flat] = np.floor(levels[flat] / 256) * 256 + 128
    rounded = np.asarray(levels, np.float32) + np.float32(0.5)  # callers cut them to integers
    return rounded, np.asarray(cv2.copyTo(pixels, inner, spread), np.uint8)


def _away(values: NDArray[np.uint16], apart: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Distance to the nearest line: 0 on the line, 255 at a pixel or more. Both arguments are as from `_levels`."""
    low = values & 255
    away = np.minimum(low, 255 - low)
    away *= apart
    away += 2
    away >>= 2
    return np.asarray(np.minimum(away, 255, out=away))


def _nearest_line(values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Index of the nearest line, for values in 1/256 of a level."""
    near = values + np.uint16(128)
    near >>= 8
    return near.astype(np.uint8)


@lru_cache(maxsize=1)
def _line_colours() -> NDArray[np.uint32]:
    """RGBA colours of the lines of U, then of V, each as one 32-bit number."""
    ramp = np.rint(np.linspace(0, 255, LEVELS)).astype(np.uint8)[None]
    tables = [cv2.applyColorMap(ramp, each)[0, :, ::-1] for each in (cv2.COLORMAP_PARULA, cv2.COLORMAP_SPRING)]
    colours = np.zeros((2 * LEVELS, 4), np.uint8)
    colours[:, :3] = np.concatenate(tables)
    return colours.view(np.uint32)[:, 0]
