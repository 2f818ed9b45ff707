"""Draws parts, charts, U and V in colours over a photo, on a canvas in place. Colours are RGB."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.drawing import visible
from parsing_rcnn.drawing.strokes import Colour, colours_of, outline
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import DENSEPOSE

STRETCHED = (np.arange(256) * 255 // (len(DENSEPOSE) - 1)).clip(max=255).astype(np.uint8)
"""Number of a chart -> its level of red in pictures of IUV: 24 is 255."""


def instance_colour(index: int) -> Colour:
    """A colour for a person or a track: the same for the same number, far from its neighbours'."""
    red, green, blue = colorsys.hsv_to_rgb((0.58 + index * 0.618033988749895) % 1.0, 0.62, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def own_colour(people: People, index: int) -> Colour:
    """The colour of one of the people: by the number of their track where they have one, else by their index."""
    return instance_colour(index if people.tracker_id is None else int(people.tracker_id[index]))


def coloured(
    canvas: NDArray[np.uint8],
    photo: NDArray[np.uint8],
    people: People,
    of_charts: bool,
    *,
    alpha: float,
    outlines: bool,
    smooth: bool,
) -> None:
    """Everybody's parts, or charts, in the colours of their taxonomy."""
    palette = DENSEPOSE.palette if of_charts else people.taxonomy.palette
    for index, labels in enumerate(visible.labels(people, smooth, of_charts)):
        where = people.window(index).slices
        # `take` is five times as fast as indexing
        blend(canvas[where], photo[where], palette.take(labels, axis=0), labels > 0, alpha)
        if outlines:
            outline(canvas, labels > 0, people.window(index)[:2], own_colour(people, index))


def coordinate(canvas: NDArray[np.uint8], photo: NDArray[np.uint8], people: People, channel: int, alpha: float) -> None:
    """U (channel 0) or V (1), from blue by green to yellow."""
    table = colours_of(cv2.COLORMAP_PARULA)
    for index, labels, uv in visible.charts(people):
        where = people.window(index).slices
        colours = table.take(np.rint(uv[channel] * 255).astype(np.uint8), axis=0)
        blend(canvas[where], photo[where], colours, labels > 0, alpha)


def blend(
    target: NDArray[np.uint8],
    photo: NDArray[np.uint8],
    colours: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    alpha: float,
) -> None:
    """Write photo * (1 - alpha) + colours * alpha into `target` where `mask` is."""
    mixed = cv2.addWeighted(colours, alpha, np.ascontiguousarray(photo), 1 - alpha, 0) if alpha < 1 else colours
    cv2.copyTo(mixed, mask.view(np.uint8), target)  # np.copyto with such a mask is 30 times as slow
