"""Checkpoints: a folder with safetensors for tensors and JSON for the rest. Loading never unpickles code."""

from __future__ import annotations

import json
import pickle
import shlex
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from parsing_rcnn import __version__
from parsing_rcnn.repository import CARD
from training.config import Config
from training.errors import CheckpointError
from training.files import replacing, write_text
from training.model.parsing_rcnn import ParsingRCNN, build_model
from training.tensor_files import reason

# by which modules each exported graph calls its weights (export/graphs.py), and by which the network does
_GRAPHS = {
    "detector": {"model.": "", "box.branch.": "box."},
    "parsing": {"trunk.": "parsing_trunk.", "head.": "parsing_head."},
    "densepose_head": {"trunk.": "densepose_trunk.", "head.": "densepose_head."},
}


_WEIGHTS, _STATE = "weights.safetensors", "state.pt"  # what a run writes
_KEYPOINTS = "keypoint_head."
_TRUNKS = ("parsing_trunk.", "densepose_trunk.")
_HEADS = ("parsing_head.", "densepose_head.")
_CLASS_LAYER = "parsing_head.up.deconv."
_CLASS_BIAS = f"{_CLASS_LAYER}bias"  # one number a part class
# keys of `model` that change what the same tensors compute
_ARITHMETIC = (
    "pixel_mean", "rpn.levels", "rpn.anchor_sizes", "rpn.ratios", "rpn.anchor_offset", "rpn.round_anchors",
    "rpn.round_at_stride", "box.levels",
)  # fmt: skip


def save_weights(path: Path, model: nn.Module, config: Config, facts: dict[str, Any]) -> None:
    """Write `path` (safetensors) and `path` with .json: recipe, facts of the run, and of which version of the code.

    Replaces atomically.

    Raises:
        OutputError: they could not be written; what was there is whole.
    """
    tensors = {k: v.detach().contiguous().clone() for k, v in model.state_dict().items()}
    document = {"version": __version__, "revision": revision(), "config": config.model_dump(mode="json"), **facts}
    data = save(tensors)  # safetensors' own files are for their owner alone, whatever the umask
    with replacing(path) as partial:
        partial.write_bytes(data)
        write_text(path.with_suffix(".json"), json.dumps(document, indent=1))


@lru_cache(maxsize=1)
def revision() -> str | None:
    """The commit of the clone that this file lies in, with `-dirty` where it was changed; None outside of a clone."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def load_weights(path: Path, model: nn.Module, *, other_classes: bool = False) -> list[str]:
    """Read weights into a network of the same recipe, or into one that begins from keypoints.

    A network that was trained on keypoints (`model.keypoints`) gives one without them what they share (paper 4.1):
    backbone, pyramid, proposals, boxes and `parsing_trunk`, which `densepose_trunk` takes too, under its own name. The
    heads behind the trunks begin anew, whatever their classes.

    Args:
        path: what `save_weights` wrote, or the folder of a model repository: what serves is where training can go on
            (its weights are rounded to fp16).
        model: filled.
        other_classes: the weights may be of other part classes: of more or fewer, or by the recipe that lies with them
            of others or in another order. The layers of `parsing_head` that hang on them begin anew.

    Returns:
        The tensors that begin anew since the classes are others.

    Raises:
        CheckpointError: no such file, its tensors do not fit, or the recipe beside it cannot be read.
    """
    _refuse_other_places(path)
    if path.is_dir():
        state = _exported(path, model)
    else:
        try:
            state = load_file(path)
        except SafetensorError as error:
            raise CheckpointError(
                f"{path}: no safetensors, or cut off ({error}); bring other files in by `parsing-rcnn import`"
            ) from error
    keypoints = any(name.startswith(_KEYPOINTS) for name in state)
    if keypoints:
        state = _after_keypoints(state, model.state_dict())
    anew = _of_other_classes(state, model.state_dict()) if other_classes else {}
    if other_classes and not anew and not keypoints and isinstance(model, ParsingRCNN) and has_recipe(path):
        before, now = load_recipe(path).model.taxonomy, model.config.taxonomy
        if before.classes != now.classes:  # as many
            anew = {name: value for name, value in model.state_dict().items() if name.startswith(_CLASS_LAYER)}
    state |= anew
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: the tensors do not fit this recipe: {error}") from error
    return list(anew)


def _refuse_other_places(path: Path) -> None:
    """Refuse what is no checkpoint, and name the one that lies there.

    Raises:
        CheckpointError: nothing is at `path`, or the folder of a run, or its state.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint")
    repository = (path / CARD).is_file() or any((path / name).is_dir() for name in _GRAPHS)
    if path.name == _STATE:
        what, weights = "what a run goes on from", path.parent / _WEIGHTS
    elif path.is_dir() and not repository:
        what, weights = "a folder without the graphs of a model repository", path / _WEIGHTS
    else:
        return
    remedy = f"take {weights}" if weights.is_file() else f"take the {_WEIGHTS} of a run, or a model repository"
    raise CheckpointError(f"{path}: {what}; {remedy}")


