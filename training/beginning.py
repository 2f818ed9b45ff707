"""What a run begins from, and which branches that leaves trained: both are recorded beside its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from parsing_rcnn.card import CARD, fault, read
from training.checkpoint import has_recipe, load_recipe
from training.config import Config, TrainConfig
from training.errors import CheckpointError, ConfigError

_BRANCHES = ("parsing", "densepose")


def refuse_random_rest(train: TrainConfig) -> None:
    """Refuse to train one part on weights that nobody has trained.

    Args:
        train: of a run that begins from ImageNet's weights or none.

    Raises:
        ConfigError: it has `train.only`.
    """
    if train.only is not None:
        raise ConfigError(
            f"train.only={train.only} trains one part on the rest as it is, and nothing says whose weights that has: "
            "begin from trained ones (--warm-start model_repository, or train.warm_start), or leave train.only out"
        )


def left_alone(train: TrainConfig) -> tuple[str, ...]:
    """The branches that learn nothing because of `train.only`, whatever else the recipe says of them."""
    return () if train.only is None else tuple(branch for branch in _BRANCHES if branch != train.only)


def recorded(config: Config, warm_start: Path, *, other_classes: bool) -> Config:
    """The recipe of a run that begins from weights, as it is recorded.

    It names them. Of the branches that are left alone it trains those that the weights have trained, by the recipe
    or the card beside them; where neither is there, what it says itself.

    Args:
        other_classes: the last layer of `parsing_head` begins anew.

    Raises:
        CheckpointError: the recipe or the card cannot be read.
    """
    there = _trained(warm_start) | ({"parsing": False} if other_classes else {})
    kept = {branch: there.get(branch, getattr(config.train, branch)) for branch in left_alone(config.train)}
    return _with(config, {**kept, "warm_start": _place(warm_start)})


def recalled(config: Config, saved: str) -> Config:
    """The recipe of a run that goes on, with what `recorded` said when it began.

    Args:
        saved: the recipe of its checkpoint, as JSON.
    """
    before = json.loads(saved)["train"]
    began = before.get("warm_start")
    kept = {branch: before[branch] for branch in left_alone(config.train) if branch in before}
    return _with(config, {**kept, "warm_start": None if began is None else Path(began)})


def _with(config: Config, update: dict[str, Any]) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update=update)})


def _trained(weights: Path) -> dict[str, bool]:
    """Whether each branch is trained in weights; nothing where neither a recipe nor a card lies with them."""
    if not has_recipe(weights):
        return {}
    train = load_recipe(weights).train
    found = {branch: getattr(train, branch) for branch in _BRANCHES}
    if weights.is_dir():
        card = read(weights / CARD)
        if (said := fault(card)) is not None:
            raise CheckpointError(f"{weights / CARD}: {said}")
        found |= {name: bool(task["trained"]) for name, task in card.get("tasks", {}).items()}
    return found


def _place(weights: Path) -> Path:
    """A path for others to read: of an absolute one, the name, and the name of the run that a file lies in."""
    if not weights.is_absolute():
        return weights
    return Path(weights.name) if weights.is_dir() else Path(*weights.parts[-2:])
