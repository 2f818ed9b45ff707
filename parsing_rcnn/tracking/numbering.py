"""Numbers for the people of a live source, whose frames come when they come."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.people import People
from parsing_rcnn.tracking.looks import look_of
from parsing_rcnn.tracking.tracker import Tracker

_LONGEST_GAP = 2.0  # seconds between two frames that are still a pace: what comes more seldom is a pause


class Numbering:
    """Gives everybody of one source a number that stays theirs from frame to frame.

    Frames may be missing. After a pause in which people were missed for as long as the tracker waits for anybody, and
    for two frames more, all who are seen are new: nobody knows who left and came meanwhile.

    Args:
        confidence: the lowest score that makes somebody known; known people are followed down to
            `tracker.DOUBTFUL`, so ask for people down to that.

    Example:
        >>> numbering, box = Numbering(), np.array([[10, 10, 50, 110]], np.float32)
        >>> people = People(box, np.array([0.9], np.float32), (120, 160))
        >>> [numbering.number(people, time).tracker_id.tolist() for time in (0.0, 0.1, 60.0)]
        [[1], [1], [2]]
    """

    def __init__(self, confidence: float = 0.5) -> None:
        self._tracker = Tracker(high=confidence)
        self._last, self._gap = -math.inf, math.inf

    def number(self, people: People, time: float, picture: Callable[[], NDArray[np.uint8]] | None = None) -> People:
        """The people of the next frame with their `tracker_id`; without doubtful boxes that are nobody's.

        Args:
            people: of the frame. By their maps, and the picture, who comes back is known again by the colours.
            time: of the frame, seconds; never less than the last one's.
            picture: gives the frame, uint8 [H,W,3] RGB. It is asked for only when somebody is to be looked at: five
                times a second for each person, and when somebody new is there while somebody is missed.
        """
        gap = time - self._last
        if gap > self._tracker.patience + 2 * min(self._gap, _LONGEST_GAP):
            self._tracker.tracks = []
        self._last, self._gap = time, gap
        if picture is None or (people.parts is None and people.iuv is None):
            numbers = self._tracker.update(people.boxes, people.scores, time)
        else:
            seen = cache(picture)
            numbers = self._tracker.update(
                people.boxes, people.scores, time, lambda index: look_of(seen(), people, index)
            )
        return replace(people, tracker_id=numbers.astype(np.int32)).select(numbers > 0)
