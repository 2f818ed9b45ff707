"""The options of an analysis, what an engine says of itself, and the protocol that every engine implements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from operator import index
from typing import Any, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.geometry import Region
from parsing_rcnn.limits import MAX_PEOPLE, MAX_SIDE, MAX_TILES, MIN_MAX_SIDE
from parsing_rcnn.models import name_of, sizes_of
from parsing_rcnn.people import People

TASKS = ("parsing", "densepose")

_FARTHEST = 10**6
"""Pixels: the largest edge of a region."""


@dataclass(frozen=True)
class Options:
    """What to compute for one picture.

    Attributes:
        tasks: any of "parsing" and "densepose", also as one string with commas between; boxes are always found.
        confidence: the lowest person score kept, 0..1.
        max_people: the most people kept, highest scores first, 1..64.
        part_probs: also keep the class probabilities, which the exact paste needs.
        max_side: scale the picture down to this longest side before anything else (None: never).
        model: one of `ModelInfo.models`, the same weights at other sizes (None: the engine's default).
        region: x1, y1, x2, y2 in whole pixels of the upright picture: look at this part of it only, as large as the
            network's input allows (None: at all of it). Boxes and maps stay those of the whole picture.
        tiles: 2..4: look at the picture as a whole and in tiles as well, so many along its longer side, for small
            people in large pictures (`parsing_rcnn.inference.tiles`). 1: as a whole only.

    Example:
        >>> Options.of(None, {"tasks": "parsing", "confidence": 0.3}) == Options(frozenset({"parsing"}), 0.3)
        True
    """

    tasks: frozenset[str] = frozenset(TASKS)
    confidence: float = 0.5
    max_people: int = MAX_PEOPLE
    part_probs: bool = False
    max_side: int | None = None
    model: str | None = None
    region: Region | None = None
    tiles: int = 1

    def __post_init__(self) -> None:
        tasks: object = self.tasks
        if not isinstance(tasks, Iterable) or isinstance(tasks, Mapping | bytes):
            raise InvalidOptions(f"tasks: expected their names, got {tasks!r}; choose from {', '.join(TASKS)}")
        names: set[str] = set()
        for item in [tasks] if isinstance(tasks, str) else tasks:
            if not isinstance(item, str):
                raise InvalidOptions(f"tasks: expected their names, got {item!r}; choose from {', '.join(TASKS)}")
            names |= {part.strip() for part in item.split(",") if part.strip()}  # as the gateway reads them
        object.__setattr__(self, "tasks", frozenset(names))
        if self.region is not None:
            object.__setattr__(self, "region", region_of(self.region))

    @classmethod
    def of(cls, options: Options | None, keywords: Mapping[str, Any]) -> Options:
        """The options given to `analyze`, either as an object of this class or as keywords that are its fields.

        Raises:
            InvalidOptions: a keyword is not a field.
            TypeError: `options` is of another type, or keywords are given beside it.
        """
        if options is not None and not isinstance(options, cls):
            kind = type(options).__name__
            raise TypeError(f"options: expected Options, got {kind}; write Options(confidence=0.3) or confidence=0.3")
        known = [own.name for own in fields(cls)]
        unknown = [name for name in keywords if name not in known]
        if unknown:
            raise InvalidOptions(f"{', '.join(unknown)}: unknown; the options are {', '.join(known)}")
        if options is not None and keywords:
            names = ", ".join(keywords)
            raise TypeError(f"{names}: given beside options; put everything into Options(...), or nothing")
        return cls(**keywords) if options is None else options

    def validate(self) -> None:
        """Check names and ranges; `ModelInfo.of` checks the model.

        Raises:
            InvalidOptions: naming the option, its value and its range.
        """
        unknown = self.tasks - set(TASKS)
        if unknown:
            raise InvalidOptions(
                f"tasks: {', '.join(sorted(map(str, unknown)))} is unknown; choose from {', '.join(TASKS)}"
            )
        _check_range("confidence", self.confidence, 0, 1, whole=False)
        _check_range("max_people", self.max_people, 1, MAX_PEOPLE)
        if self.max_side is not None:
            _check_range("max_side", self.max_side, MIN_MAX_SIDE, MAX_SIDE)
        _check_range("tiles", self.tiles, 1, MAX_TILES)


def region_of(value: object) -> Region:
    """The region that four numbers, or their text with commas between, are.

    Raises:
        InvalidOptions: they are not four whole numbers, or none of a region.

    Example:
        >>> region_of("10, 20, 110, 220")
        (10, 20, 110, 220)
    """
    parts: list[object] = []
    if isinstance(value, str):
        parts += value.split(",")
    elif isinstance(value, Iterable) and not isinstance(value, Mapping | bytes):
        parts.extend(value)
    try:
        left, top, right, bottom = (int(p) if isinstance(p, str) else index(p) for p in parts)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise no_region(value) from None
    if max(right, bottom) > _FARTHEST:
        raise InvalidOptions(f"region: an edge is beyond {_FARTHEST} pixels, which no picture has")
    if not (0 <= left < right and 0 <= top < bottom):
        said = f"region: {left},{top},{right},{bottom}"[:90] + " has no pixels of a picture"
        raise InvalidOptions(f"{said}: x1,y1,x2,y2 are its left, upper, right and lower edge, from 0 on")
    return left, top, right, bottom


def _check_range(name: str, value: Any, low: int, high: int, *, whole: bool = True) -> None:
    number = isinstance(value, Integral if whole else Real)
    if not number:
        raise InvalidOptions(f"{name}: {value!r} is no {'whole ' * whole}number in {low}..{high}")
    if not low <= value <= high:
        raise InvalidOptions(f"{name}: {value} is outside {low}..{high}")


def no_region(value: object) -> InvalidOptions:
    """The error of a value that is not four whole numbers."""
    said = f"region: {str(value)[:60]!r} is not x1,y1,x2,y2 in whole pixels of the picture"
    return InvalidOptions(f"{said}, such as 0,0,640,360")


class OptionKeywords(TypedDict, total=False):
    """The fields of `Options` as keywords of `analyze`, for editors and type checkers."""

    tasks: Iterable[str]
    confidence: float
    max_people: int
    part_probs: bool
    max_side: int | None
    model: str | None
    region: Region | None
    tiles: int


@dataclass(frozen=True)
class ModelInfo:
    """The model that an engine runs.

    Attributes:
        name: of the model card, for example "light".
        version: of the weights.
        runtime: for example "openvino 2026.4.1 bf16".
        tasks: task -> whether its head is trained (an untrained head answers, but its maps mean nothing).
        classes: names of the part classes.
        canvases: (height, width) of the network inputs, of which the one that fits a picture best is used.
        card: the whole model card, JSON-compatible.
        models: the names that `Options.model` may have. Empty where there is no choice; then it may only name `model`.
        model: the name of the model that answers where `Options.model` is None; None where it has no name.
    """

    name: str
    version: str
    runtime: str
    tasks: Mapping[str, bool]
    classes: tuple[str, ...]
    canvases: tuple[tuple[int, int], ...]
    card: Mapping[str, object]
    models: tuple[str, ...] = ()
    model: str | None = None

    def of(self, model: str | None) -> ModelInfo:
        """The same for the model that `Options.model` names: another `name`, `model` and `canvases`.

        Raises:
            InvalidOptions: the engine has no such model.
        """
        if model is None:
            return self
        known = self.models or (self.model,)  # without a choice, naming what runs anyway is no error
        if model not in known:
            if self.models:
                what = f"choose from {', '.join(self.models)}, or"
            else:
                what = "it has none to choose from:" if self.model is None else f"only {self.model!r} runs:"
            raise InvalidOptions(f"model: {self.name} has no {str(model)[:60]!r}; {what} leave it out")
        card: Mapping[str, Any] = self.card
        canvases = sizes_of(card, model).canvases
        return replace(self, name=name_of(card, model), canvases=canvases, model=model)


class Analyzer(Protocol):
    """A photo in, `People` out. Implementations are thread-safe."""

    @property
    def info(self) -> ModelInfo:
        """The model that this engine runs."""
        ...

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = ...) -> People:
        """Find everybody in one picture.

        Args:
            image: an encoded JPEG, PNG or WebP, or an upright uint8 [H,W,3] RGB array.
            options: what to compute.

        Raises:
            ParsingRCNNError: the image or an option is not usable; the engine is not available.
        """
        ...

    def close(self) -> None:
        """Release the engine. Safe to call twice."""
        ...
