"""What an annotated frame shows, drawn in a few milliseconds: colours are chosen at the map's own cells and enlarged.

`parsing_rcnn.draw` is for single pictures and spends ten times as long on rounder outlines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn import draw, heads
from parsing_rcnn.analyzer import TASKS, ModelInfo
from parsing_rcnn.drawing import hiding
from parsing_rcnn.drawing.strokes import extent, write
from parsing_rcnn.drawing.tints import STRETCHED
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.maps.overlaps import visible
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import DENSEPOSE, Taxonomy
from parsing_rcnn_client.layer_checks import require_known, require_trained
from parsing_rcnn_client.video.surface import HALF, Ink, dressed, lay_over, texels_of, trimmed, wire_frame

LAYERS = ("parts", "iuv", "contours", "texture", "boxes", "anonymise")
_OF_CHARTS = ("iuv", "contours", "texture")

_OUTLINE = 0.9  # its opacity


@dataclass(frozen=True)
class Look:
    """What to draw.

    Attributes:
        layers: of `LAYERS`, drawn in the order given; "anonymise" always comes first, under everything.
        alpha: opacity of parts and IUV, 0..1.
        atlas: uint8 [6N,4N,3 or 4] RGB(A) for "texture", as in `parsing_rcnn.draw.texture`.
        hide: what "anonymise" hides of people, one of `parsing_rcnn.drawing.hiding.HIDE`.
        style: how, one of `parsing_rcnn.drawing.hiding.STYLES`.
        trained: the tasks whose head is trained; no other is asked for.

    Raises:
        InvalidOptions: an unknown name, a texture without an atlas, an atlas that is not 6 rows of 4 squares, or a
            layer of charts whose head is not trained.
    """

    layers: Sequence[str] = ("parts", "boxes")
    alpha: float = 0.55
    atlas: NDArray[np.uint8] | None = field(default=None, repr=False)
    hide: str = "heads"
    style: str = "pixelate"
    trained: frozenset[str] = frozenset(TASKS)

    def __post_init__(self) -> None:
        require_known(self.layers, LAYERS)
        hiding.check(self.hide, self.style)
        if "texture" in self.layers and self.atlas is None:
            raise InvalidOptions("the layer texture needs an atlas: --atlas PICTURE of 6 rows of 4 squares")
        require_trained(self.layers, _OF_CHARTS, charts_trained="densepose" in self.trained)
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
        """The tasks that the layers need. (Parts are those of the charts where only these are trained.)"""
        needed = {
            "parts": {"parsing"} if "parsing" in self.trained else self.trained,
            "anonymise": self.trained,
            **{layer: {"densepose"} for layer in _OF_CHARTS},
        }
        return frozenset().union(*(needed.get(name, set()) for name in self.layers))

    def of(self, info: ModelInfo) -> Look:
        """This look for a model: only its trained heads are asked, as an untrained one sees faces anywhere.

        Raises:
            InvalidOptions: a layer shows only what an untrained head says.
        """
        return replace(self, trained=heads.trained(info))


def paint(
    canvas: NDArray[np.uint8],
    people: People,
    numbers: NDArray[np.intp],
    shown: NDArray[np.float32],
    look: Look,
    doubtful: People | None = None,
    *,
    under: Callable[[NDArray[np.uint8]], None] | None = None,
) -> None:
    """Draw over a frame, in place.

    Args:
        canvas: uint8 [H,W,3] RGB; it is changed.
        people: of this frame.
        numbers: [n] track numbers, which choose the colours; 0 for nobody's.
        shown: float32 [n,4], the boxes to draw.
        look: what to draw.
        doubtful: what may be people; "anonymise" hides them too, and nothing else is drawn of them.
        under: draws what is to lie under all layers but "anonymise", which would hide it.
    """
    order = people.back_to_front()
    if look.hides:
        if doubtful is not None:
            hiding.hide_people(canvas, doubtful, look.hide, look.style)
        hiding.hide_people(canvas, people, look.hide, look.style)
    if under is not None:
        under(canvas)
    if not {"parts", *_OF_CHARTS}.isdisjoint(look.layers):
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
    """The whole frame made unrecognisable, uint8 [H,W,3] RGB, for when "anonymise" does not know whom to hide."""
    return hiding.coarse(image, look.style)


def _paint(canvas: NDArray[np.uint8], people: People, index: int, number: int, layer: str, alpha: float) -> None:
    """Colour one person's cells, with an outline in the colour of the track."""
    charts = layer != "parts" or "parsing" not in people.silhouette_tasks
    maps = people.iuv if charts else people.parts
    if maps is None:
        return
    labels = maps[index, 0] if charts else maps[index]
    found = trimmed(maps[index], labels > 0, people.boxes[index], people.image_size)
    if found is None:
        return
    cells, box, window = found
    labels = cells[0] if charts else cells
    # cells at the outline and around the person have 128 added
    edge = np.asarray(cv2.erode(labels, np.ones((3, 3), np.uint8)) == 0).view(np.uint8) << 7
    code = labels + edge
    codes = cv2.merge([code] * 3)
    if layer == "parts":
        colours = cv2.LUT(codes, _colours(DENSEPOSE if charts else people.taxonomy, alpha, number))
    else:
        own = cv2.merge([cv2.LUT(labels, STRETCHED), cells[1], cells[2]]) * cv2.LUT(codes, _weights(alpha)[0])
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
        wire_frame(canvas[window.slices], cells, box, window, line_thickness(canvas))
    elif look.texels is not None:
        dressed(canvas[window.slices], cells, look.texels, box, window, line_thickness(canvas))


@lru_cache(maxsize=8)
def _weights(alpha: float) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """(weights of a cell's own colour, 0..256; `Ink.rest`), by its code: the label, plus 128 at the outline."""
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
    left, top = int(max(box[0], 0)), int(max(box[1], 0))
    corner = int(min(box[2], width)) - 1, int(min(box[3], height)) - 1
    cv2.rectangle(canvas, (left, top), corner, colour, line_thickness(canvas))
    text = f"{number}  {score:.2f}" if number and score else str(number or f"{score:.2f}")
    scale = letter_scale(canvas)
    text_width, text_height, _ = extent(text, scale)
    base = max(top, text_height + 6)
    cv2.rectangle(canvas, (left, base - text_height - 6), (left + text_width + 6, base), colour, cv2.FILLED)
    write(canvas, text, (left + 3, base - 4), scale, (16, 16, 16))


def line_thickness(canvas: NDArray[np.uint8]) -> int:
    """Width of the lines on a frame in pixels."""
    longest: int = max(canvas.shape[0], canvas.shape[1])
    return max(1, round(longest / 900))


def letter_scale(canvas: NDArray[np.uint8]) -> float:
    """Size of the letters on a frame, as `strokes.write` takes it."""
    height: int = canvas.shape[0]
    return max(0.4, height / 1300)
