"""What a display matrix asks for, on pictures small enough to count."""

from __future__ import annotations

import numpy as np
import pytest

from parsing_rcnn_client.video.upright import UPRIGHT, swaps_sides, turn, upright

UNIT = 1 << 16
PICTURE = np.repeat(np.arange(6, dtype=np.uint8).reshape(2, 3, 1), 3, 2)  # 0 1 2 above 3 4 5


@pytest.mark.parametrize(
    ("rows", "degrees", "shown"),
    [
        ((1, 0, 0, 1), 0, [[0, 1, 2], [3, 4, 5]]),
        ((-1, 0, 0, 1), 180, [[2, 1, 0], [5, 4, 3]]),
        ((1, 0, 0, -1), 0, [[3, 4, 5], [0, 1, 2]]),
        ((-1, 0, 0, -1), 180, [[5, 4, 3], [2, 1, 0]]),
        ((0, 1, -1, 0), 90, [[3, 0], [4, 1], [5, 2]]),
        ((0, -1, 1, 0), 270, [[2, 5], [1, 4], [0, 3]]),
        ((0, 1, 1, 0), 90, [[0, 3], [1, 4], [2, 5]]),
        ((0, -1, -1, 0), 270, [[5, 2], [4, 1], [3, 0]]),
    ],
)
def test_quarter_turns_and_mirrors_move_pixels(
    rows: tuple[int, int, int, int], degrees: int, shown: list[list[int]]
) -> None:
    a, b, c, d = (UNIT * value for value in rows)
    matrix = [a, b, 0, c, d, 0, 0, 0, 1 << 30]
    assert turn(matrix) == degrees
    assert upright(PICTURE, matrix)[..., 0].tolist() == shown
    assert swaps_sides(matrix) == (len(shown) == 3)


def test_another_angle_turns_within_the_frame() -> None:
    picture = np.zeros((101, 201, 3), np.uint8)
    picture[46:55, 146:155] = 255  # 50 to the right of the middle
    cos, sin = round(0.8 * UNIT), round(0.6 * UNIT)
    matrix = [cos, sin, 0, -sin, cos, 0, 0, 0, 1 << 30]
    turned = upright(picture, matrix)
    assert (turn(matrix), swaps_sides(matrix), turned.shape) == (37, False, picture.shape)
    y, x = (places.mean() for places in np.nonzero(turned[..., 0] > 127))
    assert (x, y) == (pytest.approx(100 + 40, abs=0.5), pytest.approx(50 + 30, abs=0.5))


def test_a_matrix_of_zeros_changes_nothing() -> None:
    assert turn([0] * 9) == turn(UPRIGHT) == 0
