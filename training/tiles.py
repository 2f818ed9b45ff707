"""Pictures of any shape as equal squares of a sheet."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def tile(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A picture, scaled to fit, whole in the middle of a white square: uint8 [side,side,3]."""
    scale = side / max(picture.shape[:2])
    height, width = (max(1, round(extent * scale)) for extent in picture.shape[:2])
    square = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return square
