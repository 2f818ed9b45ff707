"""Removes specks from part maps: islands of a few cells of one class in the middle of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_SMALLEST = 2048
"""An island smaller than 1/2048 of a map is a speck: 8 cells of 128 x 128, too few for any garment. A limit twice as
large loses three times as many classes that are really there (11 of 602 on photos, against 4)."""

_TOUCHED = ("PARTS", "PART_SCORES", "PART_PROBS")
_SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))


def swept(maps: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Maps of people without specks: each speck gets the class that it shares most of its edge with.

    Args:
        maps: by their tensors' names, [n,...]: PARTS uint8 [n,S,S], PART_SCORES [n,C] and PART_PROBS uint8 [n,C,S,S],
            as far as there are any; others are passed through.

    Returns:
        The same without specks. A class that was nothing but specks loses its score and its probabilities; otherwise a
        speck's probability goes to its new class. Nothing is changed in place; arrays without specks are not copied.
    """
    found = dict(maps)
    for index, cells in enumerate(maps.get("PARTS", ())):
        rows, columns, new = _specks(cells)
        if not len(new):
            continue
        for name in _TOUCHED:
            if name in maps and found[name] is maps[name]:
                found[name] = maps[name].copy()
        old = cells[rows, columns]
        clean = found["PARTS"][index]
        clean[rows, columns] = new
        counts = np.bincount(clean.ravel(), minlength=int(old.max()) + 1)
        gone = old[counts[old] == 0]
        if "PART_SCORES" in maps:
            found["PART_SCORES"][index, gone] = 0
        if "PART_PROBS" in maps:
            own = found["PART_PROBS"][index]
            own[new, rows, columns] = np.maximum(own[new, rows, columns], own[old, rows, columns])
            own[old, rows, columns] = 0
            own[gone] = 0  # or they would win between cells
    return found


def _specks(cells: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.uint8]]:
    """Rows [k], columns [k] and new classes [k] of the cells of specks in a map [S,S].

    A speck that has only other specks beside it stays: such maps come from untrained heads.
    """
    islands = _islands(cells)
    small = np.bincount(islands.ravel()) * _SMALLEST < cells.size
    small[0] = False
    # `take` and `flatnonzero` are several times as quick as an index and `nonzero`
    speck = np.asarray(small.take(islands))
    rows, columns = np.divmod(np.flatnonzero(speck), cells.shape[1])
    nobody = int(cells.max()) + 1  # beyond the map, and in specks
    beside = np.full((cells.shape[0] + 2, cells.shape[1] + 2), nobody, np.uint8)
    np.copyto(beside[1:-1, 1:-1], cells, where=~speck)
    numbers = np.cumsum(small)[islands[rows, columns]] - 1
    votes = np.zeros((np.count_nonzero(small), nobody + 1), np.intp)
    for down, right in _SIDES:
        classes = beside[rows + 1 + down, columns + 1 + right]
        votes += np.bincount(numbers * (nobody + 1) + classes, minlength=votes.size).reshape(votes.shape)
    known = np.asarray(votes[:, :nobody].any(axis=1))[numbers]
    new = votes[:, :nobody].argmax(axis=1)[numbers]
    return rows[known], columns[known], new[known].astype(np.uint8)


def _islands(cells: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The number of each cell's island, int32 [S,S] from 1; an island is connected cells of one class.

    All classes are numbered at once, on a grid of twice the size: between every two cells lies one more, which connects
    them where they have the same class. That takes a fifth of the time of one class after the other.
    """
    rows, columns = cells.shape
    joined = np.zeros((2 * rows - 1, 2 * columns - 1), np.uint8)
    joined[::2, ::2] = 1
    joined[::2, 1::2] = cells[:, 1:] == cells[:, :-1]
    joined[1::2, ::2] = cells[1:] == cells[:-1]
    return np.ascontiguousarray(cv2.connectedComponents(joined, connectivity=4)[1][::2, ::2], dtype=np.int32)
