"""Who is in front where people overlap.

A network that sees one person behind another gives the pixels at their seam to both. Of 104,000 such pixels in
composites of photos, 75 % were of the person with the higher score, and of 33,000 in photos with outlined people 37 %.
Each map is wrong at its own rim, though, so the one in whose silhouette a pixel lies deeper has it: 87 % and 69 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.paste import PixelWindow, interpolate, paste_nearest

if TYPE_CHECKING:
    from parsing_rcnn.people import People

Depth = Callable[[int], NDArray[np.float32]]

_ONE_PERSON = 0.45
"""Two silhouettes with this much of their union in common are one person found twice. Of 99 pairs of real people the
closest had 0.39."""


def settle(people: People, labels: Sequence[NDArray[np.uint8] | NDArray[np.bool_]]) -> None:
    """Leave every pixel to one person at most, in place.

    A pixel that several have goes to the one in whose silhouette it lies deepest: in cells from the silhouette's edge,
    as a share of the map's side, so that a child counts as much as a grown-up. The silhouette is where a part is, or
    I > 0, and with both maps the depth is the mean of the two. Of equal depths, and between silhouettes so alike that
    they are one person found twice, the higher score wins; of equal scores the first. So who is in front depends on the
    people alone, not on how their maps are pasted.

    Args:
        people: with parts, IUV or part_probs where two overlap.
        labels: for each of them [h,w], over `people.window`: what they claim is above 0, and what they lose becomes 0.
            Where nobody else claims a pixel, nothing changes.
    """
    if len(people) < 2:
        return
    depth = cache(partial(_depth, people))
    for front, back, common in _meeting(people):
        mine, theirs = (labels[index][_within(people.window(index), common)] for index in (front, back))
        both = (mine > 0) & (theirs > 0)
        if not both.any():
            continue
        nearer, further = (interpolate(depth(index), people.boxes[index], common) for index in (front, back))
        if _one_person(people, (front, back), depth, (nearer, further)):
            theirs[both] = 0
            continue
        lost = further > nearer
        mine[both & lost] = 0
        theirs[both & ~lost] = 0


def visible(people: People) -> People:
    """The same people with every cell of their parts and IUV cleared where somebody else is in front.

    `settle` at the middle of each cell, for what draws cells and not pixels. Who overlaps nobody keeps all cells.
    """
    meeting = sorted({index for front, back, _ in _meeting(people) for index in (front, back)})
    if not meeting:
        return people
    few = people.select(meeting)
    parts, iuv = (None if maps is None else maps.copy() for maps in (people.parts, people.iuv))
    if parts is not None:
        labels = [few.crop(i)[0] for i in range(len(few))]
        for index, own in zip(meeting, _lost(few, labels, parts), strict=True):
            parts[index][own] = 0
    if iuv is not None:
        charts = [paste_nearest(iuv[index, 0], people.boxes[index], people.window(index)) for index in meeting]
        for index, own in zip(meeting, _lost(few, charts, iuv), strict=True):
            iuv[index][:, own] = 0
    return replace(people, parts=parts, iuv=iuv)


def _lost(people: People, labels: Sequence[NDArray[np.uint8]], maps: NDArray[np.uint8]) -> Iterator[NDArray[np.bool_]]:
    """For each person the cells [S,S] of such maps whose middle lies in a pixel that they claim and do not get."""
    claimed = [own > 0 for own in labels]
    settle(people, labels)
    for index, (before, after) in enumerate(zip(claimed, labels, strict=True)):
        left, top, _, _ = people.window(index)
        x1, y1, x2, y2 = people.boxes[index].tolist()
        height, width = before.shape
        rows, columns = (np.arange(count) + 0.5 for count in maps.shape[-2:])
        y = (y1 + rows * ((y2 - y1) / len(rows)) - top).clip(0, height - 1).astype(np.intp)
        x = (x1 + columns * ((x2 - x1) / len(columns)) - left).clip(0, width - 1).astype(np.intp)
        yield (before & (after == 0))[y][:, x]


def _meeting(people: People) -> Iterator[tuple[int, int, PixelWindow]]:
    """Pairs whose windows have pixels in common, and these, the higher score first.

    By the score of the second: all who are surer than a person have divided a pixel before that person asks for it.
    """
    order = people.back_to_front()[::-1]
    height, width = people.image_size
    boxes = people.boxes[order].clip(0, np.array([width, height, width, height], np.float32))
    apart = np.maximum(boxes[:, None, :2], boxes[:, :2]) - np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    near = (apart < 2).all(axis=2)  # no window reaches further beyond its box than a pixel
    for second, first in np.argwhere(np.tril(near, -1)).tolist():
        front, back = order[first], order[second]
        one, other = people.window(front), people.window(back)
        common = PixelWindow(
            max(one.left, other.left),
            max(one.top, other.top),
            min(one.right, other.right),
            min(one.bottom, other.bottom),
        )
        if common.left < common.right and common.top < common.bottom:
            yield front, back, common


def _within(window: PixelWindow, part: PixelWindow) -> tuple[slice, slice]:
    """Index of a part of a window in an array over the window."""
    left, top = window.left, window.top
    return slice(part.top - top, part.bottom - top), slice(part.left - left, part.right - left)


def _depth(people: People, index: int) -> NDArray[np.float32]:
    """Of each cell in its person's silhouette, float32 [S,S], as a share of the map's side; 0 outside."""
    silhouettes = []
    if people.parts is not None:
        silhouettes.append(people.parts[index] > 0)
    elif people.part_probs is not None:
        silhouettes.append(people.part_probs[index].argmax(axis=0) > 0)
    if people.iuv is not None:
        silhouettes.append(people.iuv[index, 0] > 0)
    depths = [_from_edge(silhouette) for silhouette in silhouettes]
    rows, columns = depths[0].shape
    if depths[-1].shape != (rows, columns):
        depths[-1] = np.asarray(cv2.resize(depths[-1], (columns, rows), interpolation=cv2.INTER_LINEAR), np.float32)
    return depths[0] if len(depths) == 1 else (depths[0] + depths[1]) * np.float32(0.5)


def _from_edge(silhouette: NDArray[np.bool_]) -> NDArray[np.float32]:
    # the edge of the map is an edge as well: beyond it the network says nothing of this person
    framed = cv2.copyMakeBorder(silhouette.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cells = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    return np.asarray(cells * np.float32(1 / max(silhouette.shape)), dtype=np.float32)


def _one_person(
    people: People,
    pair: tuple[int, int],
    depth: Depth,
    common: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> bool:
    """Whether two silhouettes are alike, from the depths of a pair's cells and those in the pixels in common."""
    shared = np.ones(common[0].shape, dtype=np.bool_)
    areas = 0.0
    for index, pasted in zip(pair, common, strict=True):
        cells = depth(index)
        outline = np.float32(0.5 / max(cells.shape))  # halfway between a cell at the edge, of depth 1, and one outside
        shared &= pasted >= outline
        width, height = people.boxes[index, 2:] - people.boxes[index, :2]
        areas += float((cells >= outline).mean() * width * height)
    union = areas - np.count_nonzero(shared)
    return bool(np.count_nonzero(shared) >= _ONE_PERSON * union)
