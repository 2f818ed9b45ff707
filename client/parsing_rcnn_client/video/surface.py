"""What lies on a person's surface, drawn in about a millisecond each: work is done on the map's own cells wherever it
can be, and the rest by OpenCV on whole planes of bytes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.paste import PixelWindow, pixel_window

Number = TypeVar("Number", np.uint8, np.float32)

LEVELS = 10
"""Lines of equal U, and of equal V, from 0 to 1 on every part."""

_DIMMED = 0.35  # darker under lines, which then show on white clothes as well
_STRIP = 64  # rows mixed at a time: planes that stay in the cache take half of the time
_CLOSE = 0.25  # of a cell, that maps may be off to save time
# from 1/256 of a level a pixel to four times the pixels from one level to the next
_PIXELS = np.minimum(4 * 256 / np.maximum(np.arange(256), 1), 255).astype(np.uint8)


def trimmed(
    maps: NDArray[np.uint8], body: NDArray[np.bool_], box: NDArray[np.float32], image_size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.float32], PixelWindow] | None:
    """Maps [...,S,S] without the rows and columns beside the body [S,S]: (maps, their box, its pixels), or None."""
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
    cells: NDArray[Number], box: NDArray[np.float32], window: PixelWindow, size: tuple[int, int] | None = None
) -> NDArray[Number]:
    """Cells [S,S] or [S,S,C] covering a box, at the pixels of a window, bilinearly.

    Args:
        cells: uint8 or float32.
        box: float32 [4].
        window: of pixels.
        size: (width, height) of the result where it is not the window's.
    """
    fitted = _fitted(cells, box, window)
    size = size or (window.right - window.left, window.bottom - window.top)
    # with _fitted a third of the time of one warpAffine to the pixels
    return np.asarray(cv2.resize(fitted, size, interpolation=cv2.INTER_LINEAR), cells.dtype)


def lay_over(region: NDArray[np.uint8], cover: NDArray[np.uint8]) -> None:
    """Mix uint8 [h,w,4] RGBA, colours multiplied by their opacity, into uint8 [h,w,3] RGB."""
    for top in range(0, len(region), _STRIP):
        photo, over = region[top : top + _STRIP], cover[top : top + _STRIP]
        rest = cv2.bitwise_not(cv2.extractChannel(over, 3))
        dimmed = cv2.multiply(photo, cv2.merge([rest] * 3), scale=1 / 255)
        photo[:] = cv2.add(dimmed, cv2.cvtColor(over, cv2.COLOR_BGRA2BGR), dst=dimmed)


def wire_frame(
    region: NDArray[np.uint8], iuv: NDArray[np.uint8], box: NDArray[np.float32], window: PixelWindow, width: int = 1
) -> None:
    """Lines of equal U and of equal V over the pixels uint8 [h,w,3] of a window, as in `parsing_rcnn.draw.contours`.

    Lines lie where U times 9 is a whole number, so what is enlarged is U itself in 1/256 of a level: its low byte says
    how far the next line is, and the slope, known for each cell, turns that into pixels.

    Args:
        region: changed in place.
        iuv: uint8 [3,S,S], covering the box.
        box: float32 [4].
        window: the pixels of the region.
        width: of a line, pixels. Lines are drawn on a picture this many times smaller, so wide ones cost less.
    """
    size = (max((window.right - window.left) // width, 1), max((window.bottom - window.top) // width, 1))
    # a cell beside another part would be mixed with the coordinates of another chart
    inner = _inner(iuv[0])
    levels, apart = _levels(iuv[1:], inner, box, width)
    dim = (iuv[0] > 0).view(np.uint8) * np.uint8(255 * _DIMMED)
    helps = enlarge(np.dstack([apart, inner, dim]), box, window, size)
    *near, inside, dim = _planes(helps)
    fine = (enlarge(levels, box, window, size) + np.float32(0.5)).astype(np.uint16)
    lines = [_line(plane, pixels) for plane, pixels in zip(_bytes(fine)[::2], near, strict=True)]
    # half a level more, so that the high byte is the nearest line and not the one below
    index_u, index_v = _bytes(fine + np.uint16(128))[1::2]
    index = cv2.copyTo(index_v + np.uint8(LEVELS), cv2.compare(lines[1], lines[0], cv2.CMP_GT), index_u)
    weight = cv2.min(cv2.max(*lines), inside)
    # four channels are mixed faster than three
    colours = cv2.merge([*(cv2.LUT(index, table) for table in _line_colours()), index])
    cover = cv2.multiply(colours, cv2.merge([weight] * 4), scale=1 / 255)
    rest = cv2.multiply(cv2.bitwise_not(weight), cv2.bitwise_not(dim), scale=1 / 255)
    cv2.insertChannel(cv2.bitwise_not(rest), cover, 3)
    lay_over(region, np.asarray(cv2.resize(cover, region.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.uint8))


def dressed(
    region: NDArray[np.uint8],
    iuv: NDArray[np.uint8],
    texels: NDArray[np.uint8],
    box: NDArray[np.float32],
    window: PixelWindow,
    width: int = 1,
) -> None:
    """A texture atlas over the pixels of a window, as in `parsing_rcnn.draw.texture`.

    Args:
        region: uint8 [h,w,3] RGB, changed in place.
        iuv: uint8 [3,S,S], covering the box.
        texels: uint8 [6N,4N,4] from `texels_of`.
        box: float32 [4].
        window: the pixels of the region.
        width: pixels of the region for one looked up.
    """
    side = texels.shape[1] // 4
    part = iuv[0].astype(np.float32) - 1
    u, v = iuv[1] * np.float32(1 / 255), iuv[2] * np.float32(1 / 255)
    column, row = np.floor(part / 6) * side + u * (side - 1), np.mod(part, 6) * side + (1 - v) * (side - 1)
    # nobody's cells point outside the atlas
    places = np.dstack([np.where(iuv[0] > 0, column, np.float32(-1)), row, _inner(iuv[0]).astype(np.float32)])
    size = (max((window.right - window.left) // width, 1), max((window.bottom - window.top) // width, 1))
    rough, smooth = (_warped(places, box, window, size, how) for how in (cv2.INTER_NEAREST, cv2.INTER_LINEAR))
    # between inner cells, whose neighbours are of their own part, all places are on one tile
    inner = (smooth[:, :, 2] > 254.5).view(np.uint8)
    where = np.floor(cv2.copyTo(smooth, inner, rough)[:, :, :2])  # to a texel, as `draw.texture` does
    found = cv2.remap(texels, where, None, cv2.INTER_NEAREST, borderValue=0)  # type: ignore[call-overload]
    lay_over(region, np.asarray(cv2.resize(found, region.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.uint8))


def texels_of(atlas: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An atlas uint8 [6N,4N,3 or 4] as RGBA, colours multiplied by their opacity; black is transparent without alpha.

    Raises:
        ValueError: it is not 6 by 4 squares.
    """
    side = atlas.shape[0] // 6
    if atlas.ndim != 3 or side < 1 or atlas.shape[:2] != (6 * side, 4 * side) or atlas.shape[2] not in (3, 4):
        raise ValueError(f"a texture atlas is 6 rows of 4 squares, uint8 [6N,4N,3 or 4]; this one is {atlas.shape}")
    if atlas.shape[2] == 3:
        opacity = atlas.any(axis=2).view(np.uint8) * np.uint8(255)
    else:
        opacity = np.ascontiguousarray(atlas[:, :, 3])
    colours = cv2.multiply(np.ascontiguousarray(atlas[:, :, :3]), np.dstack([opacity] * 3), scale=1 / 255)
    return np.asarray(np.dstack([colours, opacity]), np.uint8)


