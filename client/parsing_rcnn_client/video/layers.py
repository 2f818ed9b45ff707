"""What an annotated frame shows, drawn in a few milliseconds: colours are chosen at the map's own cells and enlarged.

`parsing_rcnn.draw` is for single pictures and spends ten times as long on rounder outlines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn import draw
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.overlaps import visible
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import DENSEPOSE, Taxonomy
from parsing_rcnn_client.video.surface import HALF, Ink, dressed, enlarge, lay_over, texels_of, trimmed, wire_frame

LAYERS = ("parts", "iuv", "contours", "texture", "boxes", "anonymise")
ANONYMISE = ("heads", "faces", "people")
STYLES = ("pixelate", "blur")

_HEAD_NAMES = {"hat", "hair", "sunglasses", "face", "cap/hat", "helmet", "headwear", "eyewear"}
_FACE_NAMES = {"sunglasses", "face", "eyewear"}
_SPECK = {"heads": 0.02, "faces": 0.01}  # of somebody's cells: fewer than these are no head, and no face
_TOP = 1 / 3  # of a box, in which the head of somebody upright is
_OUTLINE = 0.9  # its opacity
_STRETCH = (np.arange(256) * 255 // (len(DENSEPOSE) - 1)).clip(max=255).astype(np.uint8)


@dataclass(frozen=True)
class Look:
    """What to draw.

    Attributes:
        layers: of `LAYERS`, drawn in the order given; "anonymise" always comes first, under everything.
        alpha: opacity of parts and IUV, 0..1.
        atlas: uint8 [6N,4N,3 or 4] RGB(A) for "texture", as in `parsing_rcnn.draw.texture`.
        hide: whom "anonymise" hides, one of `ANONYMISE`.
        style: how, one of `STYLES`.

    Raises:
        InvalidOptions: an unknown name, a texture without an atlas, or an atlas that is not 6 rows of 4 squares.
    """

    layers: Sequence[str] = ("parts", "boxes")
    alpha: float = 0.55
    atlas: NDArray[np.uint8] | None = field(default=None, repr=False)
    hide: str = "heads"
    style: str = "pixelate"

    def __post_init__(self) -> None:
        unknown = [name for name in self.layers if name not in LAYERS]
        if unknown or not self.layers:
            raise InvalidOptions(f"layers: {', '.join(unknown) or 'none'}: choose from {', '.join(LAYERS)}")
        if self.hide not in ANONYMISE:
            raise InvalidOptions(f"anonymise {self.hide!r}: choose one of {', '.join(ANONYMISE)}")
        if self.style not in STYLES:
            raise InvalidOptions(f"style {self.style!r}: choose one of {', '.join(STYLES)}")
        if "texture" in self.layers and self.atlas is None:
            raise InvalidOptions("the layer texture needs an atlas: --atlas PICTURE of 6 rows of 4 squares")
        try:
            _ = self.texels
        except ValueError as error:
            raise InvalidOptions(str(error)) from None

    @cached_property
    def texels(self) -> NDArray[np.uint8] | None:
        """The atlas as `surface.dressed` takes it."""
        return None if self.atlas is None else texels_of(self.atlas)

    @property
    def hides(self) -> bool:
        """Whether people are to be unrecognisable."""
        return "anonymise" in self.layers

    @property
    def tasks(self) -> frozenset[str]:
        """The tasks that the layers need."""
        needed = {
            "parts": {"parsing"},
            "iuv": {"densepose"},
            "contours": {"densepose"},
            "texture": {"densepose"},
            "anonymise": {"parsing", "densepose"},
        }
        return frozenset().union(*(needed.get(name, set()) for name in self.layers))


def render(
    image: NDArray[np.uint8],
    people: People,
    numbers: NDArray[np.intp],
    shown: NDArray[np.float32],
    look: Look,
    doubtful: People | None = None,
) -> NDArray[np.uint8]:
    """A frame with what `paint` draws over it.

    Args:
        image: uint8 [H,W,3] RGB; it is not changed.
        people, numbers, shown, look, doubtful: see `paint`.

    Returns:
        uint8 [H,W,3] RGB.
    """
    canvas = image.copy()
    paint(canvas, people, numbers, shown, look, doubtful)
    return canvas


def paint(
    canvas: NDArray[np.uint8],
    people: People,
    numbers: NDArray[np.intp],
    shown: NDArray[np.float32],
    look: Look,
    doubtful: People | None = None,
) -> None:
    """Draw over a frame, in place.

    Args:
        canvas: uint8 [H,W,3] RGB; it is changed.
        people: of this frame.
        numbers: [n] track numbers, which choose the colours; 0 for nobody's.
        shown: float32 [n,4], the boxes to draw.
        look: what to draw.
        doubtful: perhaps people, whom "anonymise" hides as well; nothing else is drawn of them.
    """
    order = people.back_to_front()
    if look.hides:
        if doubtful is not None:
            for index in range(len(doubtful)):
                _hide(canvas, doubtful, index, look)
        for index in order:
            _hide(canvas, people, index, look)
    if not {"parts", "iuv", "contours", "texture"}.isdisjoint(look.layers):
        people = visible(people)
    for layer in look.layers:
        if layer in ("contours", "texture"):
            for index in order:
                _wrap(canvas, people, index, layer, look)
        elif layer in ("parts", "iuv"):
            for index in order:
                _paint(canvas, people, index, int(numbers[index]), layer, look.alpha)
        elif layer == "boxes":
            for index in order:
                _frame(canvas, shown[index], int(numbers[index]), float(people.scores[index]))


def veiled(image: NDArray[np.uint8], look: Look) -> NDArray[np.uint8]:
    """A frame in which nobody can be recognised, for when "anonymise" cannot know whom to hide: uint8 [H,W,3] RGB."""
    return _coarse(image, look.style)


def _paint(canvas: NDArray[np.uint8], people: People, index: int, number: int, layer: str, alpha: float) -> None:
    """Colour one person's cells, with an outline in the colour of the track."""
    maps = people.parts if layer == "parts" else people.iuv
    if maps is None:
        return
    labels = maps[index] if layer == "parts" else maps[index, 0]
    found = trimmed(maps[index], labels > 0, people.boxes[index], people.image_size)
    if found is None:
        return
    cells, box, window = found
    labels = cells if layer == "parts" else cells[0]
    # cells at the outline, and what lies around the person, are 128 more
    edge = np.asarray(cv2.erode(labels, np.ones((3, 3), np.uint8)) == 0).view(np.uint8) << 7
    code = labels + edge
    codes = cv2.merge([code] * 3)
    if layer == "parts":
        colours = cv2.LUT(codes, _colours(people.taxonomy, alpha, number))
    else:
        own = cv2.merge([cv2.LUT(labels, _STRETCH), cells[1], cells[2]]) * cv2.LUT(codes, _weights(alpha)[0])
        colours = own + cv2.LUT(codes, _colours(None, alpha, number))
    ink = Ink(np.asarray(colours, np.uint16), np.asarray(cv2.LUT(code, _weights(alpha)[1]), np.uint16))
    lay_over(canvas[window.slices], ink, box, window)


