"""From the people of single frames to people over time: numbers, steady maps, and frames that were not analysed."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.people import Analyzer, Options, People
from parsing_rcnn.pipeline import GraphPipeline
from parsing_rcnn.taxonomy import CIHP, Taxonomy
from parsing_rcnn_client.video.media import Frame
from parsing_rcnn_client.video.smoothing import STEADY, Smoother, Smoothing
from parsing_rcnn_client.video.tracker import Tracker

_LONGEST_GAP = 2.0  # seconds: what comes more seldom is an outage, nothing to get used to


@dataclass(frozen=True, eq=False)
class Tracked:
    """One frame with everybody in it.

    Attributes:
        frame: the picture.
        people: in it, with steadied maps.
        numbers: [n] of their tracks, from 1.
        shown: float32 [n,4] steadied boxes.
        analysed: False when the people were carried here from an earlier frame.
        covered: False when no analysis reaches this frame, so that `people` is empty whoever is in the picture.
    """

    frame: Frame
    people: People
    numbers: NDArray[np.intp]
    shown: NDArray[np.float32]
    analysed: bool = True
    covered: bool = True


class Follower:
    """Follows everybody through one video.

    Args:
        confidence: the lowest score that starts a track.
        smoothing: how steady; None for maps as they come.
        patience: seconds that a track waits unseen, and that people are carried beyond the next analysis due.
        gap: seconds between analyses; None learns it from them.
        taxonomy: of the parts, for frames before the first analysis.
    """

    def __init__(
        self,
        confidence: float = 0.5,
        smoothing: Smoothing | None = STEADY,
        patience: float = 1.0,
        gap: float | None = None,
        taxonomy: Taxonomy = CIHP,
    ) -> None:
        self._tracker = Tracker(high=confidence, patience=patience)
        self._smoother = Smoother(smoothing)
        self._taxonomy = taxonomy
        self._analysed, self._covered = -math.inf, False
        self._patience, self._gap = patience, gap
        self._gaps: deque[float] = deque(maxlen=5)

    @property
    def count(self) -> int:
        """Tracks so far."""
        return self._tracker.count

    def follow(self, frame: Frame, people: People | None) -> Tracked:
        """The next frame; `people` None carries those of the frames before into it."""
        if people is None:
            return self._carry(frame)
        if self._analysed > -math.inf:
            self._gaps.append(frame.time - self._analysed)
        self._taxonomy, self._analysed, self._covered = people.taxonomy, frame.time, True
        numbers = self._tracker.update(people.boxes, people.scores, frame.time)
        known = np.flatnonzero(numbers)
        people, numbers = people.select(known), numbers[known]
        people, shown = self._smoother.update(frame.image, people, numbers, frame.time)
        self._smoother.forget([track.number for track in self._tracker.tracks])
        return Tracked(frame, people, numbers, shown)

    def _reach(self) -> float:
        """Seconds after an analysed frame in which its people are carried."""
        learnt = min(median(self._gaps), _LONGEST_GAP) if self._gaps else 0.0
        gap = learnt if self._gap is None else self._gap
        # shown while the next frame is analysed, an answer is one gap old when it comes and two when it is replaced
        return self._patience + 2 * gap

    def _carry(self, frame: Frame) -> Tracked:
        if frame.time - self._analysed > self._reach():  # by now they may be anywhere
            self._covered = False
            self._tracker.tracks = []
            self._smoother.forget([])
        self._tracker.predict(frame.time)
        boxes = {track.number: track.motion.box for track in self._tracker.tracks}
        blank = replace(People.empty((frame.image.shape[0], frame.image.shape[1])), taxonomy=self._taxonomy)
        people, numbers, shown = self._smoother.carry(frame.image, blank, boxes, frame.time, self._analysed)
        return Tracked(frame, people, numbers, shown, analysed=False, covered=self._covered)


def request(
    engine: Analyzer, tasks: frozenset[str], confidence: float, max_people: int, smoothing: Smoothing | None
) -> Options:
    """What to ask an engine for: doubtful people too, since they may continue a track, and how sure it is of the parts.

    Probabilities are too large to travel, so only the engine in this process is asked for them.
    """
    sure = smoothing is not None and "parsing" in tasks and isinstance(engine, GraphPipeline)
    low = max(min(confidence, 0.1), confidence / 2)
    return Options(tasks=tasks, confidence=low, max_people=max_people, part_probs=sure)
