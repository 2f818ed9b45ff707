"""Follows people over time: gives them numbers, steadies their maps, and fills frames that were not analysed."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import Analyzer, Options
from parsing_rcnn.drawing.hiding import LOWEST_SCORE
from parsing_rcnn.geometry import intersection
from parsing_rcnn.people import PER_PERSON, People
from parsing_rcnn.pipeline import GraphPipeline
from parsing_rcnn.taxonomy import CIHP, Taxonomy
from parsing_rcnn.tracking.looks import look_of
from parsing_rcnn.tracking.scenes import STILL, Scenes
from parsing_rcnn.tracking.tracker import DOUBTFUL, Track, Tracker
from parsing_rcnn_client.video.media import Frame
from parsing_rcnn_client.video.smoothing import STEADY, Smoother, Smoothing

if TYPE_CHECKING:
    from parsing_rcnn_client.video.zones import Counts, ZoneCounter

_LONGEST_GAP = 2.0  # seconds; where answers are rarer, people are carried no further than two such gaps
_LINGER = 0.3  # seconds for which a missed person stays in the picture: detectors miss people for 1 to 5 frames


@dataclass(frozen=True, eq=False)
class Tracked:
    """One frame with everybody in it.

    Attributes:
        frame: the picture.
        people: in it, with steadied maps; those with a score of 0 were missed here and are carried for a moment.
        numbers: [n] of their tracks, from 1.
        shown: float32 [n,4] steadied boxes, within the picture; those of `people`, where its maps lie, may leave it.
        analysed: False when the people were carried here from an earlier frame.
        covered: False when no analysis reaches this frame, so that `people` is empty whoever is in the picture: before
            the first one, long after the last one, and between a cut, a jump of the camera or a reconnection and the
            next one.
        doubtful: of the last analysis, who is perhaps there: boxes that belong to no track, and who is missed and lies
            behind somebody else.
        source: the name of the live source; "" of a file.
        counts: of zones and lines, where there are any.
        view: of the scene; another number after each cut, jump of the camera or reconnection.
        at: when the frame of a live source came, time.time(); None of a file.
    """

    frame: Frame
    people: People
    numbers: NDArray[np.intp]
    shown: NDArray[np.float32]
    analysed: bool = True
    covered: bool = True
    doubtful: People | None = None
    source: str = ""
    counts: Counts | None = None
    view: int = 0
    at: float | None = None

    @property
    def in_view(self) -> list[int]:
        """Indices of the people who are at least partly in the picture; people who are carried may have left it."""
        sizes = np.round(self.shown, 2)[:, 2:] - np.round(self.shown, 2)[:, :2]
        return [int(index) for index in np.flatnonzero((sizes > 0).all(axis=1))]

    def counted(self, counter: ZoneCounter | None) -> Tracked:
        """The frame with the counts of its zones and lines. A counter takes every frame once, in order."""
        if counter is None:
            return self
        seen = self.in_view
        return replace(self, counts=counter.update(self.numbers[seen], self.shown[seen], self.view))


class Follower:
    """Follows everybody through one video: across no cut, no reconnection and no pause in which they may have changed.

    Args:
        confidence: the lowest score that starts a track.
        smoothing: how steady; None for maps as they come.
        patience: seconds that a track waits unseen, and that people are carried beyond the next analysis due.
        gap: seconds between analyses; None learns it from them.
        max_people: that are followed, by score; the others are doubtful.
    """

    def __init__(
        self,
        confidence: float = 0.5,
        smoothing: Smoothing | None = STEADY,
        patience: float = 1.0,
        gap: float | None = None,
        max_people: int = Options.max_people,
    ) -> None:
        self._tracker = Tracker(high=confidence, patience=patience)
        self._smoother = Smoother(smoothing)
        self._taxonomy: Taxonomy = CIHP  # until the first analysis tells another one
        self._untrained: frozenset[str] = frozenset()
        self._most = max_people
        self._kind: tuple[object, ...] = ()  # of the last answer's maps
        self._analysed, self._covered = -math.inf, False
        self._patience, self._gap = patience, gap
        self._gaps: deque[float] = deque(maxlen=5)
        self._doubtful: People | None = None
        self._present: set[int] = set()
        self._scenes = Scenes()
        self._newest, self._cut = -math.inf, -math.inf  # times of a frame, and of the first one of this view
        self._opened, self._view = 0, 0

    @property
    def count(self) -> int:
        """Tracks so far."""
        return self._tracker.count

    def follow(self, frame: Frame, people: People | None) -> Tracked:
        """Take the next frame. Where `people` is None, those of earlier frames are carried into it.

        People may also come late, for a frame that newer ones have followed: of a view that is over they say nothing.
        """
        if frame.time >= self._newest:
            self._newest = frame.time
            jump = self._scenes.moved(frame.image)  # each frame is compared with the one before
            jump = None if frame.opened != self._opened else jump
            if jump != STILL:
                self._cut, self._opened, self._view = frame.time, frame.opened, self._view + 1
                height, width = frame.image.shape[:2]
                self._tracker.jump(jump, (height, width))
                self._forget(*self._tracker.tracks)
        if people is None or frame.time < self._cut:
            return self._carry(frame)
        pause = frame.time - self._analysed
        paused = pause > max(self._reach(_LONGEST_GAP), self._patience + 2 * min(self._gaps, default=0))
        if paused:
            self._forget(*self._tracker.tracks if pause <= self._patience + 2 * _LONGEST_GAP else ())
        if self._analysed > -math.inf:
            self._gaps.append(pause)
        elif self._newest > frame.time:  # the first answer; the next one takes as long
            self._gaps.append(self._newest - frame.time)
        self._analysed, self._covered = frame.time, True
        if len(people) and (kind := _kind(people)) != self._kind:  # another model answers
            self._smoother.forget([])
            self._taxonomy, self._kind = people.taxonomy, kind
        self._untrained = people.untrained
        found, numbers = people.select(np.arange(min(len(people), self._most))), np.zeros(len(people), np.intp)
        numbers[: len(found)] = self._tracker.update(
            found.boxes, found.scores, frame.time, lambda index: look_of(frame.image, found, index), paused=paused
        )
        self._doubtful = replace(people, part_probs=None).select(numbers == 0)
        people, numbers = people.select(numbers > 0), numbers[numbers > 0]
        there = [t for t in self._tracker.tracks if frame.time - t.seen <= self._linger()]
        self._smoother.forget([track.number for track in there])
        missed = {t.number: t.motion.box for t in there if t.seen < frame.time and _inside(t.motion.box, frame.image)}
        late = self._smoother.linger(frame.image, self._blank(frame), missed)
        behind = _covered(late[2], people.boxes)
        people, shown = self._smoother.update(frame.image, people, numbers, frame.time)
        people, numbers, shown = _joined((people, numbers, shown), _those(late, ~behind))
        self._present = set(numbers.tolist())
        hidden = self._doubtful, np.zeros(len(self._doubtful), np.intp), self._doubtful.boxes
        self._doubtful, _, _ = _joined(hidden, _those(late, behind))
        return Tracked(frame, people, numbers, _within(shown, frame.image), doubtful=self._doubtful, view=self._view)

    def _forget(self, *known: Track) -> None:
        """Forget everybody but these people, whose places are uncertain too. Numbers are not used again."""
        self._covered, self._doubtful, self._present = False, None, set()
        self._tracker.tracks = list(known)
        self._smoother.forget([])

    def _learnt(self, unknown: float = 0.0) -> float:
        """Seconds between analyses of late, at most `_LONGEST_GAP`; `unknown` before the second one."""
        return min(median(self._gaps), _LONGEST_GAP) if self._gaps else unknown

    def _linger(self) -> float:
        """Seconds for which an unseen person stays in the picture: at least one analysis may miss them."""
        return max(_LINGER, 1.5 * self._learnt())

    def _blank(self, frame: Frame) -> People:
        size = frame.image.shape[0], frame.image.shape[1]
        return People.empty(size, taxonomy=self._taxonomy, untrained=self._untrained)

    def _reach(self, unknown: float = 0.0) -> float:
        """Seconds after an analysed frame for which its people are carried, and recognised by their place."""
        gap = self._learnt(unknown) if self._gap is None else self._gap
        # an answer is shown while the next frame is analysed: it comes one gap late, and is replaced one gap later
        return self._patience + 2 * gap

    def _carry(self, frame: Frame) -> Tracked:
        if frame.time - self._analysed > self._reach():  # by now they may be anywhere
            self._forget(*self._tracker.tracks)
            for track in self._tracker.tracks:
                track.lost = True
        self._tracker.predict(frame.time)
        boxes = {track.number: track.motion.box for track in self._tracker.tracks if track.number in self._present}
        fresh = min(self._analysed, frame.time - self._linger())
        people, numbers, shown = self._smoother.carry(frame.image, self._blank(frame), boxes, fresh)
        late = Tracked(frame, people, numbers, _within(shown, frame.image), doubtful=self._doubtful, view=self._view)
        return replace(late, analysed=False, covered=self._covered)


_Shown = tuple[People, NDArray[np.intp], NDArray[np.float32]]  # people, numbers, boxes to show


def _inside(box: NDArray[np.float32], image: NDArray[np.uint8]) -> bool:
    """Whether the middle of a box lies in the picture; people who walked out are not carried on."""
    x, y = (box[:2] + box[2:]) / 2
    return bool(0 <= x < image.shape[1] and 0 <= y < image.shape[0])


def _within(boxes: NDArray[np.float32], image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The boxes cut to the picture, which they may leave: steadied boxes lag, and carried ones are predicted."""
    height, width = image.shape[:2]
    return np.clip(boxes, 0, np.array([width, height] * 2, np.float32))