def _wrap(canvas: NDArray[np.uint8], people: People, index: int, layer: str, look: Look) -> None:
    """Lines or a texture on one person's surface."""
    if people.iuv is None:
        return
    iuv = people.iuv[index]
    found = trimmed(iuv, iuv[0] > 0, people.boxes[index], people.image_size)
    if found is None:
        return
    cells, box, window = found
    if layer == "contours":
        wire_frame(canvas[window.slices], cells, box, window, _thickness(canvas))
    elif look.texels is not None:
        dressed(canvas[window.slices], cells, look.texels, box, window, _thickness(canvas))


@lru_cache(maxsize=8)
def _weights(alpha: float) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """By the code of a cell (its label, 128 more at the outline): weights of its own colour, 0 to 256; `Ink.rest`."""
    weights = np.zeros((1, 256, 3), np.uint16)
    weights[0, 1:128] = round(256 * alpha)
    rest = 256 - weights[:, :, 0]
    rest[0, 129:] = 256 - round(256 * max(alpha, _OUTLINE))
    return weights, rest


@lru_cache(maxsize=64)
def _colours(taxonomy: Taxonomy | None, alpha: float, number: int) -> NDArray[np.uint16]:
    """`Ink.colours` by the code of a cell; the outline has the colour of the track."""
    weights, rest = _weights(alpha)
    colours = np.full((1, 256, 3), HALF, np.uint16)
    if taxonomy is not None:
        count = len(taxonomy.palette)
        colours[0, :count] += taxonomy.palette * weights[0, :count]
    colours[0, 129:] += np.array(draw.instance_colour(number), np.uint16) * (256 - rest[0, 129:, None])
    return colours