def _of_other_classes(state: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The network's own tensors of `parsing_head` that differ from the weights' in the number of classes alone."""
    there, here = (len(tensors[_CLASS_BIAS]) if _CLASS_BIAS in tensors else 0 for tensors in (state, own))
    found = {}
    for name, value in own.items():
        given = state.get(name)
        if not name.startswith(_HEADS[0]) or given is None or given.dim() != value.dim():
            continue
        other = {pair for pair in zip(given.shape, value.shape, strict=True) if pair[0] != pair[1]}
        if other == {(there, here)}:
            found[name] = value
    return found


def _after_keypoints(state: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    if any(name.startswith(_KEYPOINTS) for name in own):
        return state  # goes on with keypoints
    shared = {name: value for name, value in state.items() if not name.startswith((*_HEADS, _KEYPOINTS, _TRUNKS[1]))}
    for name, value in state.items():
        if name.startswith(_TRUNKS[0]):
            shared[_TRUNKS[1] + name.removeprefix(_TRUNKS[0])] = value
    return {name: value for name, value in own.items() if name.startswith(_HEADS)} | shared


def load_recipe(path: Path) -> Config:
    """The recipe beside a checkpoint, or in the card of a model repository.

    Raises:
        CheckpointError: there is no such checkpoint, the JSON file is absent, or it holds no recipe.
    """
    _refuse_other_places(path)
    beside, key = (path / CARD, "recipe") if path.is_dir() else (path.with_suffix(".json"), "config")
    if not beside.is_file():
        raise CheckpointError(f"{beside}: the recipe beside the checkpoint is missing")
    try:
        return Config.model_validate(json.loads(beside.read_text(encoding="utf-8"))[key])
    except (ValueError, KeyError, TypeError) as error:
        said = str(error).splitlines()[:3]
        raise CheckpointError(f"{beside}: holds no {key} that this version reads: {' '.join(said)}") from error


def has_recipe(path: Path) -> bool:
    """Whether a recipe lies beside weights; in a model repository it is in the card."""
    return path.is_dir() or path.with_suffix(".json").is_file()


def compare_recipes(path: Path, config: Config) -> None:
    """Refuse weights of a network of the same shapes that computes otherwise, by the recipe that lies with them.

    Weights without a recipe are taken as they are. Keys of the branch count where the weights' branch was trained.

    Args:
        path: as of `load_weights`; config: of the network that they begin.

    Raises:
        CheckpointError: naming what differs, and what makes it equal; or a recipe that cannot be read.
    """
    if not has_recipe(path):
        return
    before, now = load_recipe(path), config
    keys = [*_ARITHMETIC, *(["stride_in_1x1"] if now.model.backbone.startswith("res") else [])]
    if before.train.parsing or before.train.densepose or before.model.keypoints:
        keys += ["branch.roi_size", *([] if now.model.branch.decoder else ["branch.levels"])]
        keys += ["branch.aspp_rates"] if now.model.branch.context in ("gce", "aspp") else []
        keys += ["branch.pool_keys"] if now.model.branch.context in ("gce", "non_local") else []
    if now.model.share_trunk and before.train.parsing and not before.model.keypoints:
        keys += ["share_trunk"]  # one of two trunks would take the place of the other
    was, is_ = ({key: _value(recipe, key) for key in keys} for recipe in (before, now))
    other = [key for key in keys if was[key] != is_[key]]
    if other:
        said = "; ".join(f"model.{key} is {was[key]} there and {is_[key]} here" for key in other)
        settings = " ".join(f"--set {shlex.quote(f'model.{key}={was[key]}')}" for key in other)
        raise CheckpointError(
            f"{path}: weights of a network that computes otherwise, though its tensors fit: {said}; make this one the "
            f"same ({settings}), or begin from other weights"
        )


def _value(recipe: Config, key: str) -> str:
    """Of a key of the network, as it stands in a recipe."""
    value: Any = recipe.model.model_dump(mode="json")
    for part in key.split("."):
        value = value[part]
    return json.dumps(value, separators=(",", ":"))


def load_model(path: Path) -> tuple[ParsingRCNN, Config]:
    """The network and the recipe of a checkpoint, or of a model repository.

    Raises:
        CheckpointError: see `load_recipe` and `load_weights`.
    """
    config = load_recipe(path)
    model = build_model(config.model).eval()
    load_weights(path, model)
    return model, config


def _exported(repository: Path, model: nn.Module) -> dict[str, Tensor]:
    """The weights of a repository; batch norms count on from where the network stands."""
    state = {name: value for name, value in model.state_dict().items() if name.endswith("num_batches_tracked")}
    return state | {name: torch.from_numpy(values) for name, values in exported_weights(repository).items()}


def exported_weights(repository: Path) -> dict[str, NDArray[np.float32]]:
    """The initializers of a repository's graphs by the network's names.

    Raises:
        CheckpointError: a graph is not there.
    """
    import onnx  # only here: training reads no other graphs

    found = {}
    for graph, modules in _GRAPHS.items():
        path = repository / graph / "1" / "model.onnx"
        if not path.is_file():
            raise CheckpointError(f"{path}: no such graph; a model repository holds {', '.join(_GRAPHS)}")
        for tensor in onnx.load(path).graph.initializer:
            for prefix, module in modules.items():
                if tensor.name.startswith(prefix):
                    values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
                    found[module + tensor.name.removeprefix(prefix)] = values
    return {name: values for name, values in found.items() if name not in ("mean", "std")}


def save_state(path: Path, state: dict[str, Tensor | Any]) -> None:
    """Optimiser and random state, replaced atomically.

    Raises:
        OutputError: it could not be written; what was there is whole.
    """
    with replacing(path) as partial, partial.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch says how far it came, and not why no further
                raise error.__context__ from error
            raise


def load_state(path: Path) -> dict[str, Any]:
    """The state of `save_state`; tensors and plain containers only, never code.

    Raises:
        CheckpointError: not such a file, or cut off.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise CheckpointError(f"{path}: no state of a run, or cut off: {reason(error)}; --fresh begins anew") from error
    return state
