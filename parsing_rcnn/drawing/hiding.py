"""Make people unrecognisable: their heads, their faces, or all of them. Only people who were found are hidden.

Missing a face costs more than hiding a hat. So a cell is hidden when either map (parts or charts) asks for it, doubtful
people are hidden too, and where no face was found, every place where it may be is hidden.
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
from parsing_rcnn.taxonomy import CIHP, MHP, Taxonomy

HIDE = ("heads", "faces", "people")
STYLES = ("pixelate", "blur")

LOWEST_SCORE = 0.1
"""The lowest score of a box that is hidden: doubtful people are mostly people."""

NOT_HIDDEN = "nobody outside of it is looked for, so nobody there would be hidden: leave it out where people are hidden"
"""Why people are not hidden in a region of a picture alone."""

_HEAD_NAMES = {"hat", "hair", "sunglasses", "face", "cap/hat", "helmet", "headwear", "eyewear"}
_HEAD_CHARTS = 23  # I of the head in DensePose: 23 and 24
_FACE_NAMES = {"sunglasses", "face", "eyewear"}
_SPECK = {"heads": 0.02, "faces": 0.01}  # share of a person's cells: fewer are not taken for a head, or a face
_WELL_SEEN = 0.04  # share of a person's cells: a head this large is the person's own, and near the face
_BESIDE = 0.6  # head lengths: how far a face can lie from the part of the head that was seen
_TOP = 1 / 3  # share of the box's height: the head of somebody upright lies above
_AROUND = np.ones((7, 7), np.uint8)  # three more cells on every side are hidden


def check(hide: str, style: str) -> None:
    """Check that the names are in `HIDE` and `STYLES`.

    Raises:
        InvalidOptions: one is unknown.
    """
    if hide not in HIDE:
        raise InvalidOptions(f"hide {hide!r}: choose one of {', '.join(HIDE)}")
    if style not in STYLES:
        raise InvalidOptions(f"style {style!r}: choose one of {', '.join(STYLES)}")


def lower_threshold(options: Options) -> Options:
    """The options with which an engine also finds doubtful people, who are to be hidden too.

    `apply_threshold` takes them out again.

    Raises:
        InvalidOptions: they ask for a region, beside which nobody would be hidden.
    """
    if options.region is not None:
        raise InvalidOptions(f"region: {NOT_HIDDEN}")
    # the default of max_people is the most: whoever asks for one person wants the others hidden all the same
    return replace(options, confidence=min(options.confidence, LOWEST_SCORE), max_people=Options.max_people)


def apply_threshold(people: People, options: Options) -> People:
    """Of the people found with `lower_threshold(options)`, those that `options` ask for."""
    return people.select(np.flatnonzero(people.scores >= options.confidence)[: options.max_people])


def hide_people(canvas: NDArray[np.uint8], people: People, hide: str, style: str) -> None:
    """Make everybody unrecognisable, in place.

    Where no head (or face) was found, or only a speck, the top quarter of the box is hidden as well, or the whole box
    if the person neither stands nor sits. The same holds for a head without a face, which may lie beside it; but where
    DensePose saw that head, too, as it mostly does from behind, more around the head is hidden instead. So "heads"
    hides all that "faces" does, and "people" all that "heads" does.
    Part classes of one's own need not cover a body, a head or a face: there the charts alone say where these are, and
    without charts the box; cells of classes that are called like parts of a head are hidden besides.

    Args:
        canvas: uint8 [H,W,3] RGB, changed in place.
        people: found in it, with any maps; those of untrained heads are ignored.
        hide: one of `HIDE`.
        style: one of `STYLES`.
    """
    own = people.taxonomy not in (CIHP, MHP)
    covering = replace(people, parts=None, part_scores=None, part_probs=None) if own else people
    for index in people.back_to_front():
        mask, whole = _what_to_hide(covering, index, hide)
        if covering is not people:
            mask = _either(mask, _cells_to_hide(people, index, hide))
        if mask is not None and mask.any():
            _hide_cells(canvas, people, index, mask, style)
        if whole is not None:
            window = people.window(index)
            height = window.shape[0] if whole else max(window.shape[0] // 4, 1)
            _cover(canvas[window.slices], np.ones((height, window.shape[1]), np.uint8), style)


def coarse(patch: NDArray[np.uint8], style: str) -> NDArray[np.uint8]:
    """The patch, reduced to so few cells that nobody can be recognised, at its own size.

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
    """Make the pixels of an area [h,w,3] coarse where `cover` [h,w] is above 0, in place."""
    x, y, wide, high = cv2.boundingRect(cover)
    if not wide:  # it lies beside the picture
        return
    patch = area[y : y + high, x : x + wide]
    cv2.copyTo(coarse(patch, style), cover[y : y + high, x : x + wide], patch)


