"""What lies on a person's surface, drawn in about a millisecond each: work is done on the map's own cells wherever it
can be, and the rest by OpenCV on whole planes of bytes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.maps.paste import PixelWindow, pixel_window

Number = TypeVar("Number", np.uint8, np.uint16, np.float32)

LEVELS = 10
"""Lines of equal U, and of equal V, from 0 to 1 on every part."""

HALF = 128
"""Added to 256 times a value that is cut to its high byte, which is then the nearest one."""

_DIMMED = 0.35  # darker under lines, which then show on white clothes as well
_STRIP = 96  # rows mixed at a time, which stay in the cache
_CLOSE = 0.25  # of a cell, or half a pixel: what maps may be off to save time
# from 1/256 of a level a pixel to four times the pixels from one level to the next
_PIXELS = np.minimum(4 * 256 / np.maximum(np.arange(256), 1), 255).astype(np.uint8)


class Ink(NamedTuple):
    """Colours to lay over a photo, for every cell or pixel.

    Attributes:
        colours: uint16 [h,w,3], the colour times its weight of 0 to 256, plus `HALF`.
        rest: uint16 [h,w], 256 less that weight, which is what the photo keeps.
    """

    colours: NDArray[np.uint16]
    rest: NDArray[np.uint16]


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
    cells: NDArray[Number],
    box: NDArray[np.float32],
    window: PixelWindow,
    size: tuple[int, int] | None = None,
    how: int = cv2.INTER_LINEAR,
) -> NDArray[Number]:
    """Cells [S,S] or [S,S,C] covering a box, at the pixels of a window.

    Args:
        cells: uint8, uint16 or float32.
        box: float32 [4].
        window: of pixels.
        size: (width, height) of the result where it is not the window's.
        how: of OpenCV's interpolations.
    """
    fitted = _fitted(cells, box, window, how)
    size = size or (window.right - window.left, window.bottom - window.top)
    # with _fitted a third of the time of one warpAffine to the pixels
    return np.asarray(cv2.resize(fitted, size, interpolation=how), cells.dtype)


def lay_over(
    region: NDArray[np.uint8], ink: Ink, box: NDArray[np.float32] | None = None, window: PixelWindow | None = None
) -> None:
    """Mix colours into uint8 [h,w,3] RGB, in place.

    Args:
        region: the pixels of a window.
        ink: of any size; it is enlarged to the region.
        box: float32 [4] that the ink covers, where that is not the region itself.
        window: the pixels of the region, with `box`.
    """
    if box is not None and window is not None:
        ink = Ink(_fitted(ink.colours, box, window), _fitted(ink.rest, box, window))
    size = region.shape[1::-1]
    colours, rest = (np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.uint16) for plane in ink)
    for top in range(0, len(region), _STRIP):
        photo, strip = region[top : top + _STRIP], slice(top, top + _STRIP)
        # in whole numbers of 16 bits, which NumPy multiplies five times as fast as OpenCV mixes bytes
        mixed = photo.astype(np.uint16)
        mixed *= _threefold(rest[strip])
        cv2.add(mixed, colours[strip], dst=mixed)  # stops at the largest number where NumPy would begin at 0 again
        mixed >>= 8
        np.copyto(photo, mixed, casting="unsafe")


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
    size = _smaller(window, width)
    # a cell beside another part would be mixed with the coordinates of another chart
    inner = _inner(iuv[0])
    levels, apart = _levels(iuv[1:], inner, box, width)
    # plane by plane, 16 bits each: OpenCV enlarges those faster than bytes, and faster than two at a time
    planes = (*cv2.split(levels), *cv2.split(apart), inner, (iuv[0] > 0) * np.uint16(256 * _DIMMED))
    u, v, near_u, near_v, inside, dim = (enlarge(np.asarray(p, np.uint16), box, window, size) for p in planes)
    away_u, away_v = _away(u, near_u), _away(v, near_v)
    line_u, line_v = _nearest_line(u), _nearest_line(v) + np.uint8(LEVELS)
    index = np.asarray(cv2.copyTo(line_v, (away_v < away_u).view(np.uint8), line_u), np.uint8)
    weight = _of_256(np.minimum(255 - np.minimum(away_u, away_v), inside))
    # four bytes at once
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
    """A texture atlas over the pixels of a window, as in `parsing_rcnn.draw.texture`.

    Args:
        region: uint8 [h,w,3] RGB, changed in place.
        iuv: uint8 [3,S,S], covering the box.
        texels: uint8 [6N,4N,4] from `texels_of`.
        box: float32 [4].
        window: the pixels of the region.
        width: pixels of the region for one looked up.
    """
    size = _smaller(window, width)
    # between inner cells, whose neighbours are of their own part, all places are on one tile
    inner = (enlarge(_inner(iuv[0]).astype(np.float32), box, window, size) > 254.5).view(np.uint8)
    columns, rows = (
        cv2.copyTo(enlarge(plane, box, window, size), inner, enlarge(plane, box, window, size, cv2.INTER_NEAREST_EXACT))
        for plane in _places(iuv, texels.shape[1] // 4)
    )
    found = cv2.remap(texels, columns, rows, cv2.INTER_NEAREST, borderValue=0)
    colours = cv2.cvtColor(found, cv2.COLOR_BGRA2BGR).astype(np.uint16)
    colours <<= 8
    colours |= HALF
    opacity = np.asarray(cv2.extractChannel(found, 3), np.uint8)
    lay_over(region, Ink(colours, 256 - _of_256(opacity)))


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


def _fitted(
    cells: NDArray[Number], box: NDArray[np.float32], window: PixelWindow, how: int = cv2.INTER_LINEAR
) -> NDArray[Number]:
    """The same cells, but covering the whole pixels of a window instead of a box with edges between pixels."""
    rows, columns = cells.shape[:2]
    high, wide = window.shape
    x1, y1, x2, y2 = box.tolist()
    scale_x, scale_y = columns / max(x2 - x1, 1e-6), rows / max(y2 - y1, 1e-6)
    off_x, off_y = (
        max(abs(window.left - x1), abs(window.right - x2)),
        max(abs(window.top - y1), abs(window.bottom - y2)),
    )
    # half a pixel: what rounding the box to whole pixels does
    if off_x <= max(_CLOSE / scale_x, 0.5) and off_y <= max(_CLOSE / scale_y, 0.5):
        return cells
    # as many cells as before for the same stretch of the picture
    return _warped(cells, box, window, (max(round(wide * scale_x), 1), max(round(high * scale_y), 1)), how)


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
    flags = (cv2.INTER_LINEAR if how == cv2.INTER_LINEAR else cv2.INTER_NEAREST) | cv2.WARP_INVERSE_MAP
    found = cv2.warpAffine(cells, transform, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, cells.dtype)


def _smaller(window: PixelWindow, width: int) -> tuple[int, int]:
    """(width, height) of a picture whose pixels are `width` pixels of a window."""
    return max((window.right - window.left) // width, 1), max((window.bottom - window.top) // width, 1)


def _of_256(values: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Shares of 255 as shares of 256."""
    wide = values.astype(np.uint16)
    return wide + (wide >> 7)


