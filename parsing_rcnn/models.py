"""The models that a card names: the same weights, run on pictures at different sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parsing_rcnn.errors import InvalidOptions

Canvases = tuple[tuple[int, int], ...]
"""(height, width) of the network inputs to choose from."""


@dataclass(frozen=True)
class SecondSize:
    """The other size of a model.

    Attributes:
        canvases: (height, width) to choose from.
        below: people less tall than this, in pixels of the model's own canvas, belong to the second size.
    """

    canvases: Canvases
    below: float


@dataclass(frozen=True)
class Sizes:
    """The sizes at which a model sees every picture.

    Attributes:
        canvases: (height, width) to choose from.
        second: the other size, where the model has one.
    """

    canvases: Canvases
    second: SecondSize | None = None


def sizes_of(card: Mapping[str, Any], model: str | None) -> Sizes:
    """The sizes of one of a card's `models`; None: of the card itself.

    Example:
        >>> card = {"canvases": [[64, 96]], "models": {"large": {"canvases": [[128, 192]]}}}
        >>> sizes_of(card, "large")
        Sizes(canvases=((128, 192),), second=None)
    """
    chosen = card if model is None else card["models"][model]
    second = chosen.get("second")
    other = second and SecondSize(_canvases(card["models"][second["model"]]), float(second["below"]))
    return Sizes(_canvases(chosen), other)


def name_of(card: Mapping[str, Any], model: str | None) -> str:
    """Name of the weights, and of the model where one was chosen."""
    return str(card["name"]) if model is None else f"{card['name']} {model}"


def default_of(card: Mapping[str, Any]) -> str | None:
    """The model of the card's own sizes, by name; None where no name is theirs."""
    own = sizes_of(card, None)
    return next((name for name in card.get("models", {}) if sizes_of(card, name) == own), None)


def requests_of(card: Mapping[str, Any], model: str | None) -> tuple[str | None, ...]:
    """The models to name in requests to a server that analyses at one size per request.

    That is `model` alone or, where it has two sizes, the model of the first and that of the second size
    (`parsing_rcnn.inference.two_sizes.united_people` joins their answers).

    Raises:
        InvalidOptions: no model of the card has one of the sizes alone.
    """
    sizes = sizes_of(card, model)
    if sizes.second is None:
        return (model,)
    every = {name: sizes_of(card, name) for name in card["models"]}
    alone = {own.canvases: name for name, own in every.items() if own.second is None}
    for canvases in (sizes.canvases, sizes.second.canvases):
        if canvases not in alone:
            sides = ", ".join(f"{height}x{width}" for height, width in canvases)
            raise InvalidOptions(
                f"model: {model!r} is two requests, for each of its sizes by name, and no other model of the card has "
                f"the canvases {sides}"
            )
    return alone[sizes.canvases], alone[sizes.second.canvases]


def all_canvases(card: Mapping[str, Any]) -> Canvases:
    """(height, width) of all canvases of a card, each once: its own first, then those of its `models`."""
    every = (card, *card.get("models", {}).values())
    return tuple(dict.fromkeys(canvas for model in every for canvas in _canvases(model)))


def _canvases(model: Mapping[str, Any]) -> Canvases:
    return tuple((int(h), int(w)) for h, w in model["canvases"])
