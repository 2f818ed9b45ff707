"""What the fields of a model card have to be; the first that is not is named in one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from parsing_rcnn.own_classes import read_taxonomy
from parsing_rcnn.taxonomy import CIHP, Taxonomy

CARD = "model_card.json"
WEIGHTS = "weights_sha256"
"""Key of the card: SHA-256 of the network's weights as they are stored, the same in every export of them, whatever its
precision and shapes are; cards of before it lack it."""
STEP, LEAST_SIDE, LARGEST_SIDE = 32, 64, 1344
"""Of the canvases that the graphs take, in pixels."""


class Unreadable(ValueError):
    """A card is absent or no JSON; the message names the file."""


def read(path: Path) -> Any:
    """The JSON of a card, whatever it holds.

    Raises:
        Unreadable: there is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))  # some editors write the mark
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise Unreadable(f"{path} is no JSON: {error}") from error


def fault(card: Mapping[str, Any]) -> str | None:
    """What is wrong with the fields that a card has, and what they may be; None where nothing is."""
    try:
        taxonomy_of(card)
    except ValueError as error:
        return f"taxonomy {error}"
    weights = card.get(WEIGHTS)
    if weights is not None and not (isinstance(weights, str) and re.fullmatch("[0-9a-f]{64}", weights)):
        return f"{WEIGHTS} {weights!r}: 64 hexadecimal digits, which `parsing-rcnn export` writes"
    return _fault_of_sizes(card) or _fault_of_tasks(card.get("tasks", {}))


def taxonomy_of(card: Mapping[str, Any]) -> Taxonomy:
    """Of the part classes of a card's weights; CIHP where it says nothing.

    Raises:
        ValueError: `parsing_rcnn.own_classes.read_taxonomy` reads no taxonomy there.
    """
    return read_taxonomy(card.get("taxonomy", CIHP.name))


def trained_in(card: Mapping[str, Any]) -> dict[str, bool]:
    """Task -> whether its head is trained; empty where the card does not say."""
    return {name: bool(task["trained"]) for name, task in card.get("tasks", {}).items()}


def _fault_of_sizes(card: Mapping[str, Any]) -> str | None:
    models = card.get("models", {})
    if not isinstance(models, dict) or not all(isinstance(model, dict) for model in models.values()):
        return f'models {models!r}: an object, as in {{"large": {{"canvases": [[512, 832]]}}}}'
    places = [("canvases", card["canvases"])] if "canvases" in card else []
    places += [(f"models.{name}.canvases", model.get("canvases")) for name, model in models.items()]
    for key, canvases in places:
        if not isinstance(canvases, list) or not canvases or not all(map(_is_canvas, canvases)):
            return (
                f"{key} {canvases!r}: a list of one or more [height, width], multiples of {STEP} from {LEAST_SIDE} to "
                f"{LARGEST_SIDE}"
            )
    for name, model in models.items():
        if "second" in model and not _is_second(model["second"], models.keys() - {name}):
            return (
                f"models.{name}.second {model['second']!r}: another of the models, and below which height in pixels "
                'people are that one\'s, as in {"model": "large", "below": 300}'
            )
    return None


def _fault_of_tasks(tasks: object) -> str | None:
    if not isinstance(tasks, dict):
        return f'tasks {tasks!r}: an object, as in {{"parsing": {{"trained": true}}}}'
    for name, task in tasks.items():
        if not isinstance(task, dict) or not isinstance(task.get("trained"), bool):
            return f'tasks.{name} {task!r}: an object that says whether its head is trained, as in {{"trained": true}}'
    return None


def _is_canvas(sides: object) -> bool:
    return isinstance(sides, list) and len(sides) == 2 and all(map(_is_side, sides))


def _is_second(second: object, others: Collection[str]) -> bool:
    if not isinstance(second, dict) or second.keys() != {"model", "below"}:
        return False
    name, below = second["model"], second["below"]
    return isinstance(name, str) and name in others and type(below) in (int, float) and 0 < below <= LARGEST_SIDE


def _is_side(side: object) -> bool:
    return type(side) is int and not side % STEP and LEAST_SIDE <= side <= LARGEST_SIDE
