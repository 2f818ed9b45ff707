"""The picture that probes send."""

from __future__ import annotations

import cv2
import numpy as np

from parsing_rcnn.geometry import PAD_VALUE


def tiny_picture() -> bytes:
    """A grey PNG of 32x32 pixels."""
    encoded, data = cv2.imencode(".png", np.full((32, 32, 3), PAD_VALUE, np.uint8))
    assert encoded
    return data.tobytes()
