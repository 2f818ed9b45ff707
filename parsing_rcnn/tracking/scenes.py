"""Finds cuts, where another scene begins, and fast turns of the camera, after which nobody is where they were."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_SIZE = 32, 18
_ENOUGH = 144  # pixels of the shorter side, of which the small picture is made: more would take longer
_BLACK = 6.0  # grey levels by which the pixels of a bar differ from its colour, on average: what encoders leave
_EDGE = 3  # lines beside a bar: in the first, bar and scene are mixed; in the last, the scene has begun
_SEEN = 0.5  # share of that line that is no bar, in one of the pictures: what somebody on a dark stage never is
_INNER = 0.2  # share of the width, or of the height, that bars leave at least
_ALIKE = 0.4  # correlation of two small pictures; 95 of 100 pairs of photos lie below, a scene in motion above
_CHANGED = 20.0  # grey levels, on average, that a cut changes at least; a pan across a dull scene does not
_FLAT = 4.0  # standard deviation, grey levels: a black picture between two others says nothing
_REACH = 8, 4  # cells by which the middle is looked for elsewhere: a quarter of the width and nearly of the height
_MOVED = 0.75  # correlation where it is found: of 1000 pairs of photos one lies above, of a pan nearly all

STILL = 0.0, 0.0
"""Result of `Scenes.moved`: the scene goes on where it was."""


class Scenes:
    """Compares each frame with the one before: half a millisecond at 1920x1080, 0.1 ms more where they differ.

    Black bars beside the scene, or above and below it, are left out: they are alike whatever the scene shows.
    """

    def __init__(self) -> None:
        self._last: NDArray[np.uint8] | None = None

    def moved(self, image: NDArray[np.uint8]) -> tuple[float, float] | None:
        """How far the scene jumped, (right, down) in shares of the picture; None where another scene begins.

        Brightness and contrast may change, as by a flash, and somebody may walk past the camera. A slow movement, such
        as a pan that takes two seconds for the picture's width, is `STILL`.

        Args:
            image: uint8 [H,W,3] RGB, the next frame.
        """
        step = max(min(image.shape[:2]) // _ENOUGH, 1)
        grey = cv2.cvtColor(np.ascontiguousarray(image[::step, ::step]), cv2.COLOR_RGB2GRAY)
        now = np.asarray(grey, np.uint8)
        last = now if self._last is None else self._last
        inner = _between_bars(now, last) if now.shape == last.shape else (slice(None), slice(None))
        here, there = _small(now[inner]), _small(last[inner])
        if here.std() < _FLAT:
            return STILL
        self._last = now
        if np.abs(here - there).mean() < _CHANGED or _likeness(here, there) >= _ALIKE:
            return STILL
        if (jump := _jump(here, there)) is None:
            return None
        (height, width), (rows, columns) = now.shape, now[inner].shape
        return jump[0] * columns / width, jump[1] * rows / height


def _small(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    return cv2.resize(grey, _SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)


def _between_bars(now: NDArray[np.uint8], last: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Rows and columns without the bars that both pictures have on two sides, of one colour and about one width."""
    high, wide = _bar(now, last), _bar(now.T, last.T)
    return slice(high, now.shape[0] - high), slice(wide, now.shape[1] - wide)


def _bar(*pictures: NDArray[np.uint8]) -> int:
    """How many lines above, and as many below, are a bar in all pictures, with the mixed ones; 0 where none is."""
    if np.ptp([picture[line].mean() for picture in pictures for line in (0, -1)]) > _BLACK:
        return 0
    colour, length = float(pictures[0][0].mean()), len(pictures[0])
    unlike = [np.abs(picture.astype(np.int16) - round(colour)) for picture in pictures]
    bars = []
    for side in (1, -1):
        begins = np.logical_or.reduce([each[::side].mean(axis=1) > _BLACK for each in unlike])
        bars.append(int(begins.argmax()) if begins.any() else length)
    lines = min(bars) + _EDGE
    if min(bars) == 0 or length - 2 * lines < _INNER * length:
        return 0
    seen = max(float((each[[lines, -1 - lines]] > _BLACK).mean()) for each in unlike)
    return lines if seen >= _SEEN else 0


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
