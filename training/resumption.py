"""Whether a run may go on from a checkpoint: its recipe, data and steps are compared with the checkpoint's."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from training.beginning import left_alone
from training.config import Config
from training.errors import CheckpointError

_REMEDY = "take another --out, or --fresh; --warm-start begins a new run from its weights"
# keys of `train` that a run may change when it goes on; any other makes it another run
_MAY_CHANGE = {
    *("warm_start", "device", "autocast", "workers", "accumulate", "images_per_process"),
    *("checkpoint_every", "keep_every", "evaluate_every", "evaluate_pictures"),
    *("learning_rate", "backbone_learning_rate", "bias_rate", "weight_decay", "clip_norm"),
    *("iterations", "time_budget_minutes", "steps", "warmup", "warmup_start"),
}
# keys that are not compared: those, and the name and what a run begins from, which the checkpoint has replaced
_FREE = {"name", "model.pretrained", "model.backbone_weights", *(f"train.{key}" for key in _MAY_CHANGE)}
_MAY_MOVE = tuple(
    f"data.{key}" for key in ("annotated", "rendered", "scenes", "things", "pseudo_labels", "uv_symmetry")
)


def compare(
    path: Path, state: dict[str, Any], recipe: Config, pictures: int, counts: dict[str, list[int]]
) -> list[str]:
    """Refuse a checkpoint of another recipe, of other data, or whose steps saw another number of pictures.

    Data may have moved: it counts as the same if it has as many pictures as before. Colours of part classes may change.
    Whether a branch that `train.only` leaves alone is trained does not count: the checkpoint says it. Keys that it
    lacks are newer than it, and have defaults under which everything computes as before.

    Args:
        path, state: of the checkpoint.
        recipe: of the run as it is now; pictures: how many its steps see; counts: of its data (`Mixture.counts`).

    Returns:
        A sentence for each dataset that has moved.

    Raises:
        CheckpointError: naming what differs.
    """
    before, now = _flat(_completed(state["recipe"])), _flat(json.loads(recipe.as_json()))
    counted: dict[str, list[int]] | None = state.get("counts")  # none: written before data could move
    free = _FREE | {f"train.{branch}" for branch in left_alone(recipe.train)}
    changed = [key for key in sorted({*now, *before} - free) if _learnt(now.get(key)) != _learnt(before.get(key))]
    moved = [key for key in changed if key in _MAY_MOVE and counted is not None]
    other = [key for key in changed if key not in moved]
    if other:
        differences = "; ".join(f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in other[:4])
        back = "" if len(other) > 4 else _going_back({key: before.get(key) for key in other if key in now})
        raise CheckpointError(f"{path}: a run of another recipe ({differences}); {back}{_REMEDY}")
    grown = [key for key in _MAY_MOVE if counted is not None and counted.get(key) != counts.get(key)]
    if counted is not None and grown:
        differences = "; ".join(f"{key} had {_sizes(counted.get(key))}, has {_sizes(counts.get(key))}" for key in grown)
        raise CheckpointError(f"{path}: a run on other data ({differences}); {_REMEDY}")
    if state["pictures"] != pictures:
        raise CheckpointError(
            f"{path}: its steps saw {state['pictures']} pictures, and would see {pictures} now (processes x "
            f"train.images_per_process x train.accumulate); make these {state['pictures']} again, or {_REMEDY}"
        )
    return [f"{key} was {before.get(key)}, is {now.get(key)}: taken for the same, moved" for key in moved]


def _completed(recipe: str) -> Any:
    """A saved recipe, with defaults for the keys that it lacks. Where it has keys that no longer exist, unchanged."""
    try:
        return json.loads(Config.model_validate_json(recipe).as_json())
    except ValidationError:
        return json.loads(recipe)


def _going_back(values: dict[str, Any]) -> str:
    """The --set options that give these keys their old values, to go on with the run as it was."""
    settings = " ".join(f"--set {shlex.quote(f'{key}={json.dumps(value)}')}" for key, value in values.items())
    return f"{settings} goes on with it as it was; " if settings else ""


def _sizes(counts: list[int] | None) -> str:
    return f"{' + '.join(map(str, counts))} pictures or files" if counts else "nothing"


def _learnt(value: Any) -> Any:
    """A value of a recipe without what nothing is learnt from: the colours of part classes."""
    return {k: v for k, v in value.items() if k != "colours"} if isinstance(value, dict) else value


def _flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    """A recipe as {"section.key": value}; `data.sources` and `model.taxonomy` stay one value each."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        inner = isinstance(value, dict) and key not in ("sources", "taxonomy")
        found |= _flat(value, f"{above}{key}.") if inner else {f"{above}{key}": value}
    return found