def _fitted(cells: NDArray[Number], box: NDArray[np.float32], window: PixelWindow) -> NDArray[Number]:
    """The same cells, but covering the whole pixels of a window instead of a box with edges between pixels."""
    rows, columns = cells.shape[:2]
    high, wide = window.shape
    x1, y1, x2, y2 = box.tolist()
    scale_x, scale_y = columns / max(x2 - x1, 1e-6), rows / max(y2 - y1, 1e-6)
    off_x = max(abs(window.left - x1), abs(window.right - x2)) * scale_x
    off_y = max(abs(window.top - y1), abs(window.bottom - y2)) * scale_y
    if max(off_x, off_y) <= _CLOSE:
        return cells
    # as many cells as before for the same stretch of the picture
    return _warped(cells, box, window, (max(round(wide * scale_x), 1), max(round(high * scale_y), 1)), cv2.INTER_LINEAR)


def _warped(
    cells: NDArray[Number], box: NDArray[np.float32], window: PixelWindow, size: tuple[int, int], how: int
) -> NDArray[Number]:
    """Cells covering a box, looked up at a grid of `size` (width, height) over a window."""
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
    found = cv2.warpAffine(cells, transform, size, flags=how | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, cells.dtype)


def _inner(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """255 where a cell and all its neighbours are of one part."""
    around = np.ones((3, 3), np.uint8)
    least, most = cv2.erode(labels, around), cv2.dilate(labels, around)
    return np.asarray((least == most) & (labels > 0)).view(np.uint8) * np.uint8(255)


def _levels(
    uv: NDArray[np.uint8], inner: NDArray[np.uint8], box: NDArray[np.float32], width: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Where the lines of U and of V lie.

    Returns:
        (the values of each cell in 1/256 of a level, float32 [S,S,2]; four times the pixels, `width` of them as one,
        from one level to the next, at most 255, uint8 [S,S,2]).
    """
    rough = np.dstack(list(uv)) * np.float32(256 * (LEVELS - 1) / 255)
    # without the steps of its bytes
    levels = cv2.copyTo(cv2.GaussianBlur(rough, (3, 3), 0.8), inner, rough)
    rows, columns = inner.shape
    across, down = columns * width / max(float(box[2] - box[0]), 1.0), rows * width / max(float(box[3] - box[1]), 1.0)
    slope_x = cv2.Sobel(levels, cv2.CV_32F, 1, 0, scale=across / 8)
    slope_y = cv2.Sobel(levels, cv2.CV_32F, 0, 1, scale=down / 8)
    slope = cv2.convertScaleAbs(cv2.magnitude(slope_x, slope_y))
    pixels = cv2.LUT(slope, _PIXELS)
    # cells at the edge of a part have a false slope; that of their neighbours is nearer to the truth
    spread = cv2.dilate(cv2.copyTo(pixels, inner), np.ones((3, 3), np.uint8))
    # where it is flat, the value is moved midway between two lines: a line there would be a blot
    flat = slope == 0
    levels[flat] = np.floor(levels[flat] / 256) * 256 + 128
    return np.asarray(levels, np.float32), np.asarray(cv2.copyTo(pixels, inner, spread), np.uint8)


def _bytes(values: NDArray[np.uint16]) -> list[NDArray[np.uint8]]:
    """The planes of uint16 [h,w,2]: low, high, low, high byte."""
    order = values.astype("<u2", copy=False)
    return _planes(order.view(np.uint8).reshape(*values.shape[:2], 4))


def _planes(stack: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [np.asarray(plane, np.uint8) for plane in cv2.split(stack)]


def _line(low: NDArray[np.uint8], apart: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """255 on a line, less beside it, 0 a pixel away; `low` is what the value has over a line, 1/256 of a level."""
    away = cv2.min(low, cv2.bitwise_not(low))  # from the nearest one
    return np.asarray(cv2.bitwise_not(cv2.multiply(away, apart, scale=0.25)), np.uint8)


@lru_cache(maxsize=1)
def _line_colours() -> tuple[NDArray[np.uint8], ...]:
    """Tables uint8 [1,256] of red, green and blue: the lines of U, then those of V."""
    ramp = np.rint(np.linspace(0, 255, LEVELS)).astype(np.uint8)[None]
    tables = [cv2.applyColorMap(ramp, each)[0, :, ::-1] for each in (cv2.COLORMAP_PARULA, cv2.COLORMAP_SPRING)]
    found = np.zeros((3, 1, 256), np.uint8)
    found[:, 0, : 2 * LEVELS] = np.concatenate(tables).T
    return tuple(found)
