"""Where one scene ends and another begins, and where the camera was turned fast: nobody is where they were."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_SIZE = 32, 18
_ENOUGH = 144  # pixels of the shorter side, of which the small picture is made: more would take longer
_ALIKE = 0.4  # correlation of two small pictures; 95 of 100 pairs of photos lie below, a scene in motion above
_CHANGED = 20.0  # grey levels, on average, that a cut changes at least; a pan across a dull scene does not
_FLAT = 4.0  # standard deviation, grey levels: a black picture between two others says nothing
_REACH = 8, 4  # cells by which the middle is looked for elsewhere: a quarter of the width and nearly of the height
_MOVED = 0.75  # correlation where it is found: of 1000 pairs of photos one lies above, of a pan nearly all

STILL = 0.0, 0.0
"""Of `Scenes.moved`: the scene goes on where it was."""


class Scenes:
    """Compares each frame with the one before: half a millisecond of 1920x1080, 0.1 more where they are not alike."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None

    def moved(self, image: NDArray[np.uint8]) -> tuple[float, float] | None:
        """How far the scene jumped, to the right and down, in shares of the picture; None where another one begins.

        Brightness and contrast may change, as by a flash, and somebody may walk past the camera. What moves little by
        little, as in a pan that takes two seconds for the picture's width, is `STILL`.

        Args:
            image: uint8 [H,W,3] RGB, the next frame.
        """
        step = max(min(image.shape[:2]) // _ENOUGH, 1)
        small = cv2.resize(np.ascontiguousarray(image[::step, ::step]), _SIZE, interpolation=cv2.INTER_AREA)
        now = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
        if now.std() < _FLAT:
            return STILL
        last, self._last = self._last, now
        if last is None or np.abs(now - last).mean() < _CHANGED or _likeness(now, last) >= _ALIKE:
            return STILL
        return _jump(now, last)


def _likeness(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Correlation of two pictures; 0 where one of them is flat."""
    spread = float(one.std() * other.std())
    return float(((one - one.mean()) * (other - other.mean())).mean()) / spread if spread > 0 else 0.0


def _jump(now: NDArray[np.float32], last: NDArray[np.float32]) -> tuple[float, float] | None:
    """Where the last small picture is in this one, as of a camera that was turned; None where it is not."""
    (width, height), (across, down) = _SIZE, _REACH
    middle = last[down : height - down, across : width - across]
    found = cv2.matchTemplate(now, middle, cv2.TM_CCOEFF_NORMED)
    _, alike, _, (x, y) = cv2.minMaxLoc(found)
    dx, dy = x - across, y - down
    here = now[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
    there = last[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)]
    if min(alike, _likeness(here, there)) < _MOVED:
        return None
    return dx / width, dy / height
