"""The 1080p JPEG that benchmarks analyse: a photo or, without one, a drawn figure, with its own blur around it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 1080, 1920


def frame_of(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A 1080p frame around a photo (uint8 [H,W,3]): whole in the middle, its own blur on both sides."""
    scale = min(HEIGHT / photo.shape[0], WIDTH / photo.shape[1])
    size = (min(WIDTH, round(photo.shape[1] * scale)), min(HEIGHT, round(photo.shape[0] * scale)))
    inner = cv2.resize(photo, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    frame = cv2.GaussianBlur(cv2.resize(photo, (WIDTH, HEIGHT)), (0, 0), 40)
    top, left = (HEIGHT - size[1]) // 2, (WIDTH - size[0]) // 2
    frame[top : top + size[1], left : left + size[0]] = inner
    return np.asarray(frame, np.uint8)


def drawn_person() -> NDArray[np.uint8]:
    """A plain figure on a textured ground, uint8 [540,960,3]: for a machine without any photo."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(60, 200, (27, 48, 3), dtype=np.uint8), (960, 540), interpolation=cv2.INTER_CUBIC)
    skin, shirt, trousers = (150, 180, 225), (160, 60, 40), (60, 50, 45)
    for start, end, width, colour in (
        ((462, 330), (455, 480), 34, trousers),
        ((500, 330), (508, 480), 34, trousers),
        ((440, 190), (415, 320), 22, skin),
        ((522, 190), (548, 320), 22, skin),
    ):
        cv2.line(image, start, end, colour, width, cv2.LINE_AA)
    cv2.rectangle(image, (440, 165), (522, 335), shirt, -1)
    cv2.ellipse(image, (481, 115), (30, 40), 0, 0, 360, skin, -1, cv2.LINE_AA)
    return np.asarray(image, np.uint8)


def read_photo(path: Path | None) -> NDArray[np.uint8]:
    """A picture of people, uint8 [H,W,3] BGR; None: `drawn_person`.

    Raises:
        OSError: OpenCV reads no picture there.
    """
    photo = drawn_person() if path is None else cv2.imread(str(path), cv2.IMREAD_COLOR)
    if photo is None:
        raise OSError(f"{path}: no picture that OpenCV reads")
    return np.asarray(photo, np.uint8)


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """A picture uint8 [H,W,3] BGR as cameras write it."""
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
