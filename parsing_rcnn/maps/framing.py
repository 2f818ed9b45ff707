"""From the canvas to the picture: boxes, and their maps where the picture's edge cuts a box.

The network sees the canvas, so a box may reach into the grey padding beside the picture, and its maps cover the whole
box. In the picture the box ends at the edge. Unchanged, the maps would be squeezed into the rest of the box, and every
part would slide away from the edge; most people whom the lower edge of a wide picture cuts are affected.

The maps are final after this step, so scores of classes that no cell shows become 0 here: a part may have been cut
away, and IUV_SCORES are computed from a quarter of the cells, which may have shown a part that the whole map does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.geometry import Region, Window
from parsing_rcnn.maps.specks import swept

_LABELS = ("PARTS", "IUV")  # values that cannot be averaged
_LEVELS = ("PART_PROBS",)  # values that can
_SCORES = {"PARTS": "PART_SCORES", "IUV": "IUV_SCORES"}

Maps = dict[str, NDArray[Any]]


def framed(
    window: Window,
    boxes: NDArray[np.floating],
    maps: Mapping[str, NDArray[Any]],
    region: Region | None = None,
    *,
    sweep: bool = True,
) -> tuple[NDArray[np.float32], Maps]:
    """Boxes in pixels of the picture, and maps that cover these boxes.

    Args:
        window: where the picture lies on the canvas.
        boxes: [n,4] on the canvas.
        maps: by their tensors' names, [n,...]: PARTS [n,S,S], IUV [n,3,S,S], PART_PROBS [n,C,S,S], all uint8, cover
            those boxes; PART_SCORES and IUV_SCORES [n,C]; others are passed through.
        region: of the picture, which alone was looked at.
        sweep: remove specks from the maps (`parsing_rcnn.maps.specks`).

    Returns:
        (float32 [n,4] in pixels of the upright original, clipped to it or to `region`; the maps and scores, with score
        0 for classes that no cell shows). Nothing is changed in place.
    """
    whole, cut = window.to_image(boxes, clip=False), window.to_image(boxes, region)
    rows = np.flatnonzero((whole != cut).any(axis=1))
    found = dict(maps)
    for name in (*_LABELS, *_LEVELS):
        if name not in found or not len(rows):
            continue
        look = _nearest if name in _LABELS else _between
        array = found[name].copy()
        for row in rows:
            size = array.shape[-2:]
            y, x = (_cells(whole[row, axis::2], cut[row, axis::2], size[1 - axis]) for axis in (1, 0))
            array[row] = look(array[row], y, x)
        found[name] = array
    return cut, _scored_as_shown(swept(found) if sweep else found)


def unseen(labels: NDArray[np.uint8], scores: NDArray[np.float32]) -> list[int]:
    """The classes with a score that no cell shows.

    Args:
        labels: uint8 [S,S].
        scores: [classes].
    """
    # a search for each class with a score takes a tenth of the time of counting cells
    shown = labels.tobytes()
    return [label for label in np.flatnonzero(scores).tolist() if label not in shown]


def _scored_as_shown(maps: Maps) -> Maps:
    for name, scores in _SCORES.items():
        if name not in maps or scores not in maps:
            continue
        given = maps[scores]
        for index, cells in enumerate(maps[name]):
            if hidden := unseen(cells[0] if name == "IUV" else cells, given[index]):
                if maps[scores] is given:
                    maps = {**maps, scores: given.copy()}
                maps[scores][index, hidden] = 0
    return maps


def _cells(whole: NDArray[np.float32], cut: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Centres of the `count` cells of a cut extent (low, high), in cells of the whole extent: float64 [count]."""
    low, high = (float(edge) for edge in whole)
    first, last = (float(edge) for edge in cut)
    centres = first + (np.arange(count) + 0.5) / count * (last - first)
    return np.asarray((centres - low) / max(high - low, 1e-6) * count)


def _nearest(cells: NDArray[np.uint8], y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The cells [...,S,S] looked up at the places y and x, [...,len(y),len(x)]."""
    rows, columns = (
        np.floor(places).astype(np.intp).clip(0, size - 1)
        for places, size in zip((y, x), cells.shape[-2:], strict=True)
    )
    return cells[..., rows, :][..., columns]


def _between(cells: NDArray[np.uint8], y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The same, interpolated linearly between the centres of cells."""
    found = cells.astype(np.float32)
    for axis, places in ((-2, y), (-1, x)):
        size = found.shape[axis]
        at = np.clip(places - 0.5, 0, size - 1)
        low = np.floor(at).astype(np.intp)
        share = (at - low).astype(np.float32).reshape((-1, 1) if axis == -2 else (-1,))
        above = np.minimum(low + 1, size - 1)
        found = found.take(low, axis) * (1 - share) + found.take(above, axis) * share
    return np.rint(found).astype(np.uint8)
