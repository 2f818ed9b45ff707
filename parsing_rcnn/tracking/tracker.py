"""Who is who from frame to frame, by overlap: ByteTrack's association (Zhang et al., ECCV 2022, section 3).

Confident boxes are paired with tracks first; the tracks that are left may then take doubtful boxes, so that somebody
half hidden keeps their number. A doubtful box never starts a track. A confident box that overlaps no track may still
match one by its looks: somebody who comes out from behind another, or back into the picture, is known by the colours.
Where frames are rare, the next of several people who walk in a file may be where the one before was: then clearly other
colours count before overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.geometry import iou
from parsing_rcnn.tracking.assignment import assign
from parsing_rcnn.tracking.looks import distance, tones_apart

Look = NDArray[np.float32]

DOUBTFUL = 0.2
"""The lowest score of a box that may continue a track: lower ones would take time and bridge few gaps."""

_OVERLAP, _DOUBTFUL_OVERLAP = 0.2, 0.5  # least IoU of a prediction and a confident, or doubtful, box

# Noise of the motion model, relative to the height of the box (per frame of 1/30 s).
_POSITION, _VELOCITY, _MEASURED = 1 / 20, 1 / 120, 1 / 20
_SLOWING = 0.95  # share of a lost track's speed that is left after a frame of 1/30 s: it is known less and less
_ALIKE = 0.2  # distance of looks under which a new box is a lost track's: 99 of 100 looks of one person differ less
_OTHER = 32.0  # difference of mean colours that light seldom makes, nor noise in what is grey
_RARE = 0.4  # seconds between frames: in a longer time somebody walks to where the person ahead of them was
_ALONE = 0.15  # IoU with others below which a person's look is learnt
_LEARNT = 0.3  # share of a new look in what is remembered
_AFRESH = 0.2  # least seconds between two looks at the same person


class Motion:
    """Constant velocity of a box: a Kalman filter of (centre x, centre y, width, height), each with its own speed.

    The four coordinates share no covariance, so each is a filter of two numbers and all four are computed at once.
    """

    def __init__(self, box: NDArray[np.float32]) -> None:
        self.mean = np.stack([_centred(box), np.zeros(4)])  # [position or speed, coordinate]
        self._size = self.mean[0, 2:].copy()  # when last measured
        height = max(float(box[3] - box[1]), 1.0)
        self.covariance = np.zeros((2, 2, 4))
        self.covariance[0, 0] = (2 * _POSITION * height) ** 2
        self.covariance[1, 1] = (10 * _VELOCITY * height) ** 2

    def predict(self, frames: float, lost: bool = False) -> None:
        """Move on by `frames` of 1/30 s. A lost box keeps its size and slows down.

        A box that is being covered shrinks and moves to the side that is still visible, which must not go on.
        """
        if lost:
            self.mean[0, 2:], self.mean[1, 2:] = self._size, 0
            self.mean[1, :2] *= _SLOWING**frames
        (a, b), (_, d) = self.covariance
        height = max(float(self.mean[0, 3]), 1.0)
        self.mean[0] += frames * self.mean[1]
        a, b = a + 2 * frames * b + frames**2 * d, b + frames * d
        noise = frames * np.array([_POSITION * height, _VELOCITY * height]) ** 2
        self.covariance = np.array([[a + noise[0], b], [b, d + noise[1]]])

    def move(self, right: float, down: float) -> None:
        """The picture itself moved, by pixels."""
        self.mean[0, :2] += right, down

    def correct(self, box: NDArray[np.float32]) -> None:
        """Take a measured box into account."""
        (a, b), (_, d) = self.covariance
        height = max(float(box[3] - box[1]), 1.0)
        total = a + (_MEASURED * height) ** 2
        gain = np.stack([a / total, b / total])
        self.mean = self.mean + gain * (_centred(box) - self.mean[0])
        self._size = self.mean[0, 2:].copy()
        self.covariance = np.array([[a - gain[0] * a, b - gain[0] * b], [b - gain[0] * b, d - gain[1] * b]])

    @property
    def box(self) -> NDArray[np.float32]:
        """float32 [4] (x1, y1, x2, y2)."""
        x, y, width, height = self.mean[0]
        half_width, half_height = max(width, 1.0) / 2, max(height, 1.0) / 2
        return np.array([x - half_width, y - half_height, x + half_width, y + half_height], np.float32)


def _centred(box: NDArray[np.float32]) -> NDArray[np.float64]:
    x1, y1, x2, y2 = (float(v) for v in box)
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])


@dataclass
class Track:
    """One person over time.

    Attributes:
        number: from 1, never used twice.
        motion: where the person is and goes.
        seen: time of the last box, seconds.
        look: of the person, from frames where nobody was near; None until there was one.
        looked: time of the last of them.
        lost: whether the last frame had no box of it.
    """

    number: int
    motion: Motion
    seen: float
    look: Look | None = None
    looked: float = float("-inf")
    lost: bool = False

    def see(self, box: NDArray[np.float32], time: float) -> None:
        """A box of this person."""
        self.motion.correct(box)
        self.seen, self.lost = time, False


@dataclass
class Tracker:
    """Gives each box of each frame the number of its person.

    Attributes:
        high: the lowest score of a box that starts a track or is paired first.
        patience: seconds that a track waits unseen before it is given up.
        count: tracks so far.

    Example:
        >>> tracker = Tracker()
        >>> box = np.array([[10, 10, 50, 110]], np.float32)
        >>> [tracker.update(box + dx, np.array([0.9], np.float32), dx / 30).tolist() for dx in range(3)]
        [[1], [1], [1]]
    """

    high: float = 0.5
    patience: float = 1.0
    tracks: list[Track] = field(default_factory=list)
    count: int = 0
    _time: float | None = None
    _updated: float | None = None  # time of the last frame's boxes; predictions may be later
    _rare: bool = False  # whether the frame before is long ago

    def update(
        self,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        time: float,
        look: Callable[[int], Look | None] = lambda index: None,
        *,
        paused: bool = False,
    ) -> NDArray[np.intp]:
        """Take one frame's boxes.

        Args:
            boxes: float32 [n,4] (x1, y1, x2, y2).
            scores: float32 [n] in 0..1.
            time: of the frame, seconds; never less than the last one's.
            look: of a box, by its index, as of `looks.look_of`.
            paused: the last frame was so long ago that people may have changed. Then they are recognised only by their
                looks, at the same place or within walking distance of it.

        Returns:
            [n] track numbers; 0 for a box that belongs to no track.
        """
        look, self._rare = cache(look), self._updated is not None and time - self._updated > _RARE
        self._updated = time
        for track in self.tracks if paused else ():
            track.lost = True
        self.predict(time)
        owners: list[Track | None] = [None] * len(boxes)
        waiting = list(self.tracks)
        confident = np.flatnonzero(scores >= self.high)
        doubtful = np.flatnonzero(scores < self.high)
        for chosen, least in ((confident, _OVERLAP), (doubtful, _DOUBTFUL_OVERLAP)):
            for track, index in self._pair(waiting, boxes, scores, chosen, least, look):
                if paused and _unlike(track, look(index)) >= _ALIKE:
                    continue
                track.see(boxes[index], time)
                waiting.remove(track)
                owners[index] = track
        new: list[int] = []
        for index in confident.tolist():
            others = [i for i, track in enumerate(owners) if track is not None] + new
            if owners[index] is None and not _taken(boxes[index], boxes[others]):
                new.append(index)
        for track, index in self._returned(waiting, boxes, new, look):
            track.motion = Motion(boxes[index])
            track.see(boxes[index], time)
            waiting.remove(track)
            new.remove(index)
            owners[index] = track
        for index in new:
            self.count += 1
            owners[index] = Track(self.count, Motion(boxes[index]), time)
        for track in waiting:
            track.lost = True
        self._learn(boxes, owners, look)
        self.tracks += [owner for index in new if (owner := owners[index]) is not None]
        self.tracks = [t for t in self.tracks if time - t.seen <= self.patience]
        return np.array([0 if track is None else track.number for track in owners], np.intp)

    def predict(self, time: float) -> None:
        """Move every track to a time without seeing anything."""
        frames = 0.0 if self._time is None else max(time - self._time, 0.0) * 30
        self._time = time if self._time is None else max(time, self._time)
        for track in self.tracks:
            track.motion.predict(frames, track.lost)

    def jump(self, moved: tuple[float, float] | None, size: tuple[int, int]) -> None:
        """Move everybody as the camera was turned; in another scene, drop all tracks.

        Args:
            moved: what `Scenes.moved` says of the next frame.
            size: (height, width) of the frames, in whose pixels the boxes are.
        """
        if moved is None:
            self.tracks = []
            return
        for track in self.tracks:
            track.motion.move(moved[0] * size[1], moved[1] * size[0])

    def _pair(
        self,
        waiting: list[Track],
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        chosen: NDArray[np.intp],
        least: float,
        look: Callable[[int], Look | None],
    ) -> list[tuple[Track, int]]:
        if not waiting or not len(chosen):
            return []
        overlap = iou(np.stack([t.motion.box for t in waiting]), boxes[chosen])
        if self._rare and (overlap >= least).any():
            overlap[self._strangers(overlap >= least, waiting, boxes, chosen, look)] = 0
        # a forbidden pair costs as much as no pair: if it cost more, two poor pairs would beat one good pair beside
        # somebody who is hidden, and two people who cross would swap their numbers
        cost = np.where(overlap >= least, 1 - overlap * scores[chosen], 1.0)
        return [(waiting[r], int(chosen[c])) for r, c in assign(cost) if overlap[r, c] >= least]

    def _strangers(
        self,
        near: NDArray[np.bool_],
        waiting: list[Track],
        boxes: NDArray[np.float32],
        chosen: NDArray[np.intp],
        look: Callable[[int], Look | None],
    ) -> NDArray[np.bool_]:
        """Pairs of other colours of which one has its like within walking distance, bool [t,c].

        Somebody has to have walked to a free place, or away from one that is free now: where each place is taken as
        before, people stand, and another light makes some of them look like others. Who is where they were is nobody
        else: people dressed alike have their like beside them.
        """
        other, alike, walked = np.zeros((3, *near.shape), np.bool_)
        home = near.copy()
        for row, track in enumerate(waiting):
            for column, index in enumerate(chosen.tolist() if track.look is not None else ()):
                if track.look is None or (seen := look(index)) is None:
                    continue
                other[row, column] = tones_apart(track.look, seen) >= _OTHER
                alike[row, column] = _unlike(track, seen) < _ALIKE
                walked[row, column] = self._walked(track, boxes[index])
                home[row, column] &= alike[row, column]
        free = ~home.any(axis=1, keepdims=True) & ~home.any(axis=0)
        found = alike & walked & (free | home)
        if not (found & ~(near.any(axis=1, keepdims=True) & near.any(axis=0))).any():
            return np.zeros_like(near)
        return np.asarray(other & (found.any(axis=1, keepdims=True) | found.any(axis=0)))

    def _walked(self, track: Track, box: NDArray[np.float32]) -> bool:
        """Whether somebody can have walked to a box since they were last seen."""
        return _apart(track.motion.box, box) <= 1 + 2 * ((self._time or 0) - track.seen)

    def _returned(
        self, waiting: list[Track], boxes: NDArray[np.float32], new: list[int], look: Callable[[int], Look | None]
    ) -> list[tuple[Track, int]]:
        """(lost track, index of the box) of pairs that look alike and lie within walking distance of each other."""
        known = [track for track in waiting if track.look is not None]
        found: list[tuple[float, Track, int]] = []
        for index in new if known else ():
            seen = look(index)
            for track in known:
                if self._walked(track, boxes[index]) and (unlike := _unlike(track, seen)) < _ALIKE:
                    found.append((unlike, track, index))
        pairs: list[tuple[Track, int]] = []
        for _, track, index in sorted(found, key=lambda entry: entry[0]):
            if all(track is not other and index != taken for other, taken in pairs):
                pairs.append((track, index))
        return pairs

    def _learn(
        self, boxes: NDArray[np.float32], owners: list[Track | None], look: Callable[[int], Look | None]
    ) -> None:
        """Remember the looks of everybody who stands apart from others."""
        own = [index for index, track in enumerate(owners) if track is not None]
        overlap = iou(boxes[own], boxes[own])
        np.fill_diagonal(overlap, 0)
        for row, index in enumerate(own):
            track = owners[index]
            if track is None or track.seen - track.looked < _AFRESH or overlap[row].max() >= _ALONE:
                continue
            if (seen := look(index)) is None:
                continue
            track.looked = track.seen
            track.look = seen if track.look is None else track.look + _LEARNT * (seen - track.look)


def _unlike(track: Track, seen: Look | None) -> float:
    """`looks.distance` of a track and a look, 0..1; infinite where one of them is unknown."""
    return float("inf") if track.look is None or seen is None else distance(track.look, seen)


def _taken(box: NDArray[np.float32], others: NDArray[np.float32]) -> bool:
    """Whether a box is a second box of somebody who already has one in this frame."""
    return bool(len(others)) and float(iou(box[None], others).max()) > 0.8


def _apart(box: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Distance of the middles of two boxes, in heights of the taller; infinite if one is over twice as tall."""
    heights = max(float(box[3] - box[1]), 1.0), max(float(other[3] - other[1]), 1.0)
    if max(heights) > 2 * min(heights):
        return float("inf")
    x, y = (box[:2] + box[2:] - other[:2] - other[2:]) / 2
    return float(np.hypot(x, y)) / max(heights)
