"""Make people unrecognisable: their heads, their faces, or all of them. Nobody who was not found is hidden.

Missing a face costs more than hiding a hat, so both maps say where to hide, doubtful people are hidden as well, and
where no face was found what may be one is.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import Options
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.maps.paste import interpolate, reach
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import Taxonomy

HIDE = ("heads", "faces", "people")
STYLES = ("pixelate", "blur")

LOWEST_SCORE = 0.1
"""Of a box that is hidden: doubtful people are mostly people."""

_HEAD_NAMES = {"hat", "hair", "sunglasses", "face", "cap/hat", "helmet", "headwear", "eyewear"}
_HEAD_CHARTS = 23  # of DensePose, and 24
_FACE_NAMES = {"sunglasses", "face", "eyewear"}
_SPECK = {"heads": 0.02, "faces": 0.01}  # of somebody's cells: fewer than these are no head, and no face
_WELL_SEEN = 0.04  # of them: a head of which so much is seen is that of the person, and not far from the face
_BESIDE = 0.6  # of a head's length: how far beside what was seen of it a face can be
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
    where the person does not stand or sit. So it is where a head was found without a face, which may lie beside it.
    Where DensePose, too, saw that head, as mostly of somebody from behind, more around it is hidden instead.

    Args:
        canvas: uint8 [H,W,3] RGB; it is changed.
        people: found in it, with what maps there are; those of untrained heads are not looked at.
        hide: one of `HIDE`.
        style: one of `STYLES`.
    """
    for index in people.back_to_front():
        mask, whole = _what_to_hide(people, index, hide)
        if mask is not None and mask.any():
            _hide_cells(canvas, people, index, mask, style)
        if whole is not None:
            window = people.window(index)
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


def _what_to_hide(people: People, index: int, hide: str) -> tuple[NDArray[np.bool_] | None, bool | None]:
    """Cells [S,S] of one person, and whether all of the box is hidden as well (True), its top (False) or neither.

    Whoever has no face among the cells is hidden alike by "heads" and "faces": heads hide all that faces do.
    """
    mask = _cells_to_hide(people, index, hide)
    if hide == "people":
        return mask, None if mask is not None and mask.any() else True
    face = _cells_to_hide(people, index, "faces")
    lacking = [found for what, found in ((hide, mask), ("faces", face)) if _lacks(people, index, found, _SPECK[what])]
    if not lacking:
        return mask, None
    head = _cells_to_hide(people, index, "heads")
    if head is not None and head.any() and not _lacks(people, index, _charted_head(people, index), _WELL_SEEN):
        return _with_face(people, index, head), None
    return mask, not all(_stands(people.boxes[index], found) for found in lacking)


def _with_face(people: People, index: int, head: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The cells of a head, and on every side more than half a head, where its face may be."""
    x1, y1, x2, y2 = people.boxes[index]
    cell = np.maximum(np.array([y2 - y1, x2 - x1]), 1) / head.shape  # pixels
    # of the area: a speck elsewhere would make it as long as the whole person
    length = np.sqrt(head.sum() * cell.prod())
    rows, columns = np.minimum(np.ceil(_BESIDE * length / cell), head.shape).astype(int)
    around = np.ones((2 * rows + 1, 2 * columns + 1), np.uint8)
    return np.asarray(cv2.dilate(head.view(np.uint8), around), np.bool_)


def _lacks(people: People, index: int, mask: NDArray[np.bool_] | None, least: float) -> bool:
    """Whether the cells are too few of somebody's to be what they are said to be: the real ones may lie elsewhere."""
    if mask is None or not mask.any():
        return True
    body = _cells_to_hide(people, index, "people")
    return body is None or bool(mask.sum() < least * body.sum())


def _stands(box: NDArray[np.float32], mask: NDArray[np.bool_] | None) -> bool:
    """Whether a head can be expected at the top: the box is no wider than high, and no speck of it lies far below."""
    rows = np.zeros(0) if mask is None else mask.nonzero()[0] / len(mask)
    return bool(box[3] - box[1] >= box[2] - box[0] and (rows < _TOP).all())


def _cells_to_hide(people: People, index: int, hide: str) -> NDArray[np.bool_] | None:
    """Cells [S,S] of the parts and the charts together; None without maps of trained heads."""
    # a head that is not trained sees faces anywhere, and would keep the other one's from being asked
    parts = None if people.parts is None or "parsing" in people.untrained else people.parts[index]
    charts = _charts(people, index)
    if hide == "people":
        masks = [m > 0 for m in (parts, charts) if m is not None]
    else:
        names = _HEAD_NAMES if hide == "heads" else _FACE_NAMES
        masks = [] if parts is None else [_of(people.taxonomy, names)[parts]]
        # DensePose has heads, no faces
        if charts is not None and (hide == "heads" or not masks):
            masks.append(charts >= _HEAD_CHARTS)
    same = [m for m in masks if m.shape == masks[0].shape]
    return np.logical_or.reduce(same) if same else None


def _charts(people: People, index: int) -> NDArray[np.uint8] | None:
    return None if people.iuv is None or "densepose" in people.untrained else people.iuv[index, 0]


def _charted_head(people: People, index: int) -> NDArray[np.bool_] | None:
    charts = _charts(people, index)
    return None if charts is None else charts >= _HEAD_CHARTS


def _of(taxonomy: Taxonomy, names: set[str]) -> NDArray[np.bool_]:
    return np.array([name.lower() in names for name in taxonomy.classes])
