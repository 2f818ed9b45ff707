"""Textures of people: an atlas is 6 by 4 squares, DensePose's parts 1..24 column by column, U right and V up."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.drawing import visible
from parsing_rcnn.maps.paste import PixelWindow, paste_charts
from parsing_rcnn.people import People

_SAMPLES = 2.0
"""For each texel of an atlas, were all of it seen: a photo shows half of a body, so four where it shows any."""

_BAND = 1 << 21
"""Samples processed at a time, which take about 200 MB."""


def texels(
    labels: NDArray[np.uint8], uv: NDArray[np.float32], side: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """(tile, column, row) [k] of the texels of parts [k], all above 0, and U and V [2,k]; a tile is side x side."""
    last = side - 1
    return labels.astype(np.intp) - 1, (uv[0] * last).astype(np.intp), ((1 - uv[1]) * last).astype(np.intp)


def side_of(atlas: NDArray[np.uint8]) -> int:
    """Texels on a side of a part, N, of an atlas uint8 [6N,4N,3 or 4].

    Raises:
        ValueError: the atlas does not have 6 rows of 4 squares.
    """
    side: int = atlas.shape[0] // 6
    if atlas.ndim != 3 or side < 1 or atlas.shape[:2] != (6 * side, 4 * side) or atlas.shape[2] not in (3, 4):
        raise ValueError(f"a texture atlas is 6 rows of 4 squares, uint8 [6N,4N,3 or 4]; this one is {atlas.shape}")
    return side


def tiles(atlas: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """(colours uint8 [24,N,N,3], opacity float32 [24,N,N]) of an atlas uint8 [6N,4N,3 or 4]."""
    side = side_of(atlas)
    grid = atlas.reshape(6, side, 4, side, -1).transpose(2, 0, 1, 3, 4).reshape(24, side, side, -1)
    if grid.shape[-1] == 4:
        return grid[..., :3], np.asarray(grid[..., 3] / 255, dtype=np.float32)
    return grid, np.asarray(grid.any(axis=-1), dtype=np.float32)


def atlas_of(sums: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Sums of R, G and B and the number of samples in each texel [4,24,N,N] -> uint8 [6N,4N,4] RGBA."""
    side = sums.shape[-1]
    grid = np.stack([_closed(np.ascontiguousarray(tile)) for tile in sums.transpose(1, 2, 3, 0)])
    rows = grid.reshape(4, 6, side, side, 4).transpose(1, 2, 0, 3, 4)
    return np.ascontiguousarray(rows.reshape(6 * side, 4 * side, 4))


def _closed(sums: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The same for one tile [N,N,4] -> RGBA; gaps of up to two texels are filled from around them."""
    visible = sums[..., 3] > 0
    near = np.asarray(cv2.boxFilter(sums, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT))
    shown = cv2.morphologyEx(visible.view(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0
    chosen = np.where(visible[..., None], sums, near)
    colours = np.rint(chosen[..., :3] / np.maximum(chosen[..., 3:], 1)).astype(np.uint8)
    return np.dstack([colours, np.uint8(255) * shown.view(np.uint8)]) * shown[..., None].view(np.uint8)


def enlarged(photo: NDArray[np.uint8], part: PixelWindow, times: int) -> NDArray[np.uint8]:
    """A part of a picture, `times` as high and wide, with the pixels that it has in the whole picture enlarged."""
    height, width = photo.shape[:2]
    left, top = max(part.left - 1, 0), max(part.top - 1, 0)
    around = np.ascontiguousarray(photo[top : min(part.bottom + 1, height), left : min(part.right + 1, width)])
    large = cv2.resize(around, None, fx=times, fy=times, interpolation=cv2.INTER_LINEAR)
    y, x = times * (part.top - top), times * (part.left - left)
    return np.asarray(large[y : y + times * part.shape[0], x : x + times * part.shape[1]], np.uint8)


def taken_off(image: NDArray[np.uint8], people: People, index: int, side: int) -> NDArray[np.float32]:
    """Sums of R, G and B and the number of samples in each texel, float32 [4,24*side*side], of a person in a photo.

    Args:
        image: uint8 [H,W,3] RGB, of the people's image_size.
        people: with IUV.
        index: of the person.
        side: texels on a side of a part.
    """
    window, cells = people.window(index), people.iuv_cells(index)
    mine = visible.charted(people, index)
    # enough samples for each pixel that a part drawn at its size in the picture leaves no texel out
    wanted = _SAMPLES * 24 * side * side / max(int(mine.sum()), 1)
    times = min(max(math.ceil(math.sqrt(wanted)), 1), 8)
    x, y, width, height = cv2.boundingRect(mine.view(np.uint8))
    rows = max(_BAND // max(times * times * width, 1), 1)
    sums = np.zeros((4, 24 * side * side), np.float32)  # whole numbers below 2**24 are exact
    for first in range(y, y + height, rows):
        band = PixelWindow(x, first, x + width, min(first + rows, y + height))
        fine = PixelWindow(*(times * (edge + corner) for edge, corner in zip(band, 2 * window[:2], strict=True)))
        labels, uv = paste_charts(cells, people.boxes[index] * np.float32(times), fine)
        photo = enlarged(image[window.slices], band, times)
        shown = mine[band.slices].view(np.uint8)
        inside = (labels > 0) & (cv2.resize(shown, fine.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0)
        part, column, row = texels(labels[inside], uv[:, inside], side)
        texel = (part * side + row) * side + column
        for channel, values in enumerate((*photo[inside].T, None)):
            sums[channel] += np.bincount(texel, values, sums.shape[1])
    return sums