def _frame(canvas: NDArray[np.uint8], box: NDArray[np.float32], number: int, score: float) -> None:
    """A box and the number of its track."""
    height, width = canvas.shape[:2]
    colour = draw.instance_colour(number)
    thick = _thickness(canvas)
    left, top = int(max(box[0], 0)), int(max(box[1], 0))
    cv2.rectangle(canvas, (left, top), (int(min(box[2], width)) - 1, int(min(box[3], height)) - 1), colour, thick)
    text = f"{number}  {score:.2f}" if number and score else str(number or f"{score:.2f}")
    scale = max(0.4, height / 1300)
    (text_width, text_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    base = max(top, text_height + 6)
    cv2.rectangle(canvas, (left, base - text_height - 6), (left + text_width + 6, base), colour, cv2.FILLED)
    where = (left + 3, base - 4)
    cv2.putText(canvas, text, where, cv2.FONT_HERSHEY_SIMPLEX, scale, (16, 16, 16), 1, cv2.LINE_AA)


def _thickness(canvas: NDArray[np.uint8]) -> int:
    """Of lines, pixels."""
    longest: int = max(canvas.shape[0], canvas.shape[1])
    return max(1, round(longest / 900))


def _hide(canvas: NDArray[np.uint8], people: People, index: int, look: Look) -> None:
    """Make a head, a face or a person unrecognisable; where no such part, or only a speck of it, was found, also the
    top quarter of the box, or all of it where the person does not stand or sit.
    """
    mask = _hidden(people, index, look.hide)
    found = None
    if mask is not None:
        grown = cv2.dilate(mask.view(np.uint8) * np.uint8(255), np.ones((7, 7), np.uint8))
        found = trimmed(np.asarray(grown, np.uint8), grown > 0, people.boxes[index], people.image_size)
    if found is not None:
        cells, box, part = found
        _cover(canvas[part.slices], enlarge(cells, box, part), look.style)
    if found is None or _is_speck(people, index, mask, look.hide):
        window = people.window(index)
        whole = look.hide == "people" or not _stands(people.boxes[index], mask)
        height = window.shape[0] if whole else max(window.shape[0] // 4, 1)
        _cover(canvas[window.slices], np.full((height, window.shape[1]), 255, np.uint8), look.style)


def _cover(area: NDArray[np.uint8], cover: NDArray[np.uint8], style: str) -> None:
    """Make what lies under the cover coarse, in place."""
    x, y, wide, high = cv2.boundingRect(cover)
    patch = area[y : y + high, x : x + wide]
    cv2.copyTo(_coarse(patch, style), cover[y : y + high, x : x + wide], patch)


def _is_speck(people: People, index: int, mask: NDArray[np.bool_] | None, whom: str) -> bool:
    """Whether the cells to hide are too few to be what they are said to be: the real ones may lie elsewhere."""
    body = _hidden(people, index, "people")
    if mask is None or body is None or whom == "people":
        return False
    return bool(mask.sum() < _SPECK[whom] * body.sum())


def _stands(box: NDArray[np.float32], mask: NDArray[np.bool_] | None) -> bool:
    """Whether a head can be expected at the top: the box is no wider than high, and no speck of it lies far below."""
    rows = np.zeros(0) if mask is None else mask.nonzero()[0] / len(mask)
    return bool(box[3] - box[1] >= box[2] - box[0] and (rows < _TOP).all())


def _coarse(patch: NDArray[np.uint8], style: str) -> NDArray[np.uint8]:
    """A picture with so few cells that nobody can tell who it is."""
    high, wide = patch.shape[:2]
    many = 8 if style == "pixelate" else 5  # across the longer side
    small = (max(round(wide * many / max(wide, high)), 1), max(round(high * many / max(wide, high)), 1))
    coarse = cv2.resize(patch, small, interpolation=cv2.INTER_AREA)
    how = cv2.INTER_NEAREST if style == "pixelate" else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(coarse, (wide, high), interpolation=how), np.uint8)


def _hidden(people: People, index: int, whom: str) -> NDArray[np.bool_] | None:
    """Cells [S,S] to hide, from the parts and the charts together: missing a face costs more than hiding a hat."""
    parts = None if people.parts is None else people.parts[index]
    charts = None if people.iuv is None else people.iuv[index, 0]
    if whom == "people":
        masks = [m > 0 for m in (parts, charts) if m is not None]
    else:
        names = _HEAD_NAMES if whom == "heads" else _FACE_NAMES
        masks = [] if parts is None else [_of(people.taxonomy, names)[parts]]
        # DensePose has heads, no faces
        if charts is not None and (whom == "heads" or not masks):
            masks.append(charts >= 23)
    same = [m for m in masks if m.shape == masks[0].shape]
    return np.logical_or.reduce(same) if same else None


def _of(taxonomy: Taxonomy, names: set[str]) -> NDArray[np.bool_]:
    return np.array([name.lower() in names for name in taxonomy.classes])
