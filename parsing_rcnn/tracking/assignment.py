"""The cheapest pairing of rows and columns: the Hungarian method with potentials (Kuhn, Munkres; Jonker's paths)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def assign(cost: NDArray[np.floating]) -> list[tuple[int, int]]:
    """Pair each row of the smaller side with one column so that the sum of costs is least.

    Args:
        cost: [rows, columns], finite.

    Returns:
        (row, column) pairs, min(rows, columns) of them, by row.

    Example:
        >>> assign(np.array([[4.0, 1.0], [2.0, 8.0], [9.0, 9.0]]))
        [(0, 1), (1, 0)]
    """
    if cost.size == 0:
        return []
    if cost.shape[0] > cost.shape[1]:
        return sorted((row, column) for column, row in assign(cost.T))
    rows, columns = cost.shape
    row_price, column_price = np.zeros(rows), np.zeros(columns + 1)
    owner = np.full(columns + 1, -1)  # row of each column; the last column is where a search starts
    for row in range(rows):
        owner[columns] = row
        column, least = columns, np.full(columns, np.inf)
        came_from, done = np.full(columns, columns), np.zeros(columns + 1, bool)
        while owner[column] != -1:
            done[column] = True
            current = owner[column]
            reduced = cost[current] - row_price[current] - column_price[:columns]
            better = ~done[:columns] & (reduced < least)
            least[better], came_from[better] = reduced[better], column
            column_next = int(np.where(done[:columns], np.inf, least).argmin())
            step = least[column_next]
            row_price[owner[done]] += step
            column_price[done] -= step
            least[~done[:columns]] -= step
            column = column_next
        while column != columns:
            previous = int(came_from[column])
            owner[column] = owner[previous]
            column = previous
    return sorted((int(owner[c]), c) for c in range(columns) if owner[c] != -1)
