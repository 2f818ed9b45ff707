"""Counts the people in zones of the picture, and those who cross lines, by their track numbers."""

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
"""Pixels, or a percentage of the picture's width or height as a string ("50%")."""

_BAND = 0.02  # of a box's height: whoever is nearer to a line stands on it; boxes tremble by less than that
_REMEMBERED = 1024  # people whose last place is remembered; beyond that the oldest are dropped


@dataclass(frozen=True)
class _Shape(ABC):
    """What zones and lines share: a name and points."""

    name: str
    points: Sequence[tuple[Length, Length]]
    kind: ClassVar[str]
    dimensions: ClassVar[int]
    flat: ClassVar[str]  # for messages: what is wrong with points of fewer dimensions

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidOptions(f"a {self.kind} has no name: NAME=x,y,x,y,...")
        self._check_count()
        for length in (length for point in self.points for length in point):
            self._scaled(length, 1)

    @abstractmethod
    def _check_count(self) -> None:
        """Raise InvalidOptions for too few points, or too many."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the command line: `NAME=x,y,x,y,...`. Numbers are in pixels or, with a % behind them, in percent.

        Raises:
            InvalidOptions: the text does not have this form.
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
        """The points in a picture of this (height, width), as float32 [k,2] of x, y in pixels.

        Raises:
            InvalidOptions: a point lies outside the picture, or the zone has no area, or the line no length.
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
    """An area with three corners or more. Whoever stands on its edge is in it.

    Args:
        name: for records and pictures.
        points: the corners (x, y), in pixels of the upright picture, or as strings in percent of it.

    Raises:
        InvalidOptions: there are too few corners, or one of them is not a number.

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
    """A line between two points, with the same arguments as `Zone`.

    Looking from the first point to the second, "in" is on the right and "out" on the left. So for a line drawn from
    left to right, "in" is below it in the picture.
    """

    kind, dimensions, flat = "line", 1, "one and the same: name two"

    def _check_count(self) -> None:
        if len(self.points) != 2:
            raise InvalidOptions(f"line {self.name}: {_counted(self.points)}, and a line has two: x,y,x,y")


@dataclass(frozen=True)
class Zones:
    """The zones and lines of a video.

    Raises:
        InvalidOptions: two zones, or two lines, have the same name.
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
    """The counts at one frame.

    Attributes:
        inside: zone -> track numbers of the people in it.
        lines: line -> {"in": n, "out": n}, how often somebody has crossed it in each direction since the beginning.
    """

    inside: dict[str, list[int]] = field(default_factory=dict)
    lines: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def zones(self) -> dict[str, int]:
        """Zone -> how many people are in it."""
        return {name: len(numbers) for name, numbers in self.inside.items()}


class ZoneCounter:
    """Counts in one video, frame by frame.

    The place of a person is the middle of the box's lower edge. A person crosses a line by moving from one side to the
    other through the line, not past its ends. Whoever is nearer to the line than 2 % of the box's height is on neither
    side, so that somebody who stops on it is not counted again and again. When the camera jumps, the line lies
    elsewhere in the scene; that alone makes nobody cross it.

    Args:
        zones: the zones and lines.
        image_size: (height, width) of all frames.

    Raises:
        InvalidOptions: a point lies outside the picture.

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
        # line -> track number -> the last place that was not on the line
        self._last: dict[str, dict[int, tuple[float, float]]] = {name: {} for name in self.ends}
        self._view = 0

    def update(self, numbers: NDArray[np.intp], boxes: NDArray[np.float32], view: int = 0) -> Counts:
        """Count in the next frame.

        Args:
            numbers: [n] track numbers.
            boxes: float32 [n,4] of the same people.
            view: number of the camera's view; it changes when the scene jumps within the picture.
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
        """Note where a person is now, and whether the way there crossed a line; `band` in pixels."""
        (ax, ay), (bx, by) = self.ends[name].tolist()
        ahead, length = (bx - ax, by - ay), math.hypot(bx - ax, by - ay)
        now = _cross(ahead, (foot[0] - ax, foot[1] - ay)) / length  # pixels to the right of the line
        if abs(now) <= band:
            return
        if (last := self._last[name].get(number)) is not None:
            before = _cross(ahead, (last[0] - ax, last[1] - ay)) / length
            way = foot[0] - last[0], foot[1] - last[1]
            ends = _cross(way, (ax - last[0], ay - last[1])), _cross(way, (bx - last[0], by - last[1]))
            if (before > 0) != (now > 0) and min(ends) <= 0 <= max(ends):
                self._passed[name]["in" if now > 0 else "out"] += 1
        self._last[name][number] = foot

    def _forget(self, name: str, present: set[int]) -> None:
        """If very many people are remembered, drop those who are gone and came long ago; numbers are never reused."""
        last = self._last[name]
        if len(last) > _REMEMBERED:
            newest = max(last) - _REMEMBERED // 2
            self._last[name] = {n: foot for n, foot in last.items() if n > newest or n in present}


def _cross(a: tuple[float, float], b: tuple[float, float]) -> float:
    """The cross product: positive if b points to the right of a (y grows downwards)."""
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
