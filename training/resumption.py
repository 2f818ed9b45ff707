"""May a run go on from a checkpoint: what its recipe, its data and its steps have to have in common with it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from training.config import Config
from training.tensor_files import CheckpointError

_REMEDY = "take another --out, or --fresh; --warm-start begins a new run from its weights"
# keys of `train` that a run may change when it goes on; any other makes it another run
_MAY_CHANGE = {
    *("warm_start", "device", "autocast", "workers", "accumulate", "images_per_process"),
    *("checkpoint_every", "keep_every", "evaluate_every", "evaluate_pictures"),
    *("learning_rate", "backbone_learning_rate", "bias_rate", "weight_decay", "clip_norm"),
    *("iterations", "time_budget_minutes", "steps", "warmup", "warmup_start"),
}
# what a run begins from is read once, and a checkpoint stands in its place
_FREE = {"name", "model.pretrained", "model.backbone_weights", *(f"train.{key}" for key in _MAY_CHANGE)}
_MAY_MOVE = tuple(
    f"data.{key}" for key in ("annotated", "rendered", "scenes", "things", "pseudo_labels", "uv_symmetry")
)


def compare(
    path: Path, state: dict[str, Any], recipe: Config, pictures: int, counts: dict[str, list[int]]
) -> list[str]:
    """Refuse a checkpoint of another recipe, of other data, or of steps that saw more or fewer pictures.

    Data may lie elsewhere than it did: it is the same where it has as many pictures. Keys that the checkpoint does not
    have came later, and their defaults leave everything as it was.

    Args:
        path, state: of the checkpoint.
        recipe: of the run as it is now; pictures: of its steps; counts: of its data (`Mixture.counts`).

    Returns:
        What lies elsewhere, a sentence each.

    Raises:
        CheckpointError: naming what differs.
    """
    before, now = _flat(_completed(state["recipe"])), _flat(json.loads(recipe.digest_json()))
    counted: dict[str, list[int]] | None = state.get("counts")  # none: written before data could move
    changed = [key for key in sorted({*now, *before} - _FREE) if now.get(key) != before.get(key)]
    moved = [key for key in changed if key in _MAY_MOVE and counted is not None]
    other = [key for key in changed if key not in moved]
    if other:
        said = "; ".join(f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in other[:4])
        back = "" if len(other) > 4 else _going_back({key: before.get(key) for key in other if key in now})
        raise CheckpointError(f"{path}: a run of another recipe ({said}); {back}{_REMEDY}")
    grown = [key for key in _MAY_MOVE if counted is not None and counted.get(key) != counts.get(key)]
    if counted is not None and grown:
        said = "; ".join(f"{key} had {_said(counted.get(key))}, has {_said(counts.get(key))}" for key in grown)
        raise CheckpointError(f"{path}: a run on other data ({said}); {_REMEDY}")
    if state["pictures"] != pictures:
        raise CheckpointError(
            f"{path}: its steps saw {state['pictures']} pictures, and would see {pictures} now (processes x "
            f"train.images_per_process x train.accumulate); make these {state['pictures']} again, or {_REMEDY}"
        )
    return [f"{key} was {before.get(key)}, is {now.get(key)}: taken for the same, moved" for key in moved]


def _completed(recipe: str) -> Any:
    """A saved recipe with the defaults of what it does not say; as it is where it has keys that are no more."""
    try:
        return json.loads(Config.model_validate_json(recipe).digest_json())
    except ValidationError:
        return json.loads(recipe)


def _going_back(values: dict[str, Any]) -> str:
    """How to give keys of a recipe such values, for who wants to go on with the run as it was."""
    settings = " ".join(f"--set {shlex.quote(f'{key}={json.dumps(value)}')}" for key, value in values.items())
    return f"{settings} goes on with it as it was; " if settings else ""


def _said(counts: list[int] | None) -> str:
    return f"{' + '.join(map(str, counts))} pictures or files" if counts else "nothing"


def _flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    """{"section.key": value} of a recipe; what is drawn from is one value."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        inner = isinstance(value, dict) and key != "sources"
        found |= _flat(value, f"{above}{key}.") if inner else {f"{above}{key}": value}
    return found
