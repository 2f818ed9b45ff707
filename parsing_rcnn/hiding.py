"""Make people unrecognisable: their heads, their faces, or all of them. Nobody who was not found is hidden.

Missing a face costs more than hiding a hat, so both maps say where to hide, doubtful people are hidden as well, and
where no head was found what may be one is.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import Options
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.paste import interpolate, reach
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import Taxonomy

HIDE = ("heads", "faces", "people")
STYLES = ("pixelate", "blur")

LOWEST_SCORE = 0.1
"""Of a box that is hidden: doubtful people are mostly people."""

_HEAD_NAMES = {"hat", "hair", "sunglasses", "face", "cap/hat", "helmet", "headwear", "eyewear"}
_FACE_NAMES = {"sunglasses", "face", "eyewear"}
_SPECK = {"heads": 0.02, "faces": 0.01}  # of somebody's cells: fewer than these are no head, and no face
_TOP = 1 / 3  # of a box, in which the head of somebody upright is
_AROUND = np.ones((7, 7), np.uint8)  # three cells on every side are hidden as well


def check(hide: str, style: str) -> None:
    """Hold the names against `HIDE` and `STYLES`.

    Raises:
        InvalidOptions: one is unknown.
    """
    if hide not in HIDE:
        raise InvalidOptions(f"hide {hide!r}: choose one of {', '.join(HIDE)}")
    if style not in STYLES:
        raise InvalidOptions(f"style {style!r}: choose one of {', '.join(STYLES)}")


def suspects(options: Options) -> Options:
    """What to ask an engine for so that doubtful people can be hidden, too; `surest` has those of `options` again."""
    # its default is the most: whoever asks for one person wants the others hidden all the same
    return replace(options, confidence=min(options.confidence, LOWEST_SCORE), max_people=Options.max_people)


def surest(people: People, options: Options) -> People:
    """Of people found by `suspects(options)` those whom `options` ask for."""
    return people.select(np.flatnonzero(people.scores >= options.confidence)[: options.max_people])


def hide_people(canvas: NDArray[np.uint8], people: People, hide: str, style: str) -> None:
    """Make everybody unrecognisable, in place.

    Where no such part, or only a speck of it, was found, the top quarter of the box is hidden as well, or all of it
    where the person does not stand or sit.

    Args:
        canvas: uint8 [H,W,3] RGB; it is changed.
        people: found in it, with what maps there are; those of untrained heads are not looked at.
        hide: one of `HIDE`.
        style: one of `STYLES`.
    """
    for index in people.back_to_front():
        mask = _cells_to_hide(people, index, hide)
        found = mask is not None and bool(mask.any())
        if mask is not None and found:
            _hide_cells(canvas, people, index, mask, style)
        if not found or _is_speck(people, index, mask, hide):
            window = people.window(index)
            whole = hide == "people" or not _stands(people.boxes[index], mask)
            height = window.shape[0] if whole else max(window.shape[0] // 4, 1)
            _cover(canvas[window.slices], np.ones((height, window.shape[1]), np.uint8), style)


def coarse(patch: NDArray[np.uint8], style: str) -> NDArray[np.uint8]:
    """A picture of the same size with so few cells that nobody can tell who it is.

    Args:
        patch: uint8 [h,w,3] RGB.
        style: one of `STYLES`.
    """
    high, wide = patch.shape[:2]
    many = 8 if style == "pixelate" else 5  # across the longer side
    small = (max(round(wide * many / max(wide, high)), 1), max(round(high * many / max(wide, high)), 1))
    shrunk = cv2.resize(patch, small, interpolation=cv2.INTER_AREA)
    how = cv2.INTER_NEAREST if style == "pixelate" else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(shrunk, (wide, high), interpolation=how), np.uint8)


def _hide_cells(canvas: NDArray[np.uint8], people: People, index: int, mask: NDArray[np.bool_], style: str) -> None:
    """Cover the cells of a mask [S,S], and those around them."""
    grown = np.asarray(cv2.dilate(mask.view(np.uint8), _AROUND), np.float32)
    box = people.boxes[index]
    part = reach(grown, box, people.window(index))
    _cover(canvas[part.slices], (interpolate(grown, box, part) > 0).view(np.uint8), style)


def _cover(area: NDArray[np.uint8], cover: NDArray[np.uint8], style: str) -> None:
    """Make what lies under the cover coarse, in place."""
    x, y, wide, high = cv2.boundingRect(cover)
    if not wide:  # it lies beside the picture
        return
    patch = area[y : y + high, x : x + wide]
    cv2.copyTo(coarse(patch, style), cover[y : y + high, x : x + wide], patch)


def _is_speck(people: People, index: int, mask: NDArray[np.bool_] | None, hide: str) -> bool:
    """Whether the cells to hide are too few to be what they are said to be: the real ones may lie elsewhere."""
    body = _cells_to_hide(people, index, "people")
    if mask is None or body is None or hide == "people":
        return False
    return bool(mask.sum() < _SPECK[hide] * body.sum())


def _stands(box: NDArray[np.float32], mask: NDArray[np.bool_] | None) -> bool:
    """Whether a head can be expected at the top: the box is no wider than high, and no speck of it lies far below."""
    rows = np.zeros(0) if mask is None else mask.nonzero()[0] / len(mask)
    return bool(box[3] - box[1] >= box[2] - box[0] and (rows < _TOP).all())


def _cells_to_hide(people: People, index: int, hide: str) -> NDArray[np.bool_] | None:
    """Cells [S,S] of the parts and the charts together; None without maps of trained heads."""
    # a head that is not trained sees faces anywhere, and would keep the other one's from being asked
    parts = None if people.parts is None or "parsing" in people.untrained else people.parts[index]
    charts = None if people.iuv is None or "densepose" in people.untrained else people.iuv[index, 0]
    if hide == "people":
        masks = [m > 0 for m in (parts, charts) if m is not None]
    else:
        names = _HEAD_NAMES if hide == "heads" else _FACE_NAMES
        masks = [] if parts is None else [_of(people.taxonomy, names)[parts]]
        # DensePose has heads, no faces
        if charts is not None and (hide == "heads" or not masks):
            masks.append(charts >= 23)
    same = [m for m in masks if m.shape == masks[0].shape]
    return np.logical_or.reduce(same) if same else None


def _of(taxonomy: Taxonomy, names: set[str]) -> NDArray[np.bool_]:
    return np.array([name.lower() in names for name in taxonomy.classes])
