"""From the canvas to the picture: boxes, and the maps over them where the picture's edge cuts a box.

The network sees the canvas, so a box may reach into the grey beside the picture, and its maps cover all of it. In the
picture the box ends at the edge. Left as they are, the maps would be squeezed into what is left of the box, and every
part would slide away from the edge: of people whom the lower edge of a wide picture cuts, that is most.

Here maps are final, so scores of what no cell shows end here, whoever computed them: of a part that was cut away, and
of one that the quarter of the cells which IUV_SCORES are from showed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.geometry import Window
from parsing_rcnn.maps.specks import swept

_LABELS = ("PARTS", "IUV")  # a cell holds what cannot be averaged
_LEVELS = ("PART_PROBS",)
_SCORES = {"PARTS": "PART_SCORES", "IUV": "IUV_SCORES"}

Maps = dict[str, NDArray[Any]]


def framed(
    window: Window, boxes: NDArray[np.floating], maps: Mapping[str, NDArray[Any]], *, sweep: bool = True
) -> tuple[NDArray[np.float32], Maps]:
    """Boxes and maps of people as the picture has them.

    Args:
        window: where the picture lies on the canvas.
        boxes: [n,4] on the canvas.
        maps: by their tensors' names, [n,...]: PARTS [n,S,S], IUV [n,3,S,S], PART_PROBS [n,C,S,S], all uint8, cover
            those boxes; PART_SCORES and IUV_SCORES [n,C]; others are handed on.
        sweep: take specks (`parsing_rcnn.maps.specks`) out of them.

    Returns:
        float32 [n,4] in pixels of the upright original, within it; maps that cover these, and scores, 0 where no cell
        shows a class. Nothing is changed in place.
    """
    whole, cut = window.to_image(boxes, clip=False), window.to_image(boxes)
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


def _scored_as_shown(maps: Maps) -> Maps:
    for name, scores in _SCORES.items():
        if name not in maps or scores not in maps:
            continue
        given = maps[scores]
        for index, cells in enumerate(maps[name]):
            # a search for each class with a score takes a tenth of the time of counting cells
            shown = (cells[0] if name == "IUV" else cells).tobytes()
            unseen = [label for label in np.flatnonzero(given[index]).tolist() if label not in shown]
            if unseen:
                if maps[scores] is given:
                    maps = {**maps, scores: given.copy()}
                maps[scores][index, unseen] = 0
    return maps


def _cells(whole: NDArray[np.float32], cut: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Where the centres of the cells of a cut extent (low, high) lie in the whole one, in cells of it: [count]."""
    low, high = (float(edge) for edge in whole)
    first, last = (float(edge) for edge in cut)
    centres = first + (np.arange(count) + 0.5) / count * (last - first)
    return np.asarray((centres - low) / max(high - low, 1e-6) * count)


def _nearest(cells: NDArray[np.uint8], y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The cells [...,S,S] that hold these places, [...,len(y),len(x)]."""
    rows, columns = (
        np.floor(places).astype(np.intp).clip(0, size - 1)
        for places, size in zip((y, x), cells.shape[-2:], strict=True)
    )
    return cells[..., rows, :][..., columns]


def _between(cells: NDArray[np.uint8], y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The same between the centres of cells, linearly."""
    found = cells.astype(np.float32)
    for axis, places in ((-2, y), (-1, x)):
        size = found.shape[axis]
        at = np.clip(places - 0.5, 0, size - 1)
        low = np.floor(at).astype(np.intp)
        share = (at - low).astype(np.float32).reshape((-1, 1) if axis == -2 else (-1,))
        above = np.minimum(low + 1, size - 1)
        found = found.take(low, axis) * (1 - share) + found.take(above, axis) * share
    return np.rint(found).astype(np.uint8)
