"""Pictures as squares of a sheet."""

from __future__ import annotations

import numpy as np
import pytest

from training.tiles import tile


@pytest.mark.parametrize(("height", "width"), [(3, 4000), (4000, 3), (1, 1), (30, 64)])
def test_a_picture_of_any_shape_is_whole_in_the_middle(height: int, width: int) -> None:
    square = tile(np.full((height, width, 3), 40, np.uint8), 64)
    assert square.shape == (64, 64, 3)
    rows, columns = np.nonzero(square[..., 0] == 40)
    assert len(rows) == np.ptp(rows) * np.ptp(columns) + np.ptp(rows) + np.ptp(columns) + 1  # a rectangle
    assert max(np.ptp(rows), np.ptp(columns)) == 63
    assert abs(rows.min() - (63 - rows.max())) <= 1
    assert abs(columns.min() - (63 - columns.max())) <= 1
    assert (square[(square != 40).all(2)] == 255).all()
