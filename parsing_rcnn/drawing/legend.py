"""The colours of a taxonomy and their names, as a picture."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from parsing_rcnn.drawing.strokes import extent, write
from parsing_rcnn.taxonomy import Taxonomy

_PAPER, _INK = (255, 255, 255), (24, 24, 24)


def legend(
    taxonomy: Taxonomy,
    classes: Iterable[int] | ArrayLike | None = None,
    *,
    columns: int = 1,
    row: int = 28,
    bgr: bool = False,
) -> NDArray[np.uint8]:
    """A picture that says which colour is which class.

    Args:
        taxonomy: `people.taxonomy` for parts, `DENSEPOSE` for charts.
        classes: ids to show, in this order, such as `np.unique(people.label_map())` or a set; the background is left
            out. None shows all.
        columns: number of columns, which are filled from the top, one after the other.
        row: height of a line, pixels, 12 or more.
        bgr: return BGR, as OpenCV has it.

    Returns:
        uint8 [h,w,3] RGB, or BGR, on white, as wide as the names need.

    Raises:
        TypeError: an id is not an integer; names or a mask were given, for example.
        ValueError: an id is not a class, or `columns` or `row` is too small.
    """
    if columns < 1 or row < 12:
        raise ValueError(f"columns={columns}, row={row}: at least one column, of lines of 12 pixels")
    wanted = np.arange(len(taxonomy)) if classes is None else _ids(classes)
    strange = wanted[(wanted < 0) | (wanted >= len(taxonomy))]
    if len(strange):
        raise ValueError(f"class {strange[0]}: {taxonomy.name} has 0..{len(taxonomy) - 1}")
    shown = [int(k) for k in wanted if k]
    lines = max(ceil(len(shown) / columns), 1)
    scale, gap = row / 52, row // 4
    names = [taxonomy.classes[k] for k in shown]
    widest = max((extent(name, scale)[0] for name in names), default=0)
    side = row - 2 * gap
    width = 2 * gap + side + widest + gap
    canvas = np.full((lines * row + 2 * gap, columns * width + gap, 3), _PAPER, np.uint8)
    for place, (class_id, name) in enumerate(zip(shown, names, strict=True)):
        left, top = gap + place // lines * width, 2 * gap + place % lines * row
        corners = (left, top), (left + side - 1, top + side - 1)
        cv2.rectangle(canvas, *corners, tuple(taxonomy.palette[class_id].tolist()), cv2.FILLED)
        baseline = top + side - max(round(side * 0.12), 1)
        write(canvas, name, (left + side + gap, baseline), scale, _INK)
    return np.ascontiguousarray(canvas[..., ::-1]) if bgr else canvas


def _ids(classes: Iterable[int] | ArrayLike) -> NDArray[np.intp]:
    """The integers of an array or of any other iterable, intp [k]."""
    several = isinstance(classes, Iterable) and not hasattr(classes, "__array__")
    ids = np.asarray(list(classes) if several else classes).ravel()  # type: ignore[arg-type]
    if ids.size and ids.dtype.kind not in "iu":
        raise TypeError(f"classes are integers, as in np.unique(people.label_map()), and these are {ids.dtype}")
    return ids.astype(np.intp)
