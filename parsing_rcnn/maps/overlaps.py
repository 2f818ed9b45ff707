"""Who is in front where people overlap.

A network that sees one person behind another gives the pixels at their seam to both. Giving them to the higher score
is right for 75 % of 104,000 such pixels in composites of photos, and for 37 % of 33,000 in photos with outlined people.
Maps are wrong mostly at their own rim, so giving a pixel to the silhouette in which it lies deeper is better: 87 % and
69 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial, reduce
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.maps.paste import PixelWindow, interpolate, paste_nearest, reach
from parsing_rcnn.stopping import check_stopped

if TYPE_CHECKING:
    from parsing_rcnn.people import People

_ONE_PERSON = 0.45
"""Two silhouettes with this much of their union in common are one person found twice. Of 99 pairs of real people the
closest had 0.39."""

_EQUAL = 1e-6
"""Depths that differ by less count as equal: the last digits of pasted values depend on where the window begins."""


class _Silhouette(NamedTuple):
    """Where a person is.

    Attributes:
        depth: of each cell, float32 [S,S], as a share of the map's side; 0 outside.
        edge: the depth halfway between a cell at the edge (1 cell) and one outside (0).
        area: pixels at least as deep as `edge`.
    """

    depth: NDArray[np.float32]
    edge: np.float32
    area: float


def assign_contested_pixels(people: People, labels: Sequence[NDArray[np.uint8] | NDArray[np.bool_]]) -> None:
    """Give every pixel that several people claim to one of them, in place.

    The pixel goes to the person in whose silhouette it lies deepest. Depth is the distance from the silhouette's edge
    as a share of the map's side, so that a child counts as much as a grown-up. The silhouette is where a part is, or
    where I > 0; with both maps the depth is the mean of the two, but an untrained head's map does not count beside
    another. Where depths are equal the higher score wins, and of equal scores the first.

    Before that, of two silhouettes so alike that they are one person found twice the higher score has all that both
    claim. So which of two people is in front does not depend on how their maps are pasted, and who is in front of three
    not on the order in which they are compared. Who claims nothing in a map hides nobody in it.

    Args:
        people: with parts, IUV or part_probs where two overlap.
        labels: for each person [h,w], over `people.window`. A person claims the pixels above 0; those that they lose
            become 0, all others stay.
    """
    _assign(people, [labels])


def _assign(people: People, claims: Sequence[Sequence[NDArray[np.uint8] | NDArray[np.bool_]]]) -> None:
    """`assign_contested_pixels` for several maps of the same people: claims may differ, the order of people does not.

    Depths are pasted only where a pair claims the same pixels, and where it could be one person found twice.
    """
    if len(people) < 2:
        return
    silhouette, window = cache(partial(_silhouette, people)), cache(people.window)

    def claimed(pair: tuple[int, int], view: PixelWindow) -> list[list[NDArray[np.uint8]]]:
        """What the two say of the pixels of a window, in each of the maps."""
        check_stopped()
        return [[labels[i].view(np.uint8)[window(i).slices_of(view)] for i in pair] for labels in claims]

    two: list[tuple[tuple[int, int], PixelWindow]] = []
    for front, back, common in _meeting(people, window):
        pair = front, back
        maps = claimed(pair, common)
        view = _contested(maps, common)
        if view is None:
            continue
        if _found_twice([(silhouette(i), people.boxes[i]) for i in pair], common):
            for mine, theirs in maps:
                theirs[...] *= mine == 0
        else:
            two.append((pair, view))
    for pair, common in two:
        view = _contested(claimed(pair, common), common)  # some claim less by now
        if view is None:
            continue
        nearer, further = (interpolate(silhouette(i).depth, people.boxes[i], view) for i in pair)
        behind = further - nearer > _EQUAL
        for mine, theirs in claimed(pair, view):
            both = np.minimum(mine, theirs) > 0
            mine[...] *= ~(both & behind)
            theirs[...] *= ~(both & ~behind)


def _contested(maps: Sequence[Sequence[NDArray[np.uint8]]], window: PixelWindow) -> PixelWindow | None:
    """The part of a window with all pixels that two people both claim in one of the maps; None where there are none."""
    x, y, width, height = cv2.boundingRect(reduce(np.maximum, [np.minimum(mine, theirs) for mine, theirs in maps]))
    left, top = window.left + x, window.top + y
    return PixelWindow(left, top, left + width, top + height) if width else None


def _found_twice(pair: Sequence[tuple[_Silhouette, NDArray[np.float32]]], common: PixelWindow) -> bool:
    """Whether two people are one person, by how much of their silhouettes they have in common.

    Args:
        pair: silhouette and box [4] of each.
        common: the pixels that both people's windows have in common.
    """
    areas = sum(own.area for own, _ in pair)
    reached = _common(*(reach(own.depth, box, common) for own, box in pair))
    if reached is None or not _alike(math.prod(reached.shape), areas):  # if both silhouettes filled all of it
        return False
    shared = np.minimum(*(interpolate(own.depth, box, reached) for own, box in pair)) >= pair[0][0].edge
    return _alike(int(np.count_nonzero(shared)), areas)


def visible(people: People) -> People:
    """The same people with the cells of their parts and IUV cleared where somebody else is in front.

    For code that draws cells instead of pixels: `assign_contested_pixels` decides at the middle of each cell. People
    who overlap nobody keep all their cells.
    """
    meeting = sorted({index for front, back, _ in _meeting(people, people.window) for index in (front, back)})
    if not meeting:
        return people
    few = people.select(meeting)
    charts = None if few.iuv is None else few.iuv[:, 0]
    maps = {name: cells for name, cells in (("parts", few.parts), ("iuv", charts)) if cells is not None}
    if not maps:
        return people
    pasted = {
        name: [paste_nearest(own, few.boxes[i], few.window(i)) for i, own in enumerate(cells)]
        for name, cells in maps.items()
    }
    claimed = {name: _at_middles(few, pasted[name], cells.shape[1:]) > 0 for name, cells in maps.items()}
    _assign(few, list(pasted.values()))
    changed = {}
    for name, cells in maps.items():
        kept = ~(claimed[name] & (_at_middles(few, pasted[name], cells.shape[1:]) == 0))
        changed[name] = getattr(people, name).copy()
        changed[name][meeting] *= kept if name == "parts" else kept[:, None]
    return replace(people, **changed)


def _at_middles(people: People, labels: Sequence[NDArray[np.uint8]], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Each person's label at the pixel under the middle of every cell: uint8 [n,S,S] for maps of `shape` (S, S)."""
    found = np.empty((len(people), *shape), np.uint8)
    for index, own in enumerate(labels):
        left, top, _, _ = people.window(index)
        x1, y1, x2, y2 = people.boxes[index].tolist()
        height, width = own.shape
        rows, columns = (np.arange(count) + 0.5 for count in shape)
        y = (y1 + rows * ((y2 - y1) / len(rows)) - top).clip(0, height - 1).astype(np.intp)
        x = (x1 + columns * ((x2 - x1) / len(columns)) - left).clip(0, width - 1).astype(np.intp)
        found[index] = own[y][:, x]
    return found


