"""The labels that a track remembers: votes if the engine gives labels only, averages if it gives probabilities, too.

Averages are better. If an engine calls a dress a coat in every other frame, a vote is won by the label that came more
often, an average by the label that the engine was surer of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", np.uint8, np.float32)

Planes = Callable[[Sequence[int]], list[NDArray[np.uint8]]]
"""Class ids -> their probabilities, uint8 [S,S] each, 255 for 1."""

_FAINT = 64.0  # of 255: a class that is not seen now and is nowhere remembered as more likely than this is forgotten
_LOYALTY = 25.0  # of 255: another label replaces the one shown only if it is more likely by this much


@dataclass(frozen=True)
class Keep:
    """The shares of a memory that survive one frame, 0..1.

    Attributes:
        labels: for votes.
        shares: for averages.
        outline: for averages where the old or the new label is the background. It may be lower: engines are surer of
            outlines than of clothes, and what a person uncovers should show soon.
    """

    labels: float
    shares: float
    outline: float


@dataclass
class Votes:
    """Labels, uint8 [S,S], and their standing, float32 [S,S]: how firmly each is believed, 0..1."""

    labels: NDArray[np.uint8]
    standing: NDArray[np.float32]

    @classmethod
    def first(cls, labels: NDArray[np.uint8], keep: Keep) -> Votes:
        """Labels seen once."""
        return cls(labels, np.full(labels.shape, 1 - keep.labels, np.float32))

    def moved(self, where: NDArray[np.float32]) -> Votes:
        """The same at other cells: `where` float32 [S,S,2] of (x, y)."""
        return Votes(look_up(self.labels, where), look_up(self.standing, where))

    def heard(self, labels: NDArray[np.uint8], believed: NDArray[np.bool_], keep: Keep) -> Votes:
        """The votes after new labels. Where `believed` is False the memory is discarded, and the new label counts."""
        stay, gain = np.float32(keep.labels), np.float32(1 - keep.labels)
        standing = stay * self.standing + np.where(labels == self.labels, gain, -gain)
        new = (standing < 0) | ~believed
        standing = np.where(believed, np.abs(standing), gain)
        return Votes(np.where(new, labels, self.labels), standing)


@dataclass
class Averages:
    """Labels with the averaged probabilities that they come from.

    Attributes:
        labels: uint8 [S,S].
        classes: ids of the remembered classes, ascending.
        shares: float32 [S,S] for each of `classes`: its averaged probability, 0..255.
    """

    labels: NDArray[np.uint8]
    classes: list[int]
    shares: list[NDArray[np.float32]]

    @classmethod
    def first(cls, labels: NDArray[np.uint8], planes: Planes) -> Averages:
        """Labels seen once."""
        classes = sorted(_present(labels))
        return cls(labels, classes, [plane.astype(np.float32) for plane in planes(classes)])

    def moved(self, where: NDArray[np.float32]) -> Averages:
        """The same at other cells: `where` float32 [S,S,2] of (x, y)."""
        return Averages(look_up(self.labels, where), self.classes, moved_planes(self.shares, where))

    def heard(self, labels: NDArray[np.uint8], planes: Planes, believed: NDArray[np.bool_], keep: Keep) -> Averages:
        """The averages after new labels and probabilities; where `believed` is False these count alone."""
        seen, remembered = _present(labels), zip(self.classes, self.shares, strict=True)
        before = {c: plane for c, plane in remembered if c in seen or plane.max() >= _FAINT}
        classes = sorted(before.keys() | seen)
        parts = np.minimum(labels, self.labels) > 0
        stay = np.where(parts, np.float32(keep.shares), np.float32(keep.outline)) * believed
        loyalty = believed * np.float32(_LOYALTY)
        best, winner, shares = np.full(labels.shape, -1, np.float32), np.zeros_like(labels), []
        for name, plane in zip(classes, planes(classes), strict=True):
            share = plane.astype(np.float32)
            # the weighted mean of the new probability and the remembered one
            change = before[name] - share if name in before else -share
            change *= stay
            share += change
            shares.append(share)
            score = share + loyalty * (self.labels == name)
            np.copyto(winner, np.uint8(name), where=score > best)
            np.maximum(best, score, out=best)
        return Averages(winner, classes, shares)


def look_up(plane: NDArray[Number], where: NDArray[np.float32]) -> NDArray[Number]:
    """A plane [S,S], looked up at the nearest cells of `where`, float32 [S,S,2] of (x, y); 0 outside the plane."""
    return sample(plane, where, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)


def moved_planes(planes: Sequence[NDArray[Number]], where: NDArray[np.float32]) -> list[NDArray[Number]]:
    """Planes [S,S], interpolated bilinearly at `where`, float32 [S,S,2] of (x, y); 0 outside the planes."""
    results: list[NDArray[Number]] = []
    for start in range(0, len(planes), 4):  # four at a time cost little more than one
        together = np.asarray(cv2.merge(list(planes[start : start + 4])), planes[0].dtype)
        moved = cv2.split(sample(together, where, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT))
        results += [np.asarray(plane, together.dtype) for plane in moved]
    return results


def sample(plane: NDArray[Number], where: NDArray[np.float32], how: int, border: int) -> NDArray[Number]:
    """A plane [S,S] or [S,S,c], looked up at `where`, float32 [S,S,2] of (x, y).

    Args:
        plane: of any kind that OpenCV takes.
        where: the places.
        how: OpenCV's interpolation.
        border: OpenCV's border mode.
    """
    # the second map is None, because the first one has pairs; OpenCV's type stubs lack that, and an empty array instead
    # of None gives garbage
    sampled = cv2.remap(plane, where, None, how, borderMode=border, borderValue=0)  # type: ignore[call-overload]
    return np.asarray(sampled, plane.dtype)


@lru_cache(4)
def grid(side: int) -> NDArray[np.float32]:
    """(x, y) of every cell, float32 [S,S,2]."""
    ramp = np.arange(side, dtype=np.float32)
    return np.stack(np.meshgrid(ramp, ramp), axis=2)


def _present(labels: NDArray[np.uint8]) -> set[int]:
    """The class ids in a map, and always the background, 0."""
    return {0, *np.flatnonzero(np.bincount(labels.ravel())).tolist()}
