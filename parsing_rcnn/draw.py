"""Pictures of people: parts, charts, instances, U and V and textures over the photo; people hidden in it, or cut out.

A photo is what `analyze` took: a path, encoded bytes, an upright uint8 [H,W,3] RGB array or a picture of Pillow; it is
not changed. Colours are RGB throughout. Everything works on the pixels of each person's box, so a small person in a
large picture costs little.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn import cutouts, hiding, seen
from parsing_rcnn.atlas import atlas_of, taken_off, texels, tiles
from parsing_rcnn.codecs.picture import Picture
from parsing_rcnn.heads import believed
from parsing_rcnn.legend import legend
from parsing_rcnn.people import People
from parsing_rcnn.strokes import Colour, box_around, isolines, outline, tag
from parsing_rcnn.taxonomy import DENSEPOSE

__all__ = [
    "anonymise",
    "charts",
    "contours",
    "cutout",
    "instance_colour",
    "instances",
    "iuv",
    "legend",
    "overlay",
    "parts",
    "texture",
    "u",
    "unwrap",
    "v",
]


def instance_colour(index: int) -> Colour:
    """A colour for a person or a track: the same for the same number, far from its neighbours'."""
    red, green, blue = colorsys.hsv_to_rgb((0.58 + index * 0.618033988749895) % 1.0, 0.62, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def overlay(
    image: Picture,
    people: People,
    *,
    alpha: float = 0.6,
    boxes: bool = True,
    scores: bool = True,
    labels: Iterable[object] | None = None,
    outlines: bool = True,
    smooth: bool = True,
) -> NDArray[np.uint8]:
    """Parts in the colours of the taxonomy over the photo, with an outline, a box and a score for each person.

    Without part maps, or with those of an untrained head, the charts of DensePose are coloured; without any map only
    boxes and scores are drawn. Who has a number (`People.tracker_id`) has a colour by it, from frame to frame.

    Args:
        image: the photo.
        people: found in it.
        alpha: opacity of the parts, 0..1.
        boxes: draw the boxes.
        scores: write the score on each box.
        labels: for each of the people what is written on the box instead of the score: names, or `people.tracker_id`.
            Line breaks become spaces. OpenCV below 5 writes question marks for letters beyond ASCII.
        outlines: trace each silhouette.
        smooth: round outlines (about 1 ms per person and 10,000 pixels) instead of the map's own cells: those of the
            probabilities where people have them, as in `People.label_map` with `exact`, else softened cells.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: the image is not of the people's image_size, or there are not as many labels as people.
    """
    photo = cutouts.original(image, people)
    tags = [f"{float(score):.2f}" for score in people.scores] if labels is None else [str(own) for own in labels]
    if len(tags) != len(people):
        raise ValueError(f"{len(tags)} labels for {len(people)} people: give one for each")
    canvas = photo.copy()
    sources = believed(people)
    if sources:
        _coloured(canvas, photo, people, "parsing" not in sources, alpha=alpha, outlines=outlines, smooth=smooth)
    for index in people.back_to_front():
        if boxes:
            box_around(canvas, people.window(index), _colour(people, index))
        if scores or labels is not None:
            tag(canvas, people.boxes[index], tags[index], _colour(people, index))
    return canvas


def charts(
    image: Picture, people: People, *, alpha: float = 0.6, outlines: bool = True, smooth: bool = True
) -> NDArray[np.uint8]:
    """I of the IUV, the 24 parts of the surface, in the colours of `DENSEPOSE` over the photo.

    Args:
        image: the photo.
        people: with IUV.
        alpha, outlines, smooth: as in `overlay`.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: IUV was not computed, or the image is not of the people's image_size.
    """
    photo = cutouts.original(image, people)
    canvas = photo.copy()
    _coloured(canvas, photo, people, True, alpha=alpha, outlines=outlines, smooth=smooth)
    return canvas


def u(image: Picture, people: People, *, alpha: float = 0.7) -> NDArray[np.uint8]:
    """U of every part over the photo, from blue (0) by green to yellow (1).

    Args:
        image: the photo.
        people: with IUV.
        alpha: opacity, 0..1.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: IUV was not computed, or the image is not of the people's image_size.
    """
    return _coordinate(image, people, 0, alpha)


def v(image: Picture, people: People, *, alpha: float = 0.7) -> NDArray[np.uint8]:
    """V of every part over the photo, as `u`."""
    return _coordinate(image, people, 1, alpha)


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
    cutouts.check_people(people)
    if people.parts is None or not smooth:
        return people.taxonomy.palette.take(people.label_map(), axis=0)
    canvas = np.zeros(people.image_size, dtype=np.uint8)
    for index, labels in enumerate(seen.labels(people, smooth)):
        np.copyto(canvas[people.window(index).slices], labels, where=labels > 0)
    return people.taxonomy.palette.take(canvas, axis=0)


def instances(people: People, image: Picture | None = None, *, alpha: float = 0.6) -> NDArray[np.uint8]:
    """Each person in one colour, on black or over the photo.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: there are no maps, or the image is not of the people's image_size.
    """
    source = _backdrop(people, image)
    colours = np.array([(0, 0, 0), *(_colour(people, i) for i in range(len(people)))], dtype=np.uint8)
    owner = people.instance_map()
    canvas = source.copy()
    _blend(canvas, source, colours[owner], owner > 0, 1.0 if image is None else alpha)
    return canvas


def iuv(people: People, image: Picture | None = None, *, alpha: float = 0.75) -> NDArray[np.uint8]:
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
    for index, labels, uv in seen.charts(people):
        where = people.window(index).slices
        colours = np.dstack([stretched[labels], *np.rint(uv * 255).astype(np.uint8)])
        _blend(canvas[where], source[where], colours, labels > 0, 1.0 if image is None else alpha)
    return canvas


def contours(image: Picture, people: People, *, levels: int = 10, width: float = 1.0) -> NDArray[np.uint8]:
    """Lines of equal U and of equal V on every part, antialiased: the surface as a wire frame.

    Args:
        image: the photo.
        people: with IUV.
        levels: lines from 0 to 1.
        width: of a line, pixels.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: IUV was not computed, or the image is not of the people's image_size.
    """
    photo = cutouts.original(image, people)
    canvas = photo.copy()
    for index, labels, uv in seen.charts(people):
        region = canvas[people.window(index).slices]
        # Dimmed first, so that lines show on white clothes as well.
        _blend(region, photo[people.window(index).slices], np.zeros_like(region), labels > 0, 0.35)
        for values, colours in ((uv[0], cv2.COLORMAP_PARULA), (uv[1], cv2.COLORMAP_SPRING)):
            isolines(region, labels, values, colour_map=colours, levels=levels, width=width)
    return canvas


def texture(image: Picture, people: People, atlas: NDArray[np.uint8], *, alpha: float = 1.0) -> NDArray[np.uint8]:
    """Dress everybody in a texture.

    Args:
        image: the photo.
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
    photo = cutouts.original(image, people)
    squares, opacity = tiles(atlas)
    canvas = photo.copy()
    for index, labels, uv in seen.charts(people):
        inside = labels > 0
        part, column, row = texels(labels[inside], uv[:, inside], squares.shape[1])
        region = canvas[people.window(index).slices]
        under = photo[people.window(index).slices][inside].astype(np.float32)
        weight = opacity[part, row, column][:, None] * np.float32(alpha)
        region[inside] = np.rint(under + (squares[part, row, column] - under) * weight).astype(np.uint8)
    return canvas


def unwrap(
    image: Picture,
    people: People,
    index: int,
    *,
    others: Iterable[tuple[Picture, People, int]] = (),
    side: int = 128,
) -> NDArray[np.uint8]:
    """The texture of one person, taken off photos: the inverse of `texture`, of what the photos show of them.

    Args:
        image: the photo.
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
    sums = taken_off(cutouts.original(image, people), people, index, side)
    for photo, found, whom in others:  # no mean: U and V of two photos do not meet to the texel, and fine things blur
        sums = np.where(sums[3] > 0, sums, taken_off(cutouts.original(photo, found), found, whom, side))
    return atlas_of(sums.reshape(4, 24, side, side))


def anonymise(image: Picture, people: People, *, hide: str = "heads", style: str = "pixelate") -> NDArray[np.uint8]:
    """The photo with everybody in `people` made unrecognisable; who was not found stays as they are.

    Whoever no face is found of is hidden by more: the head that DensePose saw and what is around it, else the top of
    the box, or all of it where they do not stand or sit. To hide doubtful people, too, find people down to a score of
    0.1: `analyze(photo, confidence=0.1)`.

    Args:
        image: the photo.
        people: found in it, best with parts and IUV; maps of untrained heads are not looked at.
        hide: "heads", "faces" (with IUV alone heads) or "people".
        style: "pixelate" or "blur".

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        InvalidOptions: an unknown `hide` or `style`.
        ValueError: the image is not of the people's image_size.
    """
    photo = cutouts.original(image, people)
    hiding.check(hide, style)
    canvas = photo.copy()
    hiding.hide_people(canvas, people, hide, style)
    return canvas


def cutout(image: Picture, people: People) -> NDArray[np.uint8]:
    """Everybody, and nothing around them. One person's: `People.cut`.

    Edges are smooth: those of the probabilities where people have them, and free of the colours of what was behind.

    Args:
        image: the photo.
        people: found in it, with parts or IUV.

    Returns:
        uint8 [H,W,4] RGBA, its opacity not multiplied into its colours; all four are 0 where nobody is.

    Raises:
        ValueError: neither parts nor IUV were computed, or the image is not of the people's image_size.
    """
    return cutouts.everybody(cutouts.original(image, people), people)


def _colour(people: People, index: int) -> Colour:
    return instance_colour(index if people.tracker_id is None else int(people.tracker_id[index]))


def _coloured(
    canvas: NDArray[np.uint8],
    photo: NDArray[np.uint8],
    people: People,
    of_charts: bool,
    *,
    alpha: float,
    outlines: bool,
    smooth: bool,
) -> None:
    """Everybody's parts, or charts, in the colours of their taxonomy, on a canvas in place."""
    palette = DENSEPOSE.palette if of_charts else people.taxonomy.palette
    for index, labels in enumerate(seen.labels(people, smooth, of_charts)):
        where = people.window(index).slices
        # `take` is five times as quick as an index
        _blend(canvas[where], photo[where], palette.take(labels, axis=0), labels > 0, alpha)
        if outlines:
            outline(canvas, labels > 0, people.window(index)[:2], _colour(people, index))


def _coordinate(image: Picture, people: People, channel: int, alpha: float) -> NDArray[np.uint8]:
    """U or V over the photo."""
    photo = cutouts.original(image, people)
    canvas = photo.copy()
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8), cv2.COLORMAP_PARULA).reshape(256, 3)[:, ::-1]
    for index, labels, uv in seen.charts(people):
        where = people.window(index).slices
        colours = table.take(np.rint(uv[channel] * 255).astype(np.uint8), axis=0)
        _blend(canvas[where], photo[where], colours, labels > 0, alpha)
    return canvas


def _backdrop(people: People, image: Picture | None) -> NDArray[np.uint8]:
    cutouts.check_people(people, "people, image", image)
    if image is None:
        return np.zeros((*people.image_size, 3), dtype=np.uint8)
    return cutouts.original(image, people, "people, image")


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
