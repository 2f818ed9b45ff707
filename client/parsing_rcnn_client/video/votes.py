"""What a track remembers of its labels: votes where an engine says labels only, averages where it says how sure it is.

Averages are worth more. Where an engine calls a dress a coat in every other frame, the label that came more often wins
the vote; in the average the one that it was surer of does.
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
"""Probabilities of some classes, uint8 [S,S] each, times 255."""

_FAINT = 64.0  # of 255: a class that is not seen now, and remembered nowhere as likelier than this, is forgotten
_LOYALTY = 25.0  # of 255, that another label has to be likelier than the one shown


@dataclass(frozen=True)
class Keep:
    """Shares of a memory that survive one frame, 0..1.

    Attributes:
        labels: of votes.
        shares: of averages.
        outline: of averages, where the old or the new label is the background: what a person uncovers is seen sooner,
            and engines are surer of outlines than of clothes.
    """

    labels: float
    shares: float
    outline: float


@dataclass
class Votes:
    """Labels with their standing: uint8 [S,S] and float32 [S,S] in 0..1."""

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
        """After new labels; where the memory is not believed they stand alone."""
        stay, gain = np.float32(keep.labels), np.float32(1 - keep.labels)
        standing = stay * self.standing + np.where(labels == self.labels, gain, -gain)
        new = (standing < 0) | ~believed
        standing = np.where(believed, np.abs(standing), gain)
        return Votes(np.where(new, labels, self.labels), standing)


@dataclass
class Averages:
    """Labels with the probabilities behind them.

    Attributes:
        labels: uint8 [S,S].
        classes: those remembered, ascending.
        shares: float32 [S,S] in 0..255, of each of them.
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
        """After new labels and their probabilities; where the memory is not believed they stand alone."""
        seen, remembered = _present(labels), zip(self.classes, self.shares, strict=True)
        before = {c: plane for c, plane in remembered if c in seen or plane.max() >= _FAINT}
        classes = sorted(before.keys() | seen)
        parts = np.minimum(labels, self.labels) > 0
        stay = np.where(parts, np.float32(keep.shares), np.float32(keep.outline)) * believed
        loyalty = believed * np.float32(_LOYALTY)
        best, winner, shares = np.full(labels.shape, -1, np.float32), np.zeros_like(labels), []
        for name, plane in zip(classes, planes(classes), strict=True):
            share = plane.astype(np.float32)
            # the mean of both, by their weights
            change = before[name] - share if name in before else -share
            change *= stay
            share += change
            shares.append(share)
            score = share + loyalty * (self.labels == name)
            np.copyto(winner, np.uint8(name), where=score > best)
            np.maximum(best, score, out=best)
        return Averages(winner, classes, shares)


def look_up(plane: NDArray[Number], where: NDArray[np.float32]) -> NDArray[Number]:
    """The nearest cells of a plane [S,S] at `where` float32 [S,S,2] of (x, y); 0 beyond it."""
    return sample(plane, where, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)


def moved_planes(planes: Sequence[NDArray[Number]], where: NDArray[np.float32]) -> list[NDArray[Number]]:
    """Planes [S,S], bilinearly at `where`; 0 beyond them."""
    found: list[NDArray[Number]] = []
    for start in range(0, len(planes), 4):  # four at a time cost little more than one
        together = np.asarray(cv2.merge(list(planes[start : start + 4])), planes[0].dtype)
        moved = cv2.split(sample(together, where, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT))
        found += [np.asarray(plane, together.dtype) for plane in moved]
    return found


def sample(plane: NDArray[Number], where: NDArray[np.float32], how: int, border: int) -> NDArray[Number]:
    """A plane [S,S] or [S,S,c] at `where` float32 [S,S,2] of (x, y), by OpenCV's interpolation and border."""
    # one map of pairs, so the second is None, which OpenCV's types forget; an empty array in its place gives rubbish
    found = cv2.remap(plane, where, None, how, borderMode=border, borderValue=0)  # type: ignore[call-overload]
    return np.asarray(found, plane.dtype)


@lru_cache(4)
def grid(side: int) -> NDArray[np.float32]:
    """(x, y) of every cell, float32 [S,S,2]."""
    ramp = np.arange(side, dtype=np.float32)
    return np.stack(np.meshgrid(ramp, ramp), axis=2)


def _present(labels: NDArray[np.uint8]) -> set[int]:
    """The classes of a map, background always."""
    return {0, *np.flatnonzero(np.bincount(labels.ravel())).tolist()}
