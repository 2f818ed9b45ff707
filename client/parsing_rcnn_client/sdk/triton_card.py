"""What the configuration of one of Triton's ensembles says of the model card whose weights it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from parsing_rcnn.analyzer import TASKS
from parsing_rcnn.card import WEIGHTS, fault, taxonomy_of
from parsing_rcnn.ensembles import CLASSES, IDENTITY, MODELS
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.taxonomy import CIHP, MHP, Taxonomy


def card_of(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the model card that a configuration tells; what it does not tell, or tells wrongly, is absent.

    Args:
        configuration: of an ensemble, JSON with the names of the protocol buffers.

    Returns:
        Of `name`, `version`, `taxonomy`, `weights_sha256`, `tasks` and `models` those that are known, as in a card.

    Example:
        >>> card_of({"parameters": {"card.trained": {"string_value": "parsing"}}})
        {'tasks': {'parsing': {'trained': True}, 'densepose': {'trained': False}}}
    """
    texts = _texts(configuration)
    keys = ("name", "version", "taxonomy", WEIGHTS)
    card: dict[str, Any] = {key: text for key in keys if (text := texts.get(f"{IDENTITY}{key}"))}
    if f"{IDENTITY}trained" in texts:
        trained = {name.strip() for name in texts[f"{IDENTITY}trained"].split(",")}
        card["tasks"] = {task: {"trained": task in trained} for task in TASKS}
    for key, parameter in (("taxonomy", f"{IDENTITY}{CLASSES}"), ("models", MODELS)):
        with suppress(ValueError, RecursionError):
            card[key] = json.loads(texts.get(parameter, ""))
    return {key: value for key, value in card.items() if value and _is_sound(key, value)}


def _is_sound(key: str, value: Any) -> bool:
    try:
        return fault({key: value}) is None
    except RecursionError:  # its message would be too deep
        return False


def lacks(card: Mapping[str, Any], model: str | None) -> bool:
    """Whether a card that names its models has none of this name."""
    return model is not None and "models" in card and model not in list(card["models"])


def require_model(card: Mapping[str, Any], model: str | None, url: str) -> None:
    """Refuse a name that is none of the models of the card of the server at `url`.

    Raises:
        InvalidOptions: as it says.
    """
    if lacks(card, model):
        names = ", ".join(card["models"])
        raise InvalidOptions(f"model: {url} has no {str(model)[:60]!r}; choose from {names}, or leave it out")


def taxonomy_with(classes: int | None, card: Mapping[str, Any], given: Taxonomy | None) -> Taxonomy | None:
    """The taxonomy of a server's part maps.

    Args:
        classes: how many the maps have; None where there are no part maps.
        card: what is known of the server's.
        given: by the caller, who knows better than the card.

    Returns:
        `given`, the card's, or else CIHP or MHP by the number of classes; None where nothing tells.

    Raises:
        ValueError: none of them has so many classes.
    """
    told = given or (taxonomy_of(card) if "taxonomy" in card else None)
    if classes is None:
        return told
    for known in (told, CIHP, MHP) if given is None else (given,):
        if known is not None and len(known) == classes:
            return known
    expected = "neither CIHP's nor MHP's" if given is None else f"{given.name} has others"
    raise ValueError(f"{classes} part classes, {expected}")


def _texts(configuration: Mapping[str, Any]) -> dict[str, str]:
    """Name -> text of its parameters."""
    parameters = configuration.get("parameters")
    if not isinstance(parameters, Mapping):
        return {}
    values = {name: value.get("string_value") for name, value in parameters.items() if isinstance(value, Mapping)}
    return {name: text for name, text in values.items() if isinstance(text, str)}
