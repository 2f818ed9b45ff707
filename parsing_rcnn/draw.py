"""Pictures of people: parts, charts, instances, U and V and textures over the photo; people hidden in it, or cut out.

A photo is anything that `analyze` takes: a path, encoded bytes, an upright uint8 [H,W,3] RGB array or a picture of
Pillow; it is not changed. Colours are RGB. With `bgr=True`, every function here that draws takes and returns BGR
arrays, as OpenCV has them, atlases included; `instance_colour` always returns RGB. Everything works on the pixels of
each person's box, so a small person in a large picture costs little.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.codecs.picture import Picture
from parsing_rcnn.drawing import cutouts, hiding, visible
from parsing_rcnn.drawing.atlas import atlas_of, taken_off, texels, tiles
from parsing_rcnn.drawing.legend import legend
from parsing_rcnn.drawing.strokes import box_around, isolines, tag
from parsing_rcnn.drawing.tints import STRETCHED, blend, coloured, coordinate, instance_colour, own_colour
from parsing_rcnn.people import People

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
    bgr: bool = False,
) -> NDArray[np.uint8]:
    """Parts in the colours of the taxonomy over the photo, with an outline, a box and a score for each person.

    Without part maps, or with those of an untrained head, the charts of DensePose are coloured; without any map only
    boxes and scores are drawn. The colour of a person with a `tracker_id` follows from that number, so it stays the
    same from frame to frame.

    Args:
        image: the photo.
        people: found in it.
        alpha: opacity of the parts, 0..1.
        boxes: draw the boxes.
        scores: write the score on each box.
        labels: for each person, what to write on the box instead of the score: names, or `people.tracker_id`.
            Line breaks become spaces. OpenCV below 5 writes question marks for letters beyond ASCII.
        outlines: trace each silhouette.
        smooth: round outlines (about 1 ms per person and 10,000 pixels) instead of the map's own cells. They come from
            the probabilities where people have them, as in `People.label_map` with `exact`, else from softened cells.
        bgr: the image is a BGR array, as OpenCV has it, and so is the result.

    Returns:
        uint8 [H,W,3] RGB, or BGR as it was given.

    Raises:
        InvalidOptions: `bgr` although the image is not an array: all others say themselves which channel is which.
        ValueError: the image is not of the people's image_size, or there are not as many labels as people.
    """
    photo = cutouts.original(image, people, bgr=bgr)
    tags = [f"{float(score):.2f}" for score in people.scores] if labels is None else [str(own) for own in labels]
    if len(tags) != len(people):
        raise ValueError(f"{len(tags)} labels for {len(people)} people: give one for each")
    canvas = photo.copy()
    sources = people.silhouette_tasks
    if sources:
        coloured(canvas, photo, people, "parsing" not in sources, alpha=alpha, outlines=outlines, smooth=smooth)
    for index in people.back_to_front():
        if boxes:
            box_around(canvas, people.window(index), own_colour(people, index))
        if scores or labels is not None:
            tag(canvas, people.boxes[index], tags[index], own_colour(people, index))
    return cutouts.channels(canvas, bgr)


def charts(
    image: Picture,
    people: People,
    *,
    alpha: float = 0.6,
    outlines: bool = True,
    smooth: bool = True,
    bgr: bool = False,
) -> NDArray[np.uint8]:
    """I of the IUV, the 24 parts of the surface, in the colours of `DENSEPOSE` over the photo.

    Args:
        image: the photo.
        people: with IUV.
        alpha, outlines, smooth, bgr: as in `overlay`.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: IUV was not computed, or the image is not of the people's image_size.
    """
    photo = cutouts.original(image, people, bgr=bgr)
    canvas = photo.copy()
    coloured(canvas, photo, people, True, alpha=alpha, outlines=outlines, smooth=smooth)
    return cutouts.channels(canvas, bgr)


def u(image: Picture, people: People, *, alpha: float = 0.7, bgr: bool = False) -> NDArray[np.uint8]:
    """U of every part over the photo, from blue (0) by green to yellow (1).

    Args:
        image: the photo.
        people: with IUV.
        alpha: opacity, 0..1.
        bgr: as in `overlay`.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: IUV was not computed, or the image is not of the people's image_size.
    """
    return _coordinate(image, people, 0, alpha, bgr)


def v(image: Picture, people: People, *, alpha: float = 0.7, bgr: bool = False) -> NDArray[np.uint8]:
    """V of every part over the photo, as `u`."""
    return _coordinate(image, people, 1, alpha, bgr)


def parts(people: People, *, smooth: bool = True, bgr: bool = False) -> NDArray[np.uint8]:
    """Parts in the colours of the taxonomy on black.

    Args:
        people: with parts.
        smooth: as in `overlay`; False shows `People.label_map` as it is, without `exact`.
        bgr: return BGR.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: parts were not computed.
    """
    cutouts.check_people(people)
    if people.parts is None or not smooth:
        return cutouts.channels(people.taxonomy.palette.take(people.label_map(), axis=0), bgr)
    canvas = np.zeros(people.image_size, dtype=np.uint8)
    for index, labels in enumerate(visible.labels(people, smooth)):
        np.copyto(canvas[people.window(index).slices], labels, where=labels > 0)
    return cutouts.channels(people.taxonomy.palette.take(canvas, axis=0), bgr)


def instances(
    people: People, image: Picture | None = None, *, alpha: float = 0.6, bgr: bool = False
) -> NDArray[np.uint8]:
    """Each person in one colour, on black or over the photo; `bgr` as in `overlay`.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: there are no maps, or the image is not of the people's image_size.
    """
    source = _backdrop(people, image, bgr)
    colours = np.array([(0, 0, 0), *(own_colour(people, i) for i in range(len(people)))], dtype=np.uint8)
    owner = people.instance_map()
    canvas = source.copy()
    blend(canvas, source, colours[owner], owner > 0, 1.0 if image is None else alpha)
    return cutouts.channels(canvas, bgr)


def iuv(people: People, image: Picture | None = None, *, alpha: float = 0.75, bgr: bool = False) -> NDArray[np.uint8]:
    """IUV made visible: red is the part (24 stretched to 255), green U, blue V; on black or over the photo.

    This is for the eye; the exact values are in `People.iuv_map` and `codecs.png.encode_iuv`. `bgr` as in `overlay`.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: IUV was not computed, or the image is not of the people's image_size.
    """
    source = _backdrop(people, image, bgr)
    canvas = source.copy()
    for index, labels, uv in visible.charts(people):
        where = people.window(index).slices
        colours = np.dstack([STRETCHED[labels], *np.rint(uv * 255).astype(np.uint8)])
        blend(canvas[where], source[where], colours, labels > 0, 1.0 if image is None else alpha)
    return cutouts.channels(canvas, bgr)


def contours(
    image: Picture, people: People, *, levels: int = 10, width: float = 1.0, bgr: bool = False
) -> NDArray[np.uint8]:
    """Lines of equal U and of equal V on every part, antialiased: the surface as a wire frame.

    Args:
        image: the photo.
        people: with IUV.
        levels: lines from 0 to 1.
        width: of a line, pixels.
        bgr: as in `overlay`.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: IUV was not computed, or the image is not of the people's image_size.
    """
    photo = cutouts.original(image, people, bgr=bgr)
    canvas = photo.copy()
    for index, labels, uv in visible.charts(people):
        region = canvas[people.window(index).slices]
        # Dimmed first, so that lines show on white clothes as well.
        blend(region, photo[people.window(index).slices], np.zeros_like(region), labels > 0, 0.35)
        for values, colours in ((uv[0], cv2.COLORMAP_PARULA), (uv[1], cv2.COLORMAP_SPRING)):
            isolines(region, labels, values, colour_map=colours, levels=levels, width=width)
    return cutouts.channels(canvas, bgr)


def texture(
    image: Picture, people: People, atlas: NDArray[Any], *, alpha: float = 1.0, bgr: bool = False
) -> NDArray[np.uint8]:
    """Dress everybody in a texture.

    Args:
        image: the photo.
        people: with IUV.
        atlas: uint8 [6N,4N,3 or 4] RGB(A): parts 1..24 column by column, U to the right, V upwards. Black or
            transparent texels show the photo.
        alpha: opacity, 0..1.
        bgr: as in `overlay`; the atlas is BGR(A) then.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        ValueError: the atlas is not 6 by 4 squares, IUV was not computed, or the image is not of the people's
            image_size.
    """
    photo = cutouts.original(image, people, bgr=bgr)
    squares, opacity = tiles(cutouts.channels(atlas, bgr))
    canvas = photo.copy()
    for index, labels, uv in visible.charts(people):
        inside = labels > 0
        part, column, row = texels(labels[inside], uv[:, inside], squares.shape[1])
        region = canvas[people.window(index).slices]
        under = photo[people.window(index).slices][inside].astype(np.float32)
        weight = opacity[part, row, column][:, None] * np.float32(alpha)
        region[inside] = np.rint(under + (squares[part, row, column] - under) * weight).astype(np.uint8)
    return cutouts.channels(canvas, bgr)


def unwrap(
    image: Picture,
    people: People,
    index: int,
    *,
    others: Iterable[tuple[Picture, People, int]] = (),
    side: int = 128,
    bgr: bool = False,
) -> NDArray[np.uint8]:
    """The texture of one person, taken off photos: the inverse of `texture`, of what the photos show of them.

    Args:
        image: the photo.
        people: with IUV.
        index: of the person. Where somebody else is in front, nothing is taken.
        others: (image, people, index) of the same person in further photos, such as one from behind. What several
            photos show is taken from the first of them.
        side: texels on a side of a part. Parts that the photos show smaller than that are interpolated.
        bgr: as in `overlay`, also for the images in `others`.

    Returns:
        uint8 [6*side,4*side,4] RGBA (with `bgr` BGRA), laid out as `texture` takes it; transparent where no photo shows
            anything.

    Raises:
        ValueError: IUV was not computed, or an image is not of its people's image_size.
    """
    sums = taken_off(cutouts.original(image, people, bgr=bgr), people, index, side)
    for photo, found, whom in others:  # not the mean: U and V of photos differ by some texels, so details would blur
        sums = np.where(sums[3] > 0, sums, taken_off(cutouts.original(photo, found, bgr=bgr), found, whom, side))
    return cutouts.channels(atlas_of(sums.reshape(4, 24, side, side)), bgr)


def anonymise(
    image: Picture, people: People, *, hide: str = "heads", style: str = "pixelate", bgr: bool = False
) -> NDArray[np.uint8]:
    """The photo with everybody in `people` made unrecognisable; people who were not found stay visible.

    Where no face was found, more is hidden: the head that DensePose saw and its surroundings, else the top of the box,
    or the whole box of somebody who neither stands nor sits. To hide doubtful people, too, find people down to a score
    of 0.1: `analyze(photo, confidence=0.1)`.

    Args:
        image: the photo.
        people: found in it, best with parts and IUV; maps of untrained heads are ignored.
        hide: "heads", "faces" (with IUV alone heads) or "people".
        style: "pixelate" or "blur".
        bgr: as in `overlay`.

    Returns:
        uint8 [H,W,3] RGB.

    Raises:
        InvalidOptions: an unknown `hide` or `style`.
        ValueError: the image is not of the people's image_size.
    """
    photo = cutouts.original(image, people, bgr=bgr)
    hiding.check(hide, style)
    canvas = photo.copy()
    hiding.hide_people(canvas, people, hide, style)
    return cutouts.channels(canvas, bgr)


def cutout(image: Picture, people: People, *, bgr: bool = False) -> NDArray[np.uint8]:
    """Everybody on a transparent background. For one person, see `People.cut`.

    Edges are smooth, follow the probabilities where people have them, and are free of colours of the background.

    Args:
        image: the photo.
        people: found in it, with parts or IUV.
        bgr: as in `overlay`.

    Returns:
        uint8 [H,W,4] RGBA (with `bgr` BGRA), with straight alpha; all four channels are 0 where nobody is.

    Raises:
        ValueError: neither parts nor IUV were computed, or the image is not of the people's image_size.
    """
    return cutouts.channels(cutouts.everybody(cutouts.original(image, people, bgr=bgr), people), bgr)


def _coordinate(image: Picture, people: People, channel: int, alpha: float, bgr: bool) -> NDArray[np.uint8]:
    """U or V over the photo."""
    photo = cutouts.original(image, people, bgr=bgr)
    canvas = photo.copy()
    coordinate(canvas, photo, people, channel, alpha)
    return cutouts.channels(canvas, bgr)


def _backdrop(people: People, image: Picture | None, bgr: bool) -> NDArray[np.uint8]:
    cutouts.check_people(people, "people, image", image)
    if image is None:
        return np.zeros((*people.image_size, 3), dtype=np.uint8)
    return cutouts.original(image, people, "people, image", bgr=bgr)
