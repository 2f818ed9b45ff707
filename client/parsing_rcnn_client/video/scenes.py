"""Where one scene ends and another begins: nobody is followed across a cut."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_SIZE = 32, 18
_ENOUGH = 144  # pixels of the shorter side, of which the small picture is made: more would take longer
_ALIKE = 0.4  # correlation of two small pictures; 95 of 100 pairs of photos lie below, a scene in motion above
_CHANGED = 20.0  # grey levels, on average, that a cut changes at least; a pan across a dull scene does not
_FLAT = 4.0  # standard deviation, grey levels: a black picture between two others says nothing


class Scenes:
    """Compares each frame with the one before."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None

    def cut(self, image: NDArray[np.uint8]) -> bool:
        """Whether another scene begins with this frame, uint8 [H,W,3] RGB.

        Brightness and contrast may change, as by a flash, and somebody may walk past the camera.
        """
        step = max(min(image.shape[:2]) // _ENOUGH, 1)
        small = cv2.resize(np.ascontiguousarray(image[::step, ::step]), _SIZE, interpolation=cv2.INTER_AREA)
        small = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        now = small.astype(np.float32)
        if now.std() < _FLAT:
            return False
        last, self._last = self._last, now
        if last is None or np.abs(now - last).mean() < _CHANGED:
            return False
        return bool(((now - now.mean()) * (last - last.mean())).mean() < _ALIKE * now.std() * last.std())
