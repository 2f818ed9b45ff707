"""Who is where: people in areas of the picture, and people who pass lines, by the numbers of their tracks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.errors import InvalidOptions

Length = float | str
"""Pixels, or a string of a number and %, of the picture's width or height."""

_BAND = 0.02  # of somebody's height: nearer to a line than this they stand on it, and boxes tremble by less
_REMEMBERED = 1024  # people whose last place is known; only those of late are kept


@dataclass(frozen=True)
class _Shape(ABC):
    """A name and points."""

    name: str
    points: Sequence[tuple[Length, Length]]
    kind: ClassVar[str]
    dimensions: ClassVar[int]
    flat: ClassVar[str]  # what points of fewer dimensions are

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidOptions(f"a {self.kind} has no name: NAME=x,y,x,y,...")
        self._check_count()
        for length in (length for point in self.points for length in point):
            self._scaled(length, 1)

    @abstractmethod
    def _check_count(self) -> None:
        """Refuse too few points, or too many."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """What the command line has: `NAME=x,y,x,y,...`, each number in pixels or, with a % behind it, in percent.

        Raises:
            InvalidOptions: it is not that.
        """
        name, equals, listed = text.partition("=")
        if not equals:
            raise InvalidOptions(f"{cls.kind} {text!r}: has no name: NAME=x,y,x,y,...")
        lengths = [length.strip() for length in listed.split(",")]
        if len(lengths) % 2:
            raise InvalidOptions(
                f"{cls.kind} {text!r}: has {len(lengths)} numbers, and points are x,y: name an even one"
            )
        values = [length if length.endswith("%") else _number(length, cls.kind, name) for length in lengths]
        return cls(name.strip(), list(zip(values[::2], values[1::2], strict=True)))

    def pixels(self, image_size: tuple[int, int]) -> NDArray[np.float32]:
        """The points in a picture of (height, width), float32 [k,2] of x, y.

        Raises:
            InvalidOptions: one of them lies outside, or a zone has no area and a line no length.
        """
        height, width = image_size
        points = [(self._scaled(x, width), self._scaled(y, height)) for x, y in self.points]
        for x, y in points:
            if not (0 <= x <= width and 0 <= y <= height):
                raise InvalidOptions(
                    f"{self.kind} {self.name}: {x:g},{y:g} lies outside the picture of {width}x{height} pixels: "
                    "name points in it, or percent (50%)"
                )
        corners = np.array(points, np.float32)
        if np.linalg.matrix_rank(corners[1:] - corners[0]) < self.dimensions:
            raise InvalidOptions(f"{self.kind} {self.name}: its points are {self.flat}")
        return corners

    def _scaled(self, length: Length, side: int) -> float:
        if not isinstance(length, str):
            if not math.isfinite(length):
                raise InvalidOptions(f"{self.kind} {self.name}: {length} is no number of pixels")
            return float(length)
        percent = _number(length.removesuffix("%"), self.kind, self.name)
        if not length.endswith("%") or not 0 <= percent <= 100:
            raise InvalidOptions(f"{self.kind} {self.name}: {length} is not from 0% to 100%")
        return percent / 100 * side


class Zone(_Shape):
    """An area, with three corners or more; somebody on its edge is in it.

    Args:
        name: of it.
        points: its corners (x, y), in pixels of the upright picture or strings in percent of it.

    Raises:
        InvalidOptions: too few corners, or what is no number.

    Example:
        >>> Zone("door", [(0, 0), ("50%", 0), (0, "100%")]).pixels((480, 640)).tolist()
        [[0.0, 0.0], [320.0, 0.0], [0.0, 480.0]]
        >>> Zone.parse("door=0,0,50%,0,0,100%").points
        [(0.0, 0.0), ('50%', 0.0), (0.0, '100%')]
    """

    kind, dimensions, flat = "zone", 2, "all on one line: name three that are not"

    def _check_count(self) -> None:
        if len(self.points) < 3:
            raise InvalidOptions(f"zone {self.name}: {_counted(self.points)} enclose nothing: name three or more")


class Line(_Shape):
    """A line between two points. Seen from the first to the second, its right side is in and its left side is out: of a
    line from left to right, what lies below it in the picture is in.

    Arguments as of `Zone`.
    """

    kind, dimensions, flat = "line", 1, "one and the same: name two"

    def _check_count(self) -> None:
        if len(self.points) != 2:
            raise InvalidOptions(f"line {self.name}: {_counted(self.points)}, and a line has two: x,y,x,y")


@dataclass(frozen=True)
class Zones:
    """All that is counted in a video.

    Raises:
        InvalidOptions: two zones, or two lines, have one name.
    """

    zones: Sequence[Zone] = ()
    lines: Sequence[Line] = ()

    def __post_init__(self) -> None:
        for shapes in (self.zones, self.lines):
            for name, times in Counter(shape.name for shape in shapes).items():
                if times > 1:
                    raise InvalidOptions(f"{times} {shapes[0].kind}s are named {name}: choose a name for each")


@dataclass(frozen=True)
class Counts:
    """Of one frame.

    Attributes:
        inside: zone -> numbers of the people who are in it.
        lines: line -> {"in": times, "out": times} that somebody passed it, since the beginning.
    """

    inside: dict[str, list[int]] = field(default_factory=dict)
    lines: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def zones(self) -> dict[str, int]:
        """Zone -> how many are in it."""
        return {name: len(numbers) for name, numbers in self.inside.items()}


class ZoneCounter:
    """Counts in one video, frame by frame.

    A person is where the middle of the lower edge of the box is. A line is passed by whoever was on one side of it and
    is on the other now, if the way between leads through it, not past its ends. On the line, nearer to it than 2 % of
    the height of the box, one is on neither side, so that nobody who stops there is counted again and again. Where the
    camera jumped, the line is elsewhere in the scene: nobody passes it by that.

    Args:
        zones: what to count.
        image_size: (height, width) of all frames.

    Raises:
        InvalidOptions: something lies outside the picture.

    Example:
        >>> counter = ZoneCounter(Zones(lines=[Line("gate", [(0, 50), (100, 50)])]), (100, 100))
        >>> for bottom in (40, 60):
        ...     counts = counter.update(np.array([7]), np.array([[40, 10, 60, bottom]], np.float32))
        >>> counts.lines
        {'gate': {'in': 1, 'out': 0}}
    """

    def __init__(self, zones: Zones, image_size: tuple[int, int]) -> None:
        self.corners = {zone.name: zone.pixels(image_size) for zone in zones.zones}
        self.ends = {line.name: line.pixels(image_size) for line in zones.lines}
        self._passed = {name: {"in": 0, "out": 0} for name in self.ends}
        self._last: dict[str, dict[int, tuple[float, float]]] = {name: {} for name in self.ends}  # off the line
        self._view = 0

    def update(self, numbers: NDArray[np.intp], boxes: NDArray[np.float32], view: int = 0) -> Counts:
        """The next frame.

        Args:
            numbers: [n] of tracks.
            boxes: float32 [n,4] of the same people.
            view: another number where the scene lies elsewhere in the picture than in the frame before.
        """
        if view != self._view:
            self._view, self._last = view, {name: {} for name in self.ends}
        feet = [((x1 + x2) / 2, y2) for x1, _, x2, y2 in boxes.tolist()]
        people = list(zip(numbers.tolist(), feet, (boxes[:, 3] - boxes[:, 1]).tolist(), strict=True))
        inside = {
            name: [number for number, foot, _ in people if cv2.pointPolygonTest(corners, foot, False) >= 0]
            for name, corners in self.corners.items()
        }
        for name in self.ends:
            for number, foot, height in people:
                self._move(name, number, foot, _BAND * height)
            self._forget(name, set(numbers.tolist()))
        return Counts(inside, {name: dict(passed) for name, passed in self._passed.items()})

    def _move(self, name: str, number: int, foot: tuple[float, float], band: float) -> None:
        (ax, ay), (bx, by) = self.ends[name].tolist()
        ahead, aside = (bx - ax, by - ay), math.hypot(bx - ax, by - ay)
        now = _cross(ahead, (foot[0] - ax, foot[1] - ay)) / aside  # pixels to the right of it
        if abs(now) <= band:
            return
        if (last := self._last[name].get(number)) is not None:
            before = _cross(ahead, (last[0] - ax, last[1] - ay)) / aside
            way = foot[0] - last[0], foot[1] - last[1]
            ends = _cross(way, (ax - last[0], ay - last[1])), _cross(way, (bx - last[0], by - last[1]))
            if (before > 0) != (now > 0) and min(ends) <= 0 <= max(ends):
                self._passed[name]["in" if now > 0 else "out"] += 1
        self._last[name][number] = foot

    def _forget(self, name: str, present: set[int]) -> None:
        """Numbers are never used again: of very many, those who came long ago and are gone."""
        last = self._last[name]
        if len(last) > _REMEMBERED:
            newest = max(last) - _REMEMBERED // 2
            self._last[name] = {n: foot for n, foot in last.items() if n > newest or n in present}


def _cross(a: tuple[float, float], b: tuple[float, float]) -> float:
    return a[0] * b[1] - a[1] * b[0]


def _counted(points: Sequence[object]) -> str:
    return f"{len(points)} point{'s' * (len(points) != 1)}"


def _number(text: str, kind: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidOptions(f"{kind} {name}: {text!r} is no number: pixels (320), or percent (50%)")
    return value