def _meeting(people: People, window: Callable[[int], PixelWindow]) -> Iterator[tuple[int, int, PixelWindow]]:
    """(first, second, common pixels) of all pairs whose windows overlap; the first one has the higher score.

    Pairs are ordered by the score of the second: all people with higher scores have shared out a pixel among them
    before the next one claims it.
    """
    order = people.back_to_front()[::-1]
    height, width = people.image_size
    boxes = people.boxes[order].clip(0, np.array([width, height, width, height], np.float32))
    apart = np.maximum(boxes[:, None, :2], boxes[:, :2]) - np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    near = (apart < 2).all(axis=2)  # a window reaches at most one pixel beyond its box
    for second, first in np.argwhere(np.tril(near, -1)).tolist():
        front, back = order[first], order[second]
        common = _common(window(front), window(back))
        if common is not None:
            yield front, back, common


def _common(one: PixelWindow, other: PixelWindow) -> PixelWindow | None:
    left, top, right, bottom = *map(max, one[:2], other[:2]), *map(min, one[2:], other[2:])
    return PixelWindow(left, top, right, bottom) if left < right and top < bottom else None


def _silhouette(people: People, index: int) -> _Silhouette:
    silhouettes, sources = [], people.silhouette_tasks
    if people.parts is not None:
        if "parsing" in sources:
            silhouettes.append(people.parts[index] > 0)
    elif people.part_probs is not None:
        silhouettes.append(people.part_probs[index].argmax(axis=0) > 0)
    if people.iuv is not None and "densepose" in sources:
        silhouettes.append(people.iuv[index, 0] > 0)
    depths = [_from_edge(silhouette) for silhouette in silhouettes]
    rows, columns = depths[0].shape
    if depths[-1].shape != (rows, columns):
        depths[-1] = np.asarray(cv2.resize(depths[-1], (columns, rows), interpolation=cv2.INTER_LINEAR), np.float32)
    depth = depths[0] if len(depths) == 1 else (depths[0] + depths[1]) * np.float32(0.5)
    edge = np.float32(0.5 / max(rows, columns))
    width, height = people.boxes[index, 2:] - people.boxes[index, :2]
    return _Silhouette(depth, edge, float((depth >= edge).mean() * width * height))


def _from_edge(silhouette: NDArray[np.bool_]) -> NDArray[np.float32]:
    # the edge of the map is an edge as well: beyond it the network says nothing of this person
    framed = cv2.copyMakeBorder(silhouette.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cells = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    return np.asarray(cells * np.float32(1 / max(silhouette.shape)), dtype=np.float32)


def _alike(shared: int, areas: float) -> bool:
    """Whether two silhouettes are one person: `shared` pixels in common, `areas` being the sum of both areas."""
    return shared >= _ONE_PERSON * (areas - shared)