def _kind(people: People) -> tuple[object, ...]:
    """Kind of the maps: those of different sizes or classes can be neither averaged nor joined."""
    maps = people.parts, people.part_scores, people.iuv, people.iuv_scores
    return people.taxonomy.classes, *(None if array is None else array.shape[1:] for array in maps)


def _covered(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether most of a box lies under one of the others: [n]."""
    shared = intersection(boxes, others).max(axis=1, initial=0)
    return np.asarray(shared >= 0.8 * (boxes[:, 2:] - boxes[:, :2]).prod(axis=1))


def _those(shown: _Shown, wanted: NDArray[np.bool_]) -> _Shown:
    people, numbers, boxes = shown
    return people.select(wanted), numbers[wanted], boxes[wanted]


def _joined(found: _Shown, late: _Shown) -> _Shown:
    """The people found and, after them, the people missed; without `part_probs`, which are not kept."""
    (people, numbers, shown), (others, more, boxes) = found, late
    if not len(more):
        return found
    if not len(numbers):
        return replace(others, timings=people.timings), more, boxes
    arrays: dict[str, Any] = {"part_probs": None}
    for name in (field for field in PER_PERSON if field != "part_probs"):
        both = [array for array in (getattr(people, name), getattr(others, name)) if array is not None]
        arrays[name] = np.concatenate(both) if len(both) == 2 else None
    return replace(people, **arrays), np.concatenate([numbers, more]), np.concatenate([shown, boxes])


def request(
    engine: Analyzer,
    tasks: frozenset[str],
    confidence: float,
    max_people: int,
    smoothing: Smoothing | None,
    hides: bool = False,
    max_side: int | None = None,
) -> Options:
    """What to ask an engine for: doubtful people too, since they may continue a track, and how sure it is of the parts.

    Probabilities are too large to travel, so only the engine in this process is asked for them.

    Args:
        engine: that will be asked.
        tasks: to compute.
        confidence: the lowest score that starts a track.
        max_people: of a frame.
        smoothing: of the maps.
        hides: whether doubtful people are to be hidden as well.
        max_side: as in `Options`.
    """
    sure = smoothing is not None and "parsing" in tasks and isinstance(engine, GraphPipeline)
    low = min(confidence, LOWEST_SCORE if hides else DOUBTFUL)
    # with a limit of one person the others have to be hidden all the same
    most = Options.max_people if hides else max_people
    return Options(tasks=tasks, confidence=low, max_people=most, part_probs=sure, max_side=max_side)
