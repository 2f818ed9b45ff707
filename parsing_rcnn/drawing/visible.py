"""Each person's parts and charts as a picture shows them: over their window, without what others in front cover."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.drawing.cutouts import beside
from parsing_rcnn.maps.overlaps import assign_contested_pixels
from parsing_rcnn.maps.paste import paste_charts, paste_nearest, paste_smooth
from parsing_rcnn.people import People


def labels(people: People, smooth: bool, charts: bool = False) -> list[NDArray[np.uint8]]:
    """Everybody's parts, or I of their charts, uint8 [h,w] over their window.

    Args:
        people: with the maps.
        smooth: round outlines instead of the map's own cells; they come from the probabilities where people have them.
        charts: return I even where there are parts. Without parts it is I anyway.
    """
    if charts or people.parts is None:
        found = [_pasted(people, i, people.iuv_cells(i)[0], smooth) for i in range(len(people))]
    elif people.part_probs is not None and smooth:
        found = [people.crop(i, exact=True)[0] for i in range(len(people))]
    else:
        found = [_pasted(people, i, cells, smooth) for i, cells in enumerate(people.parts)]
    assign_contested_pixels(people, found)
    return found


def charts(people: People) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.float32]]]:
    """Yields for each person (index, I uint8 [h,w] over their window, U and V float32 [2,h,w] in 0..1)."""
    for index, own in enumerate(labels(people, smooth=True, charts=True)):
        yield index, *paste_charts(people.iuv_cells(index), people.boxes[index], people.window(index), own)


def charted(people: People, index: int) -> NDArray[np.bool_]:
    """Where one of the people has a chart and nobody is in front: bool [h,w] over their window."""
    few, own = beside(people, index)
    return labels(few, smooth=True, charts=True)[own] > 0


def _pasted(people: People, index: int, cells: NDArray[np.uint8], smooth: bool) -> NDArray[np.uint8]:
    paste = paste_smooth if smooth else paste_nearest
    return paste(cells, people.boxes[index], people.window(index))
