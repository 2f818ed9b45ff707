"""What an engine is asked for, what it says of itself, and the protocol that every engine follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.models import name_of, sizes_of

if TYPE_CHECKING:
    from parsing_rcnn.people import People

TASKS = ("parsing", "densepose")


@dataclass(frozen=True)
class Options:
    """What to compute for one picture.

    Attributes:
        tasks: any of "parsing" and "densepose", or a text of them with commas between; boxes are always found.
        confidence: the lowest person score kept, 0..1.
        max_people: the most people kept, by score, 1..64.
        part_probs: also keep the class probabilities, which the exact paste needs.
        max_side: scale the picture down to this longest side before anything else (None: never).
        model: one of the engine's (`ModelInfo.models`), the same weights at other sizes; None: the engine's own.

    Example:
        >>> Options.of(None, {"tasks": "parsing", "confidence": 0.3}) == Options(frozenset({"parsing"}), 0.3)
        True
    """

    tasks: frozenset[str] = frozenset(TASKS)
    confidence: float = 0.5
    max_people: int = 64
    part_probs: bool = False
    max_side: int | None = None
    model: str | None = None

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

    @classmethod
    def of(cls, options: Options | None, keywords: Mapping[str, Any]) -> Options:
        """Options as they are given to `analyze`: an object of this class, or keywords that are its fields.

        Raises:
            InvalidOptions: a keyword is no field.
            TypeError: `options` is something else, or there are keywords as well.
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


class OptionKeywords(TypedDict, total=False):
    """The fields of `Options` as `analyze` takes them by name: what editors complete and type checkers check."""

    tasks: Iterable[str]
    confidence: float
    max_people: int
    part_probs: bool
    max_side: int | None
    model: str | None


@dataclass(frozen=True)
class ModelInfo:
    """What an engine runs.

    Attributes:
        name: of the model card, for example "light".
        version: of the weights.
        runtime: for example "openvino 2026.4.1 bf16".
        tasks: task -> whether its head is trained (an untrained head answers, but means nothing).
        classes: names of the part classes.
        canvases: (height, width) of the network inputs.
        card: the whole model card, JSON-compatible.
        models: what `Options.model` may name, the card's `models`; none where there is nothing to choose, and it may
            name `model` alone.
        model: which of them answers where none is named; None where that one has no name.
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
        """What answers where `Options.model` names this one: its name, by the card's, and its canvases.

        Raises:
            InvalidOptions: there is no such model.
        """
        if model is None:
            return self
        known = self.models or (self.model,)  # who has no choice may name what runs anyway
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
        """What runs."""
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
