"""Checkpoints: a folder with safetensors for tensors and JSON for the rest. Loading never unpickles code."""

from __future__ import annotations

import json
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from parsing_rcnn import __version__
from training.config import Config


class CheckpointError(ValueError):
    """A checkpoint is absent or does not fit the network; the message names the file."""


def save_weights(path: Path, model: nn.Module, config: Config, facts: dict[str, Any]) -> None:
    """Write `path` (safetensors) and `path` with .json: recipe, facts of the run, and of which version of the code.

    Replaces atomically.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().contiguous().clone() for k, v in model.state_dict().items()}
    document = {"version": __version__, "revision": revision(), "config": config.model_dump(mode="json"), **facts}
    partial = path.with_suffix(".partial")
    save_file(tensors, partial)
    path.with_suffix(".json").write_text(json.dumps(document, indent=1))
    partial.replace(path)


@lru_cache(maxsize=1)
def revision() -> str | None:
    """The commit of the clone that this file lies in, with `-dirty` where it was changed; None outside of a clone."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def load_weights(path: Path, model: nn.Module) -> None:
    """Read weights into a network of the same recipe.

    Raises:
        CheckpointError: no such file, or its tensors do not fit.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        model.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise CheckpointError(f"{path}: the tensors do not fit this recipe: {error}") from error


def load_recipe(path: Path) -> Config:
    """The recipe beside a checkpoint.

    Raises:
        CheckpointError: the JSON file is absent.
    """
    beside = path.with_suffix(".json")
    if not beside.is_file():
        raise CheckpointError(f"{beside}: the recipe beside the checkpoint is missing")
    return Config.model_validate(json.loads(beside.read_text())["config"])


def save_state(path: Path, state: dict[str, Tensor | Any]) -> None:
    """Optimiser and random state, replaced atomically."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def load_state(path: Path) -> dict[str, Any]:
    """The state of `save_state`; tensors and plain containers only, never code."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
