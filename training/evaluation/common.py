"""What the evaluations share: whose detections count, and a person's map on the whole picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.people import People

SURE = 0.5  # who scores this counts as found, where a figure is not a precision-recall curve
LEAST_RANKED_SCORE = 0.05  # analyzers are asked for people down to this score: the tail of a precision-recall curve
FOUND_OVERLAP = 0.5  # IoU of boxes from which a person counts as found
COMPARED_OVERLAP = 0.1  # IoU of boxes above which a detection is compared with a person point by point
LEAST_GROUP_HEIGHT = 64  # pixels: smaller people of group photos are ignored


def group_of(count: int) -> str:
    """The group of the reports for pictures with so many people."""
    return "1 person" if count == 1 else "2-3 people" if count <= 3 else "4+ people"


def on_picture(people: People, index: int, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A map over one person's window, as of `People.crop`, on the whole picture: [H,W], 0 elsewhere."""
    canvas = np.zeros(people.image_size, np.uint8)
    canvas[people.window(index).slices] = crop
    return canvas
