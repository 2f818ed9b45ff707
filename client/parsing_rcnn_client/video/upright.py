"""Turns and mirrors pictures as the display matrix of their container demands.

The result is that of the program ffmpeg: quarter turns and mirrors only move pixels; any other angle turns the picture
within its frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

UPRIGHT = [1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30]
"""The matrix that changes nothing."""


def turn(matrix: Sequence[int]) -> int:
    """By how many degrees a picture is to be turned clockwise: an integer, 0..359, rounded as ffmpeg does.

    Args:
        matrix: the nine numbers of a display matrix, row by row.

    Example:
        >>> turn([0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30]), turn([-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30])
        (90, 180)
    """
    across, down = math.hypot(matrix[0], matrix[3]), math.hypot(matrix[1], matrix[4])
    if across == 0 or down == 0:
        return 0
    return round(math.degrees(math.atan2(matrix[1] / down, matrix[0] / across))) % 360


def swaps_sides(matrix: Sequence[int]) -> bool:
    """Whether width and height change places, as they do with a quarter turn only."""
    return turn(matrix) in (90, 270)


def upright(image: NDArray[np.uint8], matrix: Sequence[int]) -> NDArray[np.uint8]:
    """A picture, uint8 [H,W,3], turned and mirrored by a display matrix."""
    degrees = turn(matrix)
    if degrees == 90:
        image = image.transpose(1, 0, 2)
        image = image if matrix[3] > 0 else image[:, ::-1]
    elif degrees == 270:
        image = image.transpose(1, 0, 2)
        image = image[::-1, ::-1] if matrix[3] < 0 else image[::-1]
    elif degrees in (0, 180):
        image = image[:: -1 if matrix[4] < 0 else 1, :: -1 if matrix[0] < 0 else 1]
    else:
        height, width = image.shape[:2]
        around = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1)
        image = np.asarray(cv2.warpAffine(image, around, (width, height)), np.uint8)
    return np.ascontiguousarray(image)