def _what_to_hide(people: People, index: int, hide: str) -> tuple[NDArray[np.bool_] | None, bool | None]:
    """(cells [S,S] of one person, whether the whole box (True), its top (False) or nothing more (None) is hidden).

    People without a face among their cells are hidden alike by both: "heads" hides all that "faces" does. "people"
    hides all that "heads" does: a silhouette may miss the head.
    """
    mask = _cells_to_hide(people, index, hide)
    if hide == "people":
        if mask is None or not mask.any():
            return mask, True
        head, whole = _what_to_hide(people, index, "heads")
        return _either(mask, head), whole
    face = _cells_to_hide(people, index, "faces")
    lacking = [found for what, found in ((hide, mask), ("faces", face)) if _lacks(people, index, found, _SPECK[what])]
    if not lacking:
        return mask, None
    head = _cells_to_hide(people, index, "heads")
    if head is not None and head.any() and not _lacks(people, index, _charted_head(people, index), _WELL_SEEN):
        return _with_face(people, index, head), None
    return mask, not all(_stands(people.boxes[index], found) for found in lacking)


def _either(one: NDArray[np.bool_] | None, other: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Cells of one or the other; of the first alone where their maps differ in size."""
    if one is None or other is None:
        return other if one is None else one
    return one | other if one.shape == other.shape else one


def _with_face(people: People, index: int, head: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The cells of a head grown by more than half a head on every side, where its face may be."""
    x1, y1, x2, y2 = people.boxes[index]
    cell = np.maximum(np.array([y2 - y1, x2 - x1]), 1) / head.shape  # pixels
    # from the area: by its extent, a speck elsewhere would make the head as long as the person
    length = np.sqrt(head.sum() * cell.prod())
    rows, columns = np.minimum(np.ceil(_BESIDE * length / cell), head.shape).astype(int)
    around = np.ones((2 * rows + 1, 2 * columns + 1), np.uint8)
    return np.asarray(cv2.dilate(head.view(np.uint8), around), np.bool_)


def _lacks(people: People, index: int, mask: NDArray[np.bool_] | None, least: float) -> bool:
    """Whether a mask is less than the share `least` of a person's cells: the real head or face may be elsewhere."""
    if mask is None or not mask.any():
        return True
    body = _cells_to_hide(people, index, "people")
    return body is None or bool(mask.sum() < least * body.sum())


def _stands(box: NDArray[np.float32], mask: NDArray[np.bool_] | None) -> bool:
    """Whether the head must be at the top: the box is not wider than high, and no cell of `mask` lies below its top."""
    rows = np.zeros(0) if mask is None else mask.nonzero()[0] / len(mask)
    return bool(box[3] - box[1] >= box[2] - box[0] and (rows < _TOP).all())


def _cells_to_hide(people: People, index: int, hide: str) -> NDArray[np.bool_] | None:
    """Cells [S,S] to hide, by parts and charts together; None without maps of trained heads."""
    # an untrained head sees faces anywhere, and with a face found the other map would not be consulted
    parts = None if people.parts is None or "parsing" in people.untrained else people.parts[index]
    charts = _charts(people, index)
    if hide == "people":
        masks = [m > 0 for m in (parts, charts) if m is not None]
    else:
        names = _HEAD_NAMES if hide == "heads" else _FACE_NAMES
        masks = [] if parts is None else [_named(people.taxonomy, names)[parts]]
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


def _named(taxonomy: Taxonomy, names: set[str]) -> NDArray[np.bool_]:
    return np.array([name.lower() in names for name in taxonomy.classes])
