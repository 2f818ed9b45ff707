"""The model card that an export is given: read and judged before a graph is written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from export.options import ExportOptions
from parsing_rcnn.card import Unreadable, fault, read, taxonomy_of
from parsing_rcnn.own_classes import read_taxonomy, write_taxonomy
from training.checkpoint import exported_weights
from training.config import Config

_OF_SIZES = {"canvases", "models"}  # `models` name canvases
_REMEDY = "write it as training/configs/light.card.json is"


class CardError(ValueError):
    """A card cannot be read, or contradicts the weights; the message names the file and the field."""


def read_card(path: Path) -> dict[str, Any]:
    """What a card says; it may lack fields.

    Raises:
        CardError: it cannot be read, or a field has a value that no card may have.
    """
    try:
        card = read(path)
    except Unreadable as error:
        raise CardError(f"{error}; {_REMEDY}") from error
    if not isinstance(card, dict):
        raise CardError(f"{path}: no JSON object, but {type(card).__name__}; {_REMEDY}")
    problem = fault(card)
    if problem is not None:
        raise CardError(f"{path}: {problem}")
    return card


def completed(
    path: Path, card: Mapping[str, Any], config: Config, options: ExportOptions, tasks: Mapping[str, Any]
) -> dict[str, Any]:
    """The card, with entries for tasks that it does not name, and without canvases where the options set sizes.

    The classes are those of the weights. The name of the taxonomy, its colours and its left-right pairs are the card's;
    where it lacks them, those of the weights.

    Args:
        path: of the card, for messages.
        config: the recipe of the weights.
        options: of the export.
        tasks: for each task what is known about the weights, "trained" at least.

    Raises:
        CardError: its classes are not those of the weights, or its parsing task is of other ones.
    """
    own, said = config.model.taxonomy, taxonomy_of(card)
    if "taxonomy" in card and said.classes != own.classes:
        pairs = enumerate(zip_longest(map(repr, said.classes), map(repr, own.classes), fillvalue="no class"))
        row, (theirs, ours) = next((row, pair) for row, pair in pairs if pair[0] != pair[1])
        raise CardError(
            f"{path}: taxonomy {said.name}, but the weights have the {len(own)} classes of {own.name}: class {row} is "
            f"{theirs} in the card and {ours} in the weights; take taxonomy out of the card, the weights say it"
        )
    parts = card.get("tasks", {}).get("parsing", {}).get("taxonomy", own.name)
    if parts not in (own.name, said.name if "taxonomy" in card else own.name):
        raise CardError(
            f"{path}: tasks.parsing.taxonomy {parts!r}, but the weights have the classes of {own.name}; take it out of "
            "the card, the weights say it"
        )
    weights, taxonomy = write_taxonomy(own), card.get("taxonomy")
    if isinstance(weights, dict) and isinstance(taxonomy, Mapping):
        taxonomy = write_taxonomy(read_taxonomy({**weights, **taxonomy}))
    kept = {key: value for key, value in card.items() if not (options.sizes and key in _OF_SIZES)}
    return {**kept, "taxonomy": taxonomy or weights, "tasks": {**tasks, **card.get("tasks", {})}}


def digest_of(repository: Path) -> str:
    """`parsing_rcnn.card.WEIGHTS` of the graphs that lie in a repository."""
    digest = hashlib.sha256()
    for name, values in sorted(exported_weights(repository).items()):
        digest.update(f"{name} {list(values.shape)}\n".encode())
        digest.update(values.astype("<f4").tobytes())
    return digest.hexdigest()


def file_entry(repository: Path, path: Path) -> dict[str, Any]:
    """The card's entry of a file of weights that lies in a repository."""
    data = path.read_bytes()
    return {"file": str(path.relative_to(repository)), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def unfounded(card: Mapping[str, Any], tasks: Mapping[str, Any]) -> list[str]:
    """Tasks that a card calls trained, but `tasks`, which is what is known about the weights, does not."""
    known = {name for name, task in tasks.items() if task["trained"]}
    return [name for name, task in card["tasks"].items() if task["trained"] and name not in known]
