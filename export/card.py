"""The model card that an export is given: read and judged before a graph is written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.options import ExportOptions
from parsing_rcnn.card import Unreadable, fault, read, taxonomy_of
from training.checkpoint import exported_weights
from training.config import Config

_OF_SIZES = {"canvases", "models"}  # `models` name canvases
_REMEDY = "write it as training/configs/light.card.json is"


class CardError(ValueError):
    """A card cannot be read, or contradicts the weights; the message names the file and the field."""


def read_card(path: Path) -> dict[str, Any]:
    """What a card says; it may lack fields.

    Raises:
        CardError: it cannot be read, or a field of it is nothing that a card may say.
    """
    try:
        card = read(path)
    except Unreadable as error:
        raise CardError(f"{error}; {_REMEDY}") from error
    if not isinstance(card, dict):
        raise CardError(f"{path}: no JSON object, but {type(card).__name__}; {_REMEDY}")
    said = fault(card)
    if said is not None:
        raise CardError(f"{path}: {said}")
    return card


def completed(
    path: Path, card: Mapping[str, Any], config: Config, options: ExportOptions, tasks: Mapping[str, Any]
) -> dict[str, Any]:
    """A card with the tasks that it does not name, and without the canvases that the options say otherwise.

    Args:
        path: of the card; config: the recipe of the weights; tasks: what is known of them.

    Raises:
        CardError: its taxonomy is not that of the weights.
    """
    own = config.model.taxonomy
    if "taxonomy" in card and taxonomy_of(card) != own:
        raise CardError(
            f"{path}: taxonomy {taxonomy_of(card).name}, but the weights have the {len(own)} classes of {own.name}; "
            "take taxonomy out of the card, the weights say it"
        )
    kept = {key: value for key, value in card.items() if not (options.sizes and key in _OF_SIZES)}
    return {**kept, "tasks": {**tasks, **card.get("tasks", {})}}


def digest_of(repository: Path) -> str:
    """`parsing_rcnn.card.WEIGHTS` of the graphs that lie in a repository."""
    digest = hashlib.sha256()
    for name, values in sorted(exported_weights(repository).items()):
        digest.update(f"{name} {list(values.shape)}\n".encode())
        digest.update(values.astype("<f4").tobytes())
    return digest.hexdigest()


def unfounded(card: Mapping[str, Any], tasks: Mapping[str, Any]) -> list[str]:
    """Tasks that a card calls trained, though what is known of the weights does not."""
    known = {name for name, task in tasks.items() if task["trained"]}
    return [name for name, task in card["tasks"].items() if task["trained"] and name not in known]
