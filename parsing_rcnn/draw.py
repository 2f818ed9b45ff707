"""Pictures of people: parts, instances, IUV, isolines and textures over the photo; people hidden in it, or cut out.

Colours are RGB throughout. Everything works on the pixels of each person's box, so a small person in a large picture
costs little.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn import cutouts, hiding
from parsing_rcnn.atlas import atlas_of, enlarged, texels, tiles
from parsing_rcnn.heads import believed
from parsing_rcnn.overlaps import settle
from parsing_rcnn.paste import PixelWindow, paste_charts, paste_nearest, paste_smooth
from parsing_rcnn.people import People
from parsing_rcnn.strokes import Colour, box_around, isolines, outline, tag
from parsing_rcnn.taxonomy import DENSEPOSE


def instance_colour(index: int) -> Colour:
    """A colour for a person or a track: the same for the same number, far from its neighbours'."""
    red, green, blue = colorsys.hsv_to_rgb((0.58 + index * 0.618033988749895) % 1.0, 0.62, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def overlay(
    image: NDArray[np.uint8],
    people: People,
    *,
    alpha: float = 0.6,
    boxes: bool = True,
    scores: bool = True,
    outlines: bool = True,
    smooth: bool = True,
) -> NDArray[np.uint8]:
    """Parts in the colours of the taxonomy over the photo, with an outline, a box and a score for each person.

    Without part maps, or with those of an untrained head, the charts of DensePose are coloured; without any map only
    boxes and scores are drawn.

    Args:
        image: uint8 [H,W,3] RGB, the upright original; it is not changed.
        people: found in it.
        alpha: opacity of the parts, 0..1.
        boxes: draw the boxes.
        scores: write the score on each box.
        outlines: trace each silhouette.
        smooth: round outlines (about 1 ms per person and 10,000 pixels) instead of the map's own cells: those of the
            probabilities where people have them, as in `People.label_map` with `exact`, else softened cells.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: the image is not of the people's image_size.
    """
    cutouts.check_image(image, people)
    canvas = image.copy()
    sources = believed(people)
    palette = people.taxonomy.palette if "parsing" in sources else DENSEPOSE.palette
    if sources:
        for index, labels in enumerate(_labels(people, smooth, charts="parsing" not in sources)):
            where = people.window(index).slices
            # `take` is five times as quick as an index
            _blend(canvas[where], image[where], palette.take(labels, axis=0), labels > 0, alpha)
            if outlines:
                outline(canvas, labels > 0, people.window(index)[:2], instance_colour(index))
    for index in people.back_to_front():
        if boxes:
            box_around(canvas, people.window(index), instance_colour(index))
        if scores:
            tag(canvas, people.boxes[index], f"{float(people.scores[index]):.2f}", instance_colour(index))
    return canvas


def parts(people: People, *, smooth: bool = True) -> NDArray[np.uint8]:
    """Parts in the colours of the taxonomy on black.

    Args:
        people: with parts.
        smooth: as in `overlay`; False shows `People.label_map` as it is, without `exact`.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: parts were not computed.
    """
    if people.parts is None or not smooth:
        return people.taxonomy.palette.take(people.label_map(), axis=0)
    canvas = np.zeros(people.image_size, dtype=np.uint8)
    for index, labels in enumerate(_labels(people, smooth)):
        np.copyto(canvas[people.window(index).slices], labels, where=labels > 0)
    return people.taxonomy.palette.take(canvas, axis=0)


def instances(people: People, image: NDArray[np.uint8] | None = None, *, alpha: float = 0.6) -> NDArray[np.uint8]:
    """Each person in one colour, on black or over the photo.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: there are no maps, or the image is not of the people's image_size.
    """
    source = _backdrop(people, image)
    colours = np.array([(0, 0, 0), *(instance_colour(i) for i in range(len(people)))], dtype=np.uint8)
    owner = people.instance_map()
    canvas = source.copy()
    _blend(canvas, source, colours[owner], owner > 0, 1.0 if image is None else alpha)
    return canvas


def iuv(people: People, image: NDArray[np.uint8] | None = None, *, alpha: float = 0.75) -> NDArray[np.uint8]:
    """IUV made visible: red is the part (24 stretched to 255), green U, blue V; on black or over the photo.

    This is for the eye; the exact values are in `People.iuv_map` and `codecs.png.encode_iuv`.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: IUV was not computed, or the image is not of the people's image_size.
    """
    source = _backdrop(people, image)
    canvas = source.copy()
    stretched = (np.arange(256) * 255 // (len(DENSEPOSE) - 1)).clip(max=255).astype(np.uint8)
    for index, labels, uv in _charts(people):
        where = people.window(index).slices
        colours = np.dstack([stretched[labels], *np.rint(uv * 255).astype(np.uint8)])
        _blend(canvas[where], source[where], colours, labels > 0, 1.0 if image is None else alpha)
    return canvas


def contours(image: NDArray[np.uint8], people: People, *, levels: int = 10, width: float = 1.0) -> NDArray[np.uint8]:
    """Lines of equal U and of equal V on every part, antialiased: the surface as a wire frame.

    Args:
        image: uint8 [H,W,3] RGB, the upright original; it is not changed.
        people: with IUV.
        levels: lines from 0 to 1.
        width: of a line, pixels.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: IUV was not computed, or the image is not of the people's image_size.
    """
    cutouts.check_image(image, people)
    canvas = image.copy()
    for index, labels, uv in _charts(people):
        region = canvas[people.window(index).slices]
        # Dimmed first, so that lines show on white clothes as well.
        _blend(region, image[people.window(index).slices], np.zeros_like(region), labels > 0, 0.35)
        for values, colours in ((uv[0], cv2.COLORMAP_PARULA), (uv[1], cv2.COLORMAP_SPRING)):
            isolines(region, labels, values, colour_map=colours, levels=levels, width=width)
    return canvas


def texture(
    image: NDArray[np.uint8], people: People, atlas: NDArray[np.uint8], *, alpha: float = 1.0
) -> NDArray[np.uint8]:
    """Dress everybody in a texture.

    Args:
        image: uint8 [H,W,3] RGB, the upright original; it is not changed.
        people: with IUV.
        atlas: uint8 [6N,4N,3 or 4] RGB(A): parts 1..24 column by column, U to the right, V upwards. Black or
            transparent texels show the photo.
        alpha: opacity, 0..1.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: the atlas is not 6 by 4 squares, IUV was not computed, or the image is not of the people's
            image_size.
    """
    cutouts.check_image(image, people)
    squares, opacity = tiles(atlas)
    canvas = image.copy()
    for index, labels, uv in _charts(people):
        inside = labels > 0
        part, column, row = texels(labels[inside], uv[:, inside], squares.shape[1])
        region = canvas[people.window(index).slices]
        photo = image[people.window(index).slices][inside].astype(np.float32)
        weight = opacity[part, row, column][:, None] * np.float32(alpha)
        region[inside] = np.rint(photo + (squares[part, row, column] - photo) * weight).astype(np.uint8)
    return canvas


def unwrap(
    image: NDArray[np.uint8],
    people: People,
    index: int,
    *,
    others: Iterable[tuple[NDArray[np.uint8], People, int]] = (),
    side: int = 128,
) -> NDArray[np.uint8]:
    """The texture of one person, taken off photos: the inverse of `texture`, of what the photos show of them.

    Args:
        image: uint8 [H,W,3] RGB, the upright original.
        people: with IUV.
        index: of the person. Where somebody else is in front, nothing is taken.
        others: (image, people, index) of the same person in further photos, as from behind. What several photos show
            is taken from the first of them.
        side: texels on a side of a part. What the photos show too small for that is interpolated.

    Returns:
        uint8 [6*side,4*side,4] RGBA, laid out as `texture` takes it; transparent where no photo shows anything.

    Raises:
        ValueError: IUV was not computed, or an image is not of its people's image_size.
    """
    sums = _taken_off(image, people, index, side)
    for photo in others:  # no mean: U and V of two photos do not meet to the texel, and what is fine would blur
        sums = np.where(sums[3] > 0, sums, _taken_off(*photo, side))
    return atlas_of(sums.reshape(4, 24, side, side))


def _taken_off(image: NDArray[np.uint8], people: People, index: int, side: int) -> NDArray[np.float32]:
    """Sums of R, G and B and their number in each texel, float32 [4,24*side*side]."""
    cutouts.check_image(image, people)
    window, cells = people.window(index), people.iuv_cells(index)
    mine = _not_behind(people, index)
    # so many samples for each pixel that a part as large as in the picture leaves no texel out
    wanted = _SAMPLES * 24 * side * side / max(int(mine.sum()), 1)
    times = min(max(math.ceil(math.sqrt(wanted)), 1), 8)
    x, y, width, height = cv2.boundingRect(mine.view(np.uint8))
    rows = max(_BAND // max(times * times * width, 1), 1)
    sums = np.zeros((4, 24 * side * side), np.float32)  # of whole numbers below 2**24: as exact as any
    for first in range(y, y + height, rows):
        band = PixelWindow(x, first, x + width, min(first + rows, y + height))
        fine = PixelWindow(*(times * (edge + corner) for edge, corner in zip(band, 2 * window[:2], strict=True)))
        labels, uv = paste_charts(cells, people.boxes[index] * np.float32(times), fine)
        photo = enlarged(image[window.slices], band, times)
        shown = mine[band.slices].view(np.uint8)
        inside = (labels > 0) & (cv2.resize(shown, fine.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0)
        part, column, row = texels(labels[inside], uv[:, inside], side)
        texel = (part * side + row) * side + column
        for channel, values in enumerate((*photo[inside].T, None)):
            sums[channel] += np.bincount(texel, values, sums.shape[1])
    return sums


def anonymise(
    image: NDArray[np.uint8], people: People, *, hide: str = "heads", style: str = "pixelate"
) -> NDArray[np.uint8]:
    """The photo with everybody in `people` made unrecognisable; who was not found stays as they are.

    Whoever no face is found of is hidden by more: the head that DensePose saw and what is around it, else the top of
    the box, or all of it where they do not stand or sit. To hide doubtful people, too, find people down to a score of
    0.1: `analyze(photo, confidence=0.1)`.

    Args:
        image: uint8 [H,W,3] RGB, the upright original; it is not changed.
        people: found in it, best with parts and IUV; maps of untrained heads are not looked at.
        hide: "heads", "faces" (with IUV alone heads) or "people".
        style: "pixelate" or "blur".

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        InvalidOptions: an unknown `hide` or `style`.
        ValueError: the image is not of the people's image_size.
    """
    cutouts.check_image(image, people)
    hiding.check(hide, style)
    canvas = image.copy()
    hiding.hide_people(canvas, people, hide, style)
    return canvas


def cutout(image: NDArray[np.uint8], people: People) -> NDArray[np.uint8]:
    """Everybody, and nothing around them. One person's: `People.cut`.

    Edges are smooth: those of the probabilities where people have them, and free of the colours of what was behind.

    Args:
        image: uint8 [H,W,3] RGB, the upright original; it is not changed.
        people: found in it, with parts or IUV.

    Returns:
        uint8 [H,W,4] RGBA, its opacity not multiplied into its colours; all four are 0 where nobody is.

    Raises:
        ValueError: neither parts nor IUV were computed, or the image is not of the people's image_size.
    """
    cutouts.check_image(image, people)
    return cutouts.everybody(image, people)


_SAMPLES = 2.0
"""For each texel of an atlas, were all of it seen: a photo shows half of a body, so four where it shows any."""

_BAND = 1 << 21
"""Samples taken at a time: about 200 MB."""


def _not_behind(people: People, index: int) -> NDArray[np.bool_]:
    """Where one of the people has a chart and nobody is in front, [h,w] over their window."""
    few, own = cutouts.beside(people, index)
    labels = [_pasted(few, i, few.iuv_cells(i)[0], smooth=True) for i in range(len(few))]
    settle(few, labels)
    return labels[own] > 0


def _backdrop(people: People, image: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    if image is None:
        return np.zeros((*people.image_size, 3), dtype=np.uint8)
    cutouts.check_image(image, people)
    return image


def _labels(people: People, smooth: bool, charts: bool = False) -> list[NDArray[np.uint8]]:
    """Everybody's parts, or those of the charts, over their window, where nobody is in front of them."""
    if charts or people.parts is None:
        labels = [_pasted(people, i, people.iuv_cells(i)[0], smooth) for i in range(len(people))]
    elif people.part_probs is not None and smooth:
        labels = [people.crop(i, exact=True)[0] for i in range(len(people))]
    else:
        labels = [_pasted(people, i, cells, smooth) for i, cells in enumerate(people.parts)]
    settle(people, labels)
    return labels


def _pasted(people: People, index: int, cells: NDArray[np.uint8], smooth: bool) -> NDArray[np.uint8]:
    paste = paste_smooth if smooth else paste_nearest
    return paste(cells, people.boxes[index], people.window(index))


def _charts(people: People) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.float32]]]:
    """Everybody's index, parts of the charts where nobody is in front of them, and U and V there."""
    labels = [_pasted(people, i, people.iuv_cells(i)[0], smooth=True) for i in range(len(people))]
    settle(people, labels)
    for index, own in enumerate(labels):
        yield index, *paste_charts(people.iuv_cells(index), people.boxes[index], people.window(index), own)


def _blend(
    target: NDArray[np.uint8],
    photo: NDArray[np.uint8],
    colours: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    alpha: float,
) -> None:
    """Write photo * (1 - alpha) + colours * alpha into `target` where `mask` is."""
    mixed = cv2.addWeighted(colours, alpha, np.ascontiguousarray(photo), 1 - alpha, 0) if alpha < 1 else colours
    cv2.copyTo(mixed, mask.view(np.uint8), target)  # np.copyto with such a mask is 30 times as slow
