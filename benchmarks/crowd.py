"""Pictures with a given number of people, composed of one photo of one person.

The person is cut out along the parts that the engine finds and set several times, every second time mirrored, before
the photo's own blur. A whole, standing person is found again twenty times in a picture; half a person is not, so
whoever measures on these pictures says how many were found.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.frames import HEIGHT, WIDTH, jpeg
from parsing_rcnn.analyzer import Analyzer, Options
from training.data.sample import mask_box


class NobodyFound(ValueError):
    """There is no person in the photo."""


def cut_out(analyzer: Analyzer, photo: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """(pixels BGR uint8 [h,w,3], how much of each belongs to the person float32 [h,w,1]) of the surest person.

    Args:
        photo: BGR uint8 [H,W,3].

    Raises:
        NobodyFound: nobody is in the photo.
    """
    people = analyzer.analyze(np.ascontiguousarray(photo[:, :, ::-1]), Options(frozenset({"parsing"}), max_people=1))
    labels = people.label_map() > 0
    box = mask_box(labels)
    if box is None:
        raise NobodyFound("nobody was found in the photo: give one of a whole, standing person with --photo")
    x1, y1, x2, y2 = box.astype(int).tolist()
    inside = np.s_[y1:y2, x1:x2]
    soft = cv2.GaussianBlur(labels.astype(np.float32), (0, 0), 1.5)
    return photo[inside], np.asarray(soft[inside][:, :, None], np.float32)


def crowd(photo: NDArray[np.uint8], person: tuple[NDArray[np.uint8], NDArray[np.float32]], count: int) -> bytes:
    """A 1080p JPEG with the person `count` times, in one row up to eight and in two above."""
    frame = np.asarray(cv2.GaussianBlur(cv2.resize(photo, (WIDTH, HEIGHT)), (0, 0), 60), np.uint8)
    pixels, share = person
    rows = 1 if count <= 8 else 2
    columns = max(math.ceil(count / rows), 1)
    high, wide = HEIGHT / rows, WIDTH / columns
    scale = 0.9 * min(high / pixels.shape[0], wide / pixels.shape[1])
    size = (max(round(scale * pixels.shape[1]), 1), max(round(scale * pixels.shape[0]), 1))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(share, size, interpolation=cv2.INTER_AREA)[:, :, None]
    for k in range(count):
        top, left = int((k // columns + 0.5) * high - size[1] / 2), int((k % columns + 0.5) * wide - size[0] / 2)
        own, weight = (small[:, ::-1], alpha[:, ::-1]) if k % 2 else (small, alpha)
        place = frame[top : top + size[1], left : left + size[0]]
        place[:] = (weight * own + (1 - weight) * place).astype(np.uint8)
    return jpeg(frame)
