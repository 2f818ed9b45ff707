"""Track numbers for the people of a live source, whose frames come at irregular times."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.people import People
from parsing_rcnn.tracking.looks import look_of
from parsing_rcnn.tracking.scenes import Scenes
from parsing_rcnn.tracking.tracker import Tracker

_LONGEST_GAP = 2.0  # seconds: longer gaps between two frames count as this long


class Numbering:
    """Gives everybody of one source a number that stays theirs from frame to frame.

    Frames may be missing. After a pause longer than the tracker's patience and two gaps between frames, everybody is
    new: nobody knows who left and came meanwhile. Two gaps count as 4 s at most, and as 4 s after the first frame, when
    the pace is not known yet, so everybody is new after 5 s at the latest.

    The size of the frames may change. Where their shape changes, as when a phone is turned, everybody is new; so they
    are after a cut, where `watch` is given the pictures. Call `forget` where a source is opened again.

    Args:
        confidence: the lowest score that starts a track. Tracks continue with scores down to `tracker.DOUBTFUL`, so ask
            the engine for people down to that.

    Example:
        >>> numbering, box = Numbering(), np.array([[10, 10, 50, 110]], np.float32)
        >>> people = People(box, np.array([0.9], np.float32), (120, 160))
        >>> [numbering.number(people, time).tracker_id.tolist() for time in (0.0, 0.1, 60.0)]
        [[1], [1], [2]]
    """

    def __init__(self, confidence: float = 0.5) -> None:
        self._tracker, self._scenes = Tracker(high=confidence), Scenes()
        self._last, self._gap = -math.inf, math.inf
        self._size = (1, 1)  # (height, width) of the frames whose pixels the tracks are in

    def watch(self, image: NDArray[Any]) -> None:
        """Give the picture of the next frame, before its people are numbered; also of frames that are not analysed.

        Where another scene begins, everybody is new from here on. Where a camera is turned fast, or knocked, but shows
        the same scene, everybody is looked for where it shows them now.

        Args:
            image: uint8 [H,W,3] RGB or BGR, or the frame made smaller: 144 pixels of the shorter side are enough.
        """
        self._tracker.jump(self._scenes.moved(image), self._size)

    def number(self, people: People, time: float, picture: Callable[[], NDArray[Any]] | None = None) -> People:
        """The people of the next frame with their `tracker_id`, without doubtful boxes that belong to no track.

        Args:
            people: of the frame. With maps and `picture`, somebody who comes back is recognised by the colours.
            time: of the frame, seconds; never less than the last one's.
            picture: returns the frame, uint8 [H,W,3] RGB. It is called only when colours are needed: five times a
                second for each person, and when somebody new appears while somebody is missed.
        """
        gap = time - self._last
        if gap > self._tracker.patience + 2 * min(self._gap, _LONGEST_GAP):
            self._tracker.tracks = []
        self._last, self._gap = time, gap
        boxes = self._placed(people)
        if picture is None or (people.parts is None and people.iuv is None):
            numbers = self._tracker.update(boxes, people.scores, time)
        else:
            seen = cache(picture)
            numbers = self._tracker.update(boxes, people.scores, time, lambda index: look_of(seen(), people, index))
        return replace(people, tracker_id=numbers.astype(np.int32)).select(numbers > 0)

    def forget(self) -> None:
        """Another scene begins: everybody is new from here on. Numbers go on."""
        self._tracker.tracks = []

    def _placed(self, people: People) -> NDArray[np.float32]:
        """The boxes in pixels of the earlier frames; where those had another shape, all tracks are dropped."""
        if not self._tracker.tracks or not _same_shape(people.image_size, self._size):
            self._tracker.tracks, self._size = [], people.image_size
        if people.image_size == self._size:
            return people.boxes
        (height, width), (high, wide) = self._size, people.image_size
        return people.boxes * np.array([width / wide, height / high] * 2, np.float32)


def _same_shape(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one (height, width) is the other one scaled, but for rounding of the sides."""
    return abs(size[0] * other[1] - size[1] * other[0]) <= max(sum(size), sum(other))
