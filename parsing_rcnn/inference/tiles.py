"""One picture analysed as a whole and in overlapping tiles: small people are taken from the tiles.

On the network's input a crowd in a large photo, or a street from afar, is smaller than what the network was trained on.
A tile of the picture is shown larger. (Slicing as by Akyon, Altinuc, Temizel, SAHI, ICIP 2022.) The tiles overlap, so
that everybody who is smaller than the overlap is whole in one of them at least. People who are cut by a tile's edge are
left to other tiles or, where they are too large for every tile, to the picture as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import Options
from parsing_rcnn.geometry import Region
from parsing_rcnn.inference.duplicates import best
from parsing_rcnn.inference.two_sizes import SAME, United, taken, united
from parsing_rcnn.people import PER_PERSON, People

Found = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Boxes [n,4] in pixels of the picture, and their scores [n]."""

_OVERLAP = 1 / 7
"""What neighbouring tiles share, of the picture's longer side: 91 pixels of a network's input of 640."""
_WIDE = 5 / 3
"""Width by height of the widest canvas. A picture that is as wide or wider needs fewer rows than columns."""
_SPARE = 0.25
"""Of a row: so much is not worth another one."""
_EDGE = 0.01
"""Of a tile's longer side: a box that ends closer to a tile's edge is taken for one that the edge cuts."""


def tiles_of(region: Region, count: int) -> list[Region]:
    """Overlapping tiles, all of one size, row by row.

    Args:
        region: what they cover.
        count: of tiles along its longer side.

    Example:
        >>> tiles_of((0, 0, 700, 500), 2)
        [(0, 0, 400, 300), (300, 0, 700, 300), (0, 200, 400, 500), (300, 200, 700, 500)]
        >>> tiles_of((0, 0, 2100, 500), 2)
        [(0, 0, 1200, 500), (900, 0, 2100, 500)]
    """
    left, top, right, bottom = region
    width, height = right - left, bottom - top
    longer, shorter = max(width, height), min(width, height)
    across = max(1, math.ceil(count * min(1, _WIDE * shorter / longer) - _SPARE))
    columns, rows = (count, across) if width >= height else (across, count)
    shared = longer * _OVERLAP
    xs, ys = _spans(left, width, columns, shared), _spans(top, height, rows, shared)
    return [(x, y, x_end, y_end) for y, y_end in ys for x, x_end in xs]


def requests_of_tiles(options: Options, size: tuple[int, int]) -> list[Options]:
    """The options of the request for a whole picture, and of those for each of its tiles, to a server that looks at one
    region per request.

    Args:
        options: of the picture.
        size: (height, width) of the upright picture.
    """
    tiles = tiles_of(options.region or (0, 0, size[1], size[0]), options.tiles)
    return [replace(options, tiles=1, region=region) for region in (options.region, *tiles)]


def _spans(first: int, length: int, count: int, shared: float) -> list[tuple[int, int]]:
    size = max(1, min(length, round((length + (count - 1) * shared) / count)))
    steps = [round(index * (length - size) / max(count - 1, 1)) for index in range(count)]
    return [(first + step, first + step + size) for step in steps]


def whole(boxes: NDArray[np.floating], tile: Region, region: Region) -> NDArray[np.bool_]:
    """Which boxes [n,4], in pixels of the picture, no inner edge of their tile cuts: bool [n]."""
    margin = _EDGE * max(tile[2] - tile[0], tile[3] - tile[1])
    far = np.ones(len(boxes), np.bool_)
    for edge in range(4):
        if tile[edge] != region[edge]:
            inside = boxes[:, edge] - tile[edge] if edge < 2 else tile[edge] - boxes[:, edge]
            far &= inside >= margin
    return far


def staying(kept: Found, found: Found, tile: Region, region: Region, most: int) -> NDArray[np.intp]:
    """Who stays of the people of the tiles before and of those of one tile more: everybody once whom no tile cuts, and
    so few that memory does not grow with the number of tiles.

    Args:
        kept: of the tiles before.
        found: in this tile.
        tile: where it lies.
        region: what all tiles cover.
        most: people kept, highest scores first.

    Returns:
        int [k], rows of `kept` with those of `found` behind them, in rising order.
    """
    boxes, scores = (np.concatenate([kept[index], found[index]]) for index in range(2))
    uncut = np.concatenate([np.ones(len(kept[0]), np.bool_), whole(found[0], tile, region)])
    rows = np.flatnonzero(uncut)
    # a child in front of somebody is another person, so boxes inside others stay
    rows = rows[best(boxes[rows], scores[rows], iou=SAME, inside=1.0)]
    return np.sort(rows[np.argsort(-scores[rows], kind="stable")[:most]])


def united_with_tiles(first: Found, tiles: Found, region: Region, confidence: float, most: int) -> United:
    """Join whom the picture as a whole and whom its tiles show: people who are smaller than the overlap of the tiles
    belong to these.

    Args:
        first: found in the whole picture, or in `region` of it.
        tiles: found in its tiles, everybody once (`staying`).
        region: what the tiles cover.
        confidence: the lowest score kept.
        most: people kept, highest scores first.
    """
    below = _OVERLAP * max(region[2] - region[0], region[3] - region[1])
    return united((first[0], tiles[0]), (first[1], tiles[1]), below, confidence, most, longest=True)


def people_with_tiles(
    first: People, others: Sequence[People], count: int, region: Region | None, confidence: float, most: int
) -> People:
    """`united_with_tiles` for whole answers, such as a server's, all with the same options.

    Args:
        first: the answer for the whole picture, or for `region` of it.
        others: one for each of `tiles_of`.
        count: of tiles along the longer side.
        region: of the options.
        confidence: the lowest score kept.
        most: people kept, highest scores first.

    Returns:
        Everybody once, without `tracker_id`; `timings` are the sums of all.

    Raises:
        ValueError: the pictures have different sizes, or only some answers have a map.
    """
    sizes = {people.image_size for people in (first, *others)}
    if len(sizes) > 1:
        raise ValueError(f"image_size: {sorted(sizes)} are not of one picture")
    height, width = first.image_size
    covered = region or (0, 0, width, height)
    boxes, scores = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    owners = np.zeros((0, 2), np.intp)  # answer and row of each person
    for number, (people, tile) in enumerate(zip(others, tiles_of(covered, count), strict=True)):
        rows = staying((boxes, scores), (people.boxes, people.scores), tile, covered, most)
        own = np.stack([np.full(len(people), number), np.arange(len(people))], axis=1)
        boxes, scores = np.concatenate([boxes, people.boxes])[rows], np.concatenate([scores, people.scores])[rows]
        owners = np.concatenate([owners, own])[rows]
    tiles = _people_of(others, owners)
    who = united_with_tiles((first.boxes, first.scores), (tiles.boxes, tiles.scores), covered, confidence, most)
    return taken(who, first, tiles)


def _people_of(answers: Sequence[People], owners: NDArray[np.intp]) -> People:
    """The people of these answers and rows [k,2]."""
    fields: dict[str, Any] = {"tracker_id": None}
    for name in PER_PERSON:
        own = [getattr(people, name) for people in answers]
        if name in fields or all(array is None for array in own):
            continue
        if any(array is None for array in own):
            raise ValueError(f"{name}: only some of the answers have them")
        fields[name] = np.stack([own[answer][row] for answer, row in owners]) if len(owners) else own[0][:0]
    stages = dict.fromkeys(stage for people in answers for stage in people.timings)
    timings = {stage: round(sum(people.timings.get(stage, 0) for people in answers), 3) for stage in stages}
    return replace(answers[0], **fields, timings=timings)
