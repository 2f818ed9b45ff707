"""Steadies boxes, parts and IUV: every track remembers its maps, moves them with the picture and lets them vote.

The remembered maps belong to the last frame. Where each of their pixels went is found by optical flow (DIS, Kroeger et
al., ECCV 2016) on a small grey picture of the person. A remembered label is replaced only when new labels outvote it;
where the two pictures do not match (something came in front, a limb moved too fast) the new label counts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.people import People
from parsing_rcnn_client.video.memories import Box, Memory, last_scores, people_of
from parsing_rcnn_client.video.votes import Averages, Keep, Votes, grid, look_up, moved_planes, sample

_MARGIN = 0.015  # of a box's size, by which maps reach beyond it on each side
_SHORTEST = 1e-3  # seconds assumed between two frames with the same time
_STILL = 0.05  # box heights a second: the speed that noise gives to a standing box
_MISMATCH = 11.0  # grey levels between the moved picture and the new one; beyond that the memory is not believed


@dataclass(frozen=True)
class Smoothing:
    """How long tracks remember.

    Attributes:
        labels: share of a label's standing that survives 1/30 s, 0..1, if the engine gives labels only. At 30 frames a
            second, k frames of another label replace a steady one as soon as labels**k < 1/2: with 0.92, nine frames.
        shares: the same for the probabilities of the parts, if the engine gives them (`Options.part_probs`).
        outline: the same where the choice is between a person and the background.
        uv: the same for U and V.
        steady: cut-off frequency for the boxes of people who stand still, Hz (the one-euro filter of Casiez et al.,
            CHI 2012).
        agile: how much the cut-off grows with speed, Hz for one box height per second.
    """

    labels: float = 0.92
    shares: float = 0.85
    outline: float = 0.8
    uv: float = 0.6
    steady: float = 1.0
    agile: float = 60.0

    def keep(self, gap: float) -> Keep:
        """The shares that survive `gap` times 1/30 s."""
        return Keep(self.labels**gap, self.shares**gap, self.outline**gap)


STEADY = Smoothing()


class Grey:
    """A frame in grey, at several sizes that are made when needed."""

    def __init__(self, image: NDArray[np.uint8]) -> None:
        self._levels = [np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)]

    def cells(self, box: Box, side: int) -> NDArray[np.uint8]:
        """The picture under a box, scaled to uint8 [side,side]."""
        width, height = float(box[2] - box[0]), float(box[3] - box[1])
        level = int(np.clip(np.log2(max(width, height, 1.0) / side), 0, 3))
        while len(self._levels) <= level:
            self._levels.append(np.asarray(cv2.pyrDown(self._levels[-1]), np.uint8))
        scale = 0.5**level
        step_x, step_y = width * scale / side, height * scale / side
        shift = np.array([float(box[0]), float(box[1])]) * scale
        transform = np.array(
            [[step_x, 0, shift[0] + step_x / 2 - 0.5], [0, step_y, shift[1] + step_y / 2 - 0.5]], np.float64
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cells = cv2.warpAffine(
            self._levels[level], transform, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(cells, np.uint8)


class Smoother:
    """The memory of all tracks. Feed it every frame in order.

    Args:
        settings: how long to remember; None turns votes and steadying off, but `carry` and `linger` still move maps.
    """

    def __init__(self, settings: Smoothing | None = STEADY) -> None:
        self.settings = settings
        self._memories: dict[int, Memory] = {}
        self._last: Grey | None = None
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._flow.setFinestScale(1)  # half resolution instead of a quarter: 0.4 points of mIoU on a walk

    def update(
        self, image: NDArray[np.uint8], people: People, numbers: NDArray[np.intp], time: float
    ) -> tuple[People, NDArray[np.float32]]:
        """Steady one frame's people.

        Args:
            image: uint8 [H,W,3] RGB of the frame.
            people: found in it.
            numbers: [n] track numbers; a person with 0 has no track and stays unchanged.
            time: of the frame, seconds.

        Returns:
            (the people, whose maps are steadied and lie in slightly larger boxes, without `part_probs`; steadied boxes,
            float32 [n,4], to show).
        """
        frame = Grey(image)
        parts = None if people.parts is None else people.parts.copy()
        iuv = None if people.iuv is None else people.iuv.copy()
        part_scores = None if people.part_scores is None else people.part_scores.copy()
        iuv_scores = None if people.iuv_scores is None else people.iuv_scores.copy()
        boxes, shown = people.boxes.copy(), people.boxes.copy()
        for index, number in enumerate(numbers.tolist()):
            if number == 0:
                continue
            memory = self._hear(frame, people, index, self._memories.get(number), time)
            self._memories[number] = memory
            boxes[index], shown[index] = memory.box, memory.shown
            if parts is not None and memory.parts is not None:
                parts[index] = memory.parts.labels
            if iuv is not None and memory.charts is not None and memory.uv is not None:
                iuv[index] = np.concatenate([memory.charts.labels[None], memory.uv])
                iuv[index, 1:, memory.charts.labels == 0] = 0
            if part_scores is not None:
                part_scores[index] = memory.shown_part_scores
            if iuv_scores is not None:
                iuv_scores[index] = memory.shown_iuv_scores
        self._last = frame
        steadied = replace(people, boxes=boxes, parts=parts, part_scores=part_scores, iuv=iuv, iuv_scores=iuv_scores)
        return replace(steadied, part_probs=None), shown

    def forget(self, alive: Sequence[int]) -> None:
        """Forget every track that is not among `alive`."""
        self._memories = {number: memory for number, memory in self._memories.items() if number in set(alive)}

    def carry(
        self, image: NDArray[np.uint8], blank: People, boxes: dict[int, Box], fresh: float
    ) -> tuple[People, NDArray[np.intp], NDArray[np.float32]]:
        """The remembered people in a frame that was not analysed, moved as the picture moved.

        Args:
            image: uint8 [H,W,3] RGB of the frame.
            blank: an empty `People` with the size of the frame and the taxonomy.
            boxes: track -> predicted box.
            fresh: tracks that were not seen since this time, seconds, are left out.

        Returns:
            (people, their track numbers, boxes to show).
        """
        frame = Grey(image)
        carried = self._carried(frame, blank, [n for n in boxes if self._fresh(n, fresh)], boxes)
        self._last = frame
        return carried

    def linger(
        self, image: NDArray[np.uint8], blank: People, boxes: dict[int, Box]
    ) -> tuple[People, NDArray[np.intp], NDArray[np.float32]]:
        """The people whom the analysis of a frame missed, moved into it as by `carry`. Call it before `update`.

        Args:
            image: uint8 [H,W,3] RGB of the frame.
            blank: an empty `People` with the size of the frame and the taxonomy.
            boxes: missed track -> predicted box.

        Returns:
            (people, with scores of 0 until they are found again; their track numbers; boxes to show).
        """
        numbers = [n for n in boxes if n in self._memories]
        if not numbers:
            return _nobody(blank)
        for number in numbers:
            self._memories[number] = replace(self._memories[number], score=0.0)
        return self._carried(Grey(image), blank, numbers, boxes)

    def _fresh(self, number: int, since: float) -> bool:
        return number in self._memories and self._memories[number].time >= since

    def _carried(
        self, frame: Grey, blank: People, numbers: list[int], boxes: dict[int, Box]
    ) -> tuple[People, NDArray[np.intp], NDArray[np.float32]]:
        moved = {n: self._moved(frame, self._memories[n], boxes[n]) for n in numbers}
        self._memories |= moved
        numbers = sorted(numbers, key=lambda n: -moved[n].score)
        if not numbers:
            return _nobody(blank)
        people = people_of([moved[n] for n in numbers], blank)
        return people, np.array(numbers, np.intp), np.stack([moved[n].shown for n in numbers])

    def _hear(self, frame: Grey, people: People, index: int, memory: Memory | None, time: float) -> Memory:
        box, score = people.boxes[index], float(people.scores[index])
        labels = None if people.parts is None else people.parts[index]
        iuv = None if people.iuv is None else people.iuv[index]
        sure = [None if scores is None else scores[index] for scores in (people.part_scores, people.iuv_scores)]
        # memory fades by seconds, not by frames: the fewer analyses a second, the more each of them counts
        gap = 1.0 if memory is None else float(np.clip(time - memory.time, _SHORTEST, 1)) * 30
        keep = Keep(0, 0, 0) if self.settings is None else self.settings.keep(gap)
        if memory is None or self._last is None or self.settings is None:
            parts = None if labels is None else Votes.first(labels, keep)
            charts = None if iuv is None else Votes.first(iuv[0], keep)
            return Memory(box, box, np.zeros(4), time, score, parts, charts, None if iuv is None else iuv[1:], *sure)
        shown, speed = self._steadied(memory, box, time)
        # the maps are moved into the steadied box, too: in the trembling one their cells would tremble
        cells = _grown(shown)
        voted, charts, uv = None, None, None
        some = labels if labels is not None else iuv
        if some is not None:
            where, believed = self._where(frame, memory.box, cells, some.shape[-1])
            if labels is not None:
                probabilities = None if people.part_probs is None else people.part_probs[index]
                voted = _voted(
                    memory.parts, labels, probabilities, _places(box, cells, some.shape[-1]), where, believed, keep
                )
            if iuv is not None:
                charts, uv = self._charts(memory, _laid(iuv, box, cells), where, believed, gap)
        part_scores = last_scores(memory.part_scores, sure[0], labels, voted)
        iuv_scores = last_scores(memory.iuv_scores, sure[1], None if iuv is None else iuv[0], charts)
        return Memory(cells, shown, speed, time, score, voted, charts, uv, part_scores, iuv_scores)

    def _charts(
        self,
        memory: Memory,
        iuv: NDArray[np.uint8],
        where: NDArray[np.float32],
        believed: NDArray[np.bool_],
        gap: float,
    ) -> tuple[Votes, NDArray[np.uint8]]:
        assert self.settings is not None
        keep, stay = self.settings.keep(gap), np.float32(self.settings.uv**gap)
        if memory.charts is None or memory.uv is None or memory.charts.labels.shape != iuv.shape[1:]:
            return Votes.first(iuv[0], keep), iuv[1:]
        before = memory.charts.moved(where)
        charts = before.heard(iuv[0], believed, keep)
        old = np.stack([look_up(plane, where) for plane in memory.uv]).astype(np.float32)
        new = iuv[1:].astype(np.float32)
        mixed = np.where(before.labels == iuv[0], old * stay + new * (1 - stay), new)
        uv = np.where(charts.labels == iuv[0], np.where(believed, mixed, new), old)
        return charts, np.rint(uv).astype(np.uint8)

    def _moved(self, frame: Grey, memory: Memory, predicted: Box) -> Memory:
        """The memory in a frame without an analysis. The box moves as most of the person's pixels did."""
        votes = memory.parts or memory.charts
        if votes is None or self._last is None:
            return replace(memory, box=predicted, shown=predicted)
        side = votes.labels.shape[-1]
        flow = self._went(frame.cells(predicted, side), self._last.cells(predicted, side))
        cell = (predicted[2:] - predicted[:2]) / side
        # a cell of the predicted box shows the person if it showed the person in the last frame
        inside = look_up(votes.labels, _cells(predicted, flow, memory.box, side)) > 0
        if inside.sum() >= 16:
            back = np.median(flow[inside], axis=0) * cell  # from now to the last frame, pixels
            size = memory.box[2:] - memory.box[:2]
            centre = (memory.box[:2] + memory.box[2:]) / 2 - back
            predicted = np.concatenate([centre - size / 2, centre + size / 2]).astype(np.float32)
        where, _ = self._where(frame, memory.box, predicted, side)
        shift = predicted - memory.box
        uv = None if memory.uv is None else np.stack([look_up(plane, where) for plane in memory.uv])
        return replace(
            memory,
            box=predicted,
            shown=np.asarray(memory.shown + shift, np.float32),
            parts=None if memory.parts is None else memory.parts.moved(where),
            charts=None if memory.charts is None else memory.charts.moved(where),
            uv=uv,
        )

    def _where(self, frame: Grey, before: Box, now: Box, side: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """For each cell of the box `now`: its place in the cells of the box `before`, and whether to believe it."""
        assert self._last is not None
        new, old = frame.cells(now, side), self._last.cells(now, side)
        flow = self._went(new, old)
        difference = _mismatch(new, old, flow)
        where = _cells(now, flow, before, side)
        inside = cv2.inRange(where, (-0.5, -0.5), (side - 0.5, side - 0.5)) > 0
        believed = (difference < _MISMATCH) & inside
        # a third of the pixels cannot be explained: this is another scene, and the other matches are chance
        return where, believed if believed.mean() > 2 / 3 else np.zeros_like(believed)

    def _went(self, new: NDArray[np.uint8], old: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The optical flow: from each pixel of `new` to its place in `old`, float32 [S,S,2] of (x, y)."""
        return np.asarray(self._flow.calc(new, old, np.zeros((*new.shape, 2), np.float32)), np.float32)

    def _steadied(self, memory: Memory, box: Box, time: float) -> tuple[Box, NDArray[np.float64]]:
        """The one-euro filter: much smoothing while standing; little while moving, so that there is little lag."""
        assert self.settings is not None
        seconds = max(time - memory.time, _SHORTEST)
        height = max(float(box[3] - box[1]), 1.0)
        rough = (box.astype(np.float64) - memory.shown) / (seconds * height)
        speed = memory.speed + _share(1.0, seconds) * (rough - memory.speed)
        cutoff = self.settings.steady + self.settings.agile * np.maximum(np.abs(speed) - _STILL, 0)
        shown = memory.shown + _share(cutoff, seconds) * (box - memory.shown)
        return np.asarray(shown, np.float32), speed


def _mismatch(new: NDArray[np.uint8], old: NDArray[np.uint8], flow: NDArray[np.float32]) -> NDArray[np.uint8]:
    """By how many grey levels the moved picture differs from the new one, averaged over 5x5 cells."""
    moved = sample(old, grid(len(new)) + flow, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
    return np.asarray(cv2.blur(cv2.absdiff(new, moved), (5, 5)), np.uint8)


def _share(cutoff: NDArray[np.float64] | float, seconds: float) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + 1 / (2 * np.pi * np.asarray(cutoff) * seconds)))


def _cells(now: Box, flow: NDArray[np.float32], before: Box, side: int) -> NDArray[np.float32]:
    """The cells of the box `now`, moved by `flow`, in the cells of the box `before`: float32 [S,S,2] of (x, y)."""
    size_now, size_before = now[2:] - now[:2], np.maximum(before[2:] - before[:2], np.float32(1e-3))
    scale = size_now / size_before
    offset = (now[:2] - before[:2]) * side / size_before + (scale - 1) / 2
    # as rows of pairs, because NumPy is slow if the last axis has a length of two
    rows = (grid(side) + flow).reshape(side, 2 * side)
    rows *= np.tile(scale, side)
    rows += np.tile(offset, side)
    return np.asarray(rows, np.float32).reshape(side, side, 2)


def _grown(box: Box) -> Box:
    """A box a little larger: the steadied box lags behind, and what it cut off would be lost."""
    margin = _MARGIN * (box[2:] - box[:2])
    return np.concatenate([box[:2] - margin, box[2:] + margin]).astype(np.float32)


def _places(box: Box, cells: Box, side: int) -> NDArray[np.float32]:
    """The places of the cells of the box `cells` in the cells of `box`: float32 [S,S,2] of (x, y)."""
    return _cells(cells, np.zeros((side, side, 2), np.float32), box, side)


def _laid(maps: NDArray[np.uint8], box: Box, cells: Box) -> NDArray[np.uint8]:
    """Maps [k,S,S] of a box, resampled to the cells of the box `cells`."""
    where = _places(box, cells, maps.shape[-1])
    return np.stack([look_up(plane, where) for plane in maps])


def _voted(
    memory: Votes | Averages | None,
    labels: NDArray[np.uint8],
    probabilities: NDArray[np.uint8] | None,
    lies: NDArray[np.float32],
    where: NDArray[np.float32],
    believed: NDArray[np.bool_],
    keep: Keep,
) -> Votes | Averages:
    """The memory of parts after new labels and, if the engine gives them, probabilities [classes,S,S].

    Args:
        lies: places of the cells in the new maps, from `_places`.
        where: places of the cells in the memory.
    """
    labels = look_up(labels, lies)
    if memory is not None and memory.labels.shape != labels.shape:
        memory = None
    if probabilities is None:
        return (
            memory.moved(where).heard(labels, believed, keep)
            if isinstance(memory, Votes)
            else Votes.first(labels, keep)
        )

    def planes(classes: Sequence[int]) -> list[NDArray[np.uint8]]:
        return moved_planes([probabilities[name] for name in classes], lies)

    if isinstance(memory, Averages):
        return memory.moved(where).heard(labels, planes, believed, keep)
    return Averages.first(labels, planes)


def _nobody(blank: People) -> tuple[People, NDArray[np.intp], NDArray[np.float32]]:
    return blank, np.zeros(0, np.intp), np.zeros((0, 4), np.float32)