def _threefold(plane: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The same for red, green and blue."""
    return np.asarray(cv2.merge([plane] * 3), np.uint16)


def _places(iuv: NDArray[np.uint8], side: int) -> list[NDArray[np.float32]]:
    """(column, row) in an atlas of squares of `side` of uint8 [3,S,S], float32 [S,S] each.

    `cv2.remap` rounds, so they are half a texel less than where they are cut to a texel, as `draw.texture` does.
    """
    part = np.arange(256) - 1
    starts = part // 6 * side, part % 6 * side
    # nobody's cells point outside the atlas; a thousandth is more than the arithmetic is off by
    tables = (np.where(part < 0, -side, start - 0.499).astype(np.float32)[None] for start in starts)
    shifts = (plane * np.float32((side - 1) / 255) for plane in (iuv[1], 255 - iuv[2]))
    return [cv2.LUT(iuv[0], table) + shift for table, shift in zip(tables, shifts, strict=True)]


def _inner(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """255 where a cell and all its neighbours are of one part."""
    around = np.ones((3, 3), np.uint8)
    same = cv2.compare(cv2.erode(labels, around), cv2.dilate(labels, around), cv2.CMP_EQ)
    return np.asarray(cv2.copyTo(same, labels), np.uint8)


def _levels(
    uv: NDArray[np.uint8], inner: NDArray[np.uint8], box: NDArray[np.float32], width: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Where the lines of U and of V lie.

    Returns:
        (the values of each cell in 1/256 of a level, float32 [S,S,2]; four times the pixels, `width` of them as one,
        from one level to the next, at most 255, uint8 [S,S,2]).
    """
    rough = cv2.merge(list(uv)).astype(np.float32)
    rough *= np.float32(256 * (LEVELS - 1) / 255)
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
    flat = np.asarray(slope == 0) & (inner > 0)[:, :, None]
    if flat.any():
        levels[flat] = np.floor(levels[flat] / 256) * 256 + 128
    rounded = np.asarray(levels, np.float32) + np.float32(0.5)  # they are cut to whole numbers
    return rounded, np.asarray(cv2.copyTo(pixels, inner, spread), np.uint8)


def _away(values: NDArray[np.uint16], apart: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """How far the next line is, 0 on it and 255 from a pixel on; values in 1/256 of a level, `apart` from `_levels`."""
    low = values & 255
    away = np.minimum(low, 255 - low)
    away *= apart
    away += 2
    away >>= 2
    return np.asarray(np.minimum(away, 255, out=away))


def _nearest_line(values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    near = values + np.uint16(128)
    near >>= 8
    return near.astype(np.uint8)


@lru_cache(maxsize=1)
def _line_colours() -> NDArray[np.uint32]:
    """RGBA of the lines of U, then those of V, as one number each."""
    ramp = np.rint(np.linspace(0, 255, LEVELS)).astype(np.uint8)[None]
    tables = [cv2.applyColorMap(ramp, each)[0, :, ::-1] for each in (cv2.COLORMAP_PARULA, cv2.COLORMAP_SPRING)]
    found = np.zeros((2 * LEVELS, 4), np.uint8)
    found[:, :3] = np.concatenate(tables)
    return found.view(np.uint32)[:, 0]
