"""From the people of single frames to people over time: numbers, steady maps, and frames that were not analysed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.people import Analyzer, Options, People
from parsing_rcnn.pipeline import GraphPipeline
from parsing_rcnn.taxonomy import CIHP, Taxonomy
from parsing_rcnn_client.video.media import Frame
from parsing_rcnn_client.video.smoothing import STEADY, Smoother, Smoothing
from parsing_rcnn_client.video.tracker import Tracker


@dataclass(frozen=True, eq=False)
class Tracked:
    """One frame with everybody in it.

    Attributes:
        frame: the picture.
        people: in it, with steadied maps.
        numbers: [n] of their tracks, from 1.
        shown: float32 [n,4] steadied boxes.
        analysed: False when the people were carried here from an earlier frame.
    """

    frame: Frame
    people: People
    numbers: NDArray[np.intp]
    shown: NDArray[np.float32]
    analysed: bool = True


class Follower:
    """Follows everybody through one video.

    Args:
        confidence: the lowest score that starts a track.
        smoothing: how steady; None for maps as they come.
        patience: seconds that a track waits unseen.
        taxonomy: of the parts, for frames before the first analysis.
    """

    def __init__(
        self,
        confidence: float = 0.5,
        smoothing: Smoothing | None = STEADY,
        patience: float = 1.0,
        taxonomy: Taxonomy = CIHP,
    ) -> None:
        self._tracker = Tracker(high=confidence, patience=patience)
        self._smoother = Smoother(smoothing)
        self._taxonomy = taxonomy
        self._analysed = float("-inf")

    @property
    def count(self) -> int:
        """Tracks so far."""
        return self._tracker.count

    def follow(self, frame: Frame, people: People | None) -> Tracked:
        """The next frame; `people` None carries those of the frames before into it."""
        if people is None:
            return self._carry(frame)
        self._taxonomy, self._analysed = people.taxonomy, frame.time
        numbers = self._tracker.update(people.boxes, people.scores, frame.time)
        known = np.flatnonzero(numbers)
        people, numbers = people.select(known), numbers[known]
        people, shown = self._smoother.update(frame.image, people, numbers, frame.time)
        self._smoother.forget([track.number for track in self._tracker.tracks])
        return Tracked(frame, people, numbers, shown)

    def _carry(self, frame: Frame) -> Tracked:
        self._tracker.predict(frame.time)
        boxes = {track.number: track.motion.box for track in self._tracker.tracks}
        blank = replace(People.empty((frame.image.shape[0], frame.image.shape[1])), taxonomy=self._taxonomy)
        people, numbers, shown = self._smoother.carry(frame.image, blank, boxes, frame.time, self._analysed)
        return Tracked(frame, people, numbers, shown, analysed=False)


def request(
    engine: Analyzer, tasks: frozenset[str], confidence: float, max_people: int, smoothing: Smoothing | None
) -> Options:
    """What to ask an engine for: doubtful people too, since they may continue a track, and how sure it is of the parts.

    Probabilities are too large to travel, so only the engine in this process is asked for them.
    """
    sure = smoothing is not None and "parsing" in tasks and isinstance(engine, GraphPipeline)
    low = max(min(confidence, 0.1), confidence / 2)
    return Options(tasks=tasks, confidence=low, max_people=max_people, part_probs=sure)
