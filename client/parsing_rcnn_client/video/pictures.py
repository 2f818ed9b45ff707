"""Draws a frame as it is shown: people, and the zones and lines in which they are counted."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.drawing.strokes import extent, write
from parsing_rcnn_client.video.follow import Tracked
from parsing_rcnn_client.video.layers import Look, letter_scale, line_thickness, paint, veiled
from parsing_rcnn_client.video.zones import Counts, ZoneCounter

_INK, _DARK = (255, 221, 51), (16, 16, 16)
_ARROW = 0.03  # length of the arrow to a line's inner side, as a share of the picture's longer side


def pictured(
    tracked: Tracked, look: Look, counter: ZoneCounter | None = None, *, reuse: bool = False
) -> NDArray[np.uint8]:
    """A frame as it is shown. If people are to be hidden and there is no answer for it, the whole frame is hidden.

    Args:
        tracked: the frame and everybody in it.
        look: what to draw.
        counter: whose zones and lines are drawn, with the counts of the frame.
        reuse: draw over the frame itself where it can be written to, for whom it is of no use any more.

    Returns:
        uint8 [H,W,3] RGB.
    """
    image = tracked.frame.image
    counter = None if tracked.counts is None else counter
    if look.hides and not tracked.covered:
        canvas = veiled(image, look)
        if counter is not None:
            draw_lines(canvas, counter)
    else:
        canvas = image if reuse and image.flags.writeable else image.copy()
        # under the people, whose numbers lines would cross out
        under = None if counter is None else partial(draw_lines, counter=counter)
        paint(canvas, tracked.people, tracked.numbers, tracked.shown, look, tracked.doubtful, under=under)
    if counter is not None and tracked.counts is not None:
        draw_counts(canvas, counter, tracked.counts)
    return canvas


def draw_lines(canvas: NDArray[np.uint8], counter: ZoneCounter) -> None:
    """Outlines of zones, lines, and an arrow to the side of each line that is in.

    Args:
        canvas: uint8 [H,W,3] RGB; it is changed.
        counter: whose zones and lines these are.
    """
    thick = line_thickness(canvas)
    for corners in counter.corners.values():
        _stroke(canvas, corners, True, thick)
    for ends in counter.ends.values():
        _stroke(canvas, ends, False, thick)
        middle, right = ends.mean(axis=0), _right(ends)
        tip = middle + right * max(_ARROW * max(canvas.shape[:2]), 8)
        for colour, wide in ((_DARK, thick + 2), (_INK, thick)):
            cv2.arrowedLine(canvas, _whole(middle), _whole(tip), colour, wide, cv2.LINE_AA, tipLength=0.4)


def draw_counts(canvas: NDArray[np.uint8], counter: ZoneCounter, counts: Counts) -> None:
    """The name and the count of each zone and line, beside it.

    Args:
        canvas: uint8 [H,W,3] RGB; it is changed.
        counter: that counted.
        counts: of this frame.
    """
    thick = line_thickness(canvas)
    for name, corners in counter.corners.items():
        top = corners[np.lexsort((corners[:, 0], corners[:, 1]))[0]]
        left = bool(top[0] <= corners[:, 0].mean())  # the zone is to the right of the corner; the label goes there
        where = top + np.array([4 if left else -4, 4], np.float32)
        _label(canvas, f"{name}: {counts.zones[name]}", where, (0.0 if left else 1.0, 0.0))
    for name, ends in counter.ends.items():
        passed, right = counts.lines[name], _right(ends)
        # on the other side than the arrow
        where = ends.mean(axis=0) - right * (4 + 2 * thick)
        _label(canvas, f"{name}: {passed['in']} in, {passed['out']} out", where, tuple((0.5 + right / 2).tolist()))


def _right(ends: NDArray[np.float32]) -> NDArray[np.float32]:
    """The direction, of length 1, to the right of a line."""
    ahead = ends[1] - ends[0]
    return np.array([-ahead[1], ahead[0]], np.float32) / np.float32(np.hypot(*ahead))


def _stroke(canvas: NDArray[np.uint8], points: NDArray[np.float32], closed: bool, thick: int) -> None:
    """A thin line with a dark rim, visible on any background."""
    height, width = canvas.shape[:2]
    whole = np.rint(points).astype(np.int32).clip(0, (width - 1, height - 1))
    for colour, wide in ((_DARK, thick + 2), (_INK, thick)):
        cv2.polylines(canvas, [whole], closed, colour, wide, cv2.LINE_AA)


def _label(canvas: NDArray[np.uint8], text: str, at: NDArray[np.float32], anchor: tuple[float, ...]) -> None:
    """Text on a dark plate inside the picture: its point `anchor`, in 0..1, lies at the picture's point `at`."""
    scale = letter_scale(canvas)
    width, height, below = extent(text, scale)
    wide, high = width + 8, height + below + 6
    left = int(np.clip(at[0] - anchor[0] * wide, 0, max(canvas.shape[1] - wide, 0)))
    top = int(np.clip(at[1] - anchor[1] * high, 0, max(canvas.shape[0] - high, 0)))
    cv2.rectangle(canvas, (left, top), (left + wide - 1, top + high - 1), _DARK, cv2.FILLED)
    write(canvas, text, (left + 4, top + 3 + height), scale, _INK)


def _whole(point: NDArray[np.float32]) -> tuple[int, int]:
    x, y = np.rint(point).astype(int).tolist()
    return x, y
