"""Reading files of weights that others wrote, without running any code that they may contain."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from training.arrays_only import ArraysOnly
from training.errors import CheckpointError

# what readers raise for files that are cut off, altered or malicious; none of their code is run in any case
_BROKEN = (
    pickle.UnpicklingError, SafetensorError, EOFError, ValueError, TypeError, AttributeError, LookupError,
    ArithmeticError, MemoryError, RecursionError, ImportError, AssertionError,
)  # fmt: skip
_WRAPPERS = ("model", "state_dict", "model_state_dict")
_NAMED = 8  # tensors that a message names


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of a .pkl (detectron2), .pth or .pt (torch) or .safetensors file, fp32 on the CPU.

    Wrappers ({"model": ...}, names that begin with "module.") are taken off, and whatever lies beside the weights, such
    as the state of an optimiser, is not returned.

    Raises:
        CheckpointError: no such file, not one of these, or one that asks to run code.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    found: Any
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        elif path.suffix == ".pkl":
            with path.open("rb") as file:
                found = ArraysOnly(file, encoding="latin1").load()
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except _BROKEN as error:
        raise CheckpointError(
            f"{path}: not a file of weights alone, and nothing else is read from it: {reason(error)}"
        ) from error
    except (RuntimeError, OSError) as error:  # what torch calls a broken archive
        raise CheckpointError(f"{path}: broken or cut off: {str(error).splitlines()[0]}") from error
    while isinstance(found, Mapping):
        inner = next((found[key] for key in _WRAPPERS if isinstance(found.get(key), Mapping)), None)
        if inner is None:
            break
        found = inner
    tensors = _tensors(found, path) if isinstance(found, Mapping) else {}
    if not tensors:
        raise CheckpointError(f"{path}: holds no named tensors")
    return {name.removeprefix("module."): value for name, value in tensors.items()}


def reason(error: Exception) -> str:
    """What a reader found wrong, in one line, without torch's advice on how to let the file run its code."""
    lines = [line.split("WeightsUnpickler error:")[-1].split(" Please use ")[0] for line in str(error).splitlines()]
    useful = [line.strip() for line in lines if "weights_only" not in line and not line.startswith("Weights only load")]
    return next((line for line in useful if line), type(error).__name__)


def some(names: Sequence[str]) -> str:
    """The first of many names, and how many there are."""
    return f"{', '.join(names[:_NAMED])}{', ...' if len(names) > _NAMED else ''} ({len(names)})"


def _tensors(found: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    tensors = {}
    for name, given in found.items():
        array = isinstance(given, np.ndarray) and given.dtype.kind in "fiu"
        value = torch.from_numpy(np.array(given)) if array else given
        if isinstance(name, str) and isinstance(value, Tensor):
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise CheckpointError(f"{path}: {name} holds values that are no finite numbers")
            tensors[name] = value.float() if value.is_floating_point() else value
    return tensors
