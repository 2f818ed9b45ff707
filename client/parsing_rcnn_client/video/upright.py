"""How a picture is turned and mirrored before it is shown: what a container's display matrix asks for.

The same as the program ffmpeg does by itself: quarter turns and mirrors move pixels, an angle between turns the picture
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
    """Whole degrees that a picture is turned by, clockwise, 0..359, as ffmpeg rounds them.

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
    """Whether a picture's width becomes its height: a quarter turn only, no other angle."""
    return turn(matrix) in (90, 270)


def upright(image: NDArray[np.uint8], matrix: Sequence[int]) -> NDArray[np.uint8]:
    """A picture uint8 [H,W,3] as it is meant to be seen."""
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
