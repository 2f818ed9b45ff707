"""A file of others' weights in, weights and recipe of this network out, and what became of every tensor."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from training.checkpoint import save_weights
from training.config import Config
from training.importers.layouts import Source, misplaced, source_of, translate
from training.importers.translation import Tensors, Translation
from training.model.parsing_rcnn import build_model
from training.tensor_files import CheckpointError, read_tensors, some

SOURCES: tuple[str, ...] = ("auto", "detectron2", "torchvision", "zoo")
# parts of the network that each source has; the others begin anew without that being a fault
_PARTS: dict[Source, tuple[str, ...]] = {
    "detectron2": ("backbone", "fpn", "rpn", "box", "decoder", "densepose_trunk", "densepose_head"),
    "torchvision": ("backbone", "fpn", "rpn", "box"),
    "zoo": ("backbone", "fpn", "rpn", "box"),
}
_ZOO_BRANCHES = {
    "Parsing_RCNN.": ("parsing_trunk", "parsing_head"),
    "UV_RCNN.": ("densepose_trunk", "densepose_head"),
    "Keypoint_RCNN.": ("parsing_trunk",),
}


@dataclass(frozen=True)
class ImportReport:
    """What became of a checkpoint.

    Attributes:
        source: whose file it is; loaded: tensors of this network that were filled from it.
        missing: tensors that the file should hold and does not; unfit: those of another shape, with both shapes.
        misplaced: tensors of the file in layers that this network does not have: their parts begin anew.
        fresh: parts of this network that the source does not have.
        unused: tensors of the file that nothing here takes, by their first two names.
        remarks: where the two networks differ; written: whether there are weights now.
    """

    source: str
    loaded: int
    missing: tuple[str, ...]
    unfit: tuple[str, ...]
    misplaced: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: dict[str, int]
    remarks: tuple[str, ...]
    written: bool

    def text(self) -> str:
        """For people."""
        lines = [f"{self.source}: {self.loaded} tensors loaded"]
        for title, names in (
            ("missing in the file", self.missing),
            ("of another shape", self.unfit),
            ("of layers that this network does not have", self.misplaced),
        ):
            lines += [f"{title}: {some(names)}"] if names else []
        if self.fresh:
            lines.append(f"not in such files, to be trained: {', '.join(self.fresh)}")
        if self.unused:
            lines.append("of the file not used: " + ", ".join(f"{k} ({n})" for k, n in self.unused.items()))
        return "\n".join([*lines, *self.remarks])


def import_checkpoint(
    file: Path, out: Path, source: str = "auto", eps: float | None = None, *, partial: bool = False
) -> ImportReport:
    """Translate a checkpoint of detectron2's DensePose, of torchvision's detectors or of Parsing R-CNN's zoo.

    Args:
        file: see `training.tensor_files.read_tensors`.
        out: safetensors; its recipe is written beside it, as `training.checkpoint.save_weights` does.
        source: one of `SOURCES`.
        eps: of the file's batch norms (None: see `training.importers.layouts.translate`).
        partial: write although tensors are missing or of another shape, which begin as in a new network, and so do
            parts with layers that this network does not have.

    Raises:
        CheckpointError: not a file of weights, none of these sources, nothing in it fits, or it has layers that this
            network does not have; or `out` is no file for weights.
    """
    if out.suffix != ".safetensors":
        raise CheckpointError(f"{out}: weights are written as .safetensors, with their recipe beside them as .json")
    if out.resolve() == file.resolve():
        raise CheckpointError(f"{out}: this is the file that is read; name another --out")
    found = read_tensors(file)
    kind, translation = _translated(file, found, source, eps)
    other = misplaced(found, kind, translation.used)
    anew = {part for parts in other.values() for part in parts}
    if other and not partial:
        raise CheckpointError(
            f"{file}: layers that this network does not have, without which {', '.join(sorted(anew))} would compute "
            f"something else: {some(list(other))}; --partial writes the rest, and lets these parts begin anew"
        )
    torch.manual_seed(0)  # parts that begin anew begin the same each time
    model = build_model(translation.recipe.model)
    state = model.state_dict()
    unfit = [
        f"{name} {tuple(value.shape)} for {tuple(state[name].shape)}"
        if name in state
        else f"{name} (no such tensor here)"
        for name, value in translation.tensors.items()
        if name not in state or value.shape != state[name].shape
    ]
    fitting = {
        name: value
        for name, value in translation.tensors.items()
        if name in state and value.shape == state[name].shape and name.split(".")[0] not in anew
    }
    if not fitting:
        raise CheckpointError(f"{file}: nothing in it fits {kind}'s names; its first is {next(iter(found))!r}")
    held = [
        *_PARTS[kind],
        *(p for mark, parts in _ZOO_BRANCHES.items() if any(n.startswith(mark) for n in found) for p in parts),
    ]
    missing = [n for n in state if n.split(".")[0] in held and n not in translation.tensors]
    fresh = sorted({n.split(".")[0] for n in state} - set(held))
    unused = Counter(".".join(n.split(".")[:2]) for n in found if n not in translation.used)
    written = partial or not (missing or unfit)
    if written:
        model.load_state_dict(state | fitting)
        facts = {"source": kind, "file": file.name, "missing": missing, "unfit": unfit, "misplaced": list(other)}
        recipe = _trained(translation.recipe, set(state) - set(fitting))
        save_weights(out, model, recipe, {"imported": facts})
    return ImportReport(
        kind,
        len(fitting),
        tuple(missing),
        tuple(unfit),
        tuple(other),
        tuple(fresh),
        dict(unused),
        tuple(translation.remarks),
        written,
    )


def _translated(file: Path, found: Tensors, source: str, eps: float | None) -> tuple[Source, Translation]:
    try:
        kind: Source = source_of(found) if source == "auto" else source  # type: ignore[assignment]
        return kind, translate(found, kind, eps)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from error
    except (IndexError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{file}: a tensor has another number of dimensions than its name says") from error


def _trained(recipe: Config, anew: set[str]) -> Config:
    """The recipe, without the branches of which something begins anew."""
    parts = {name.split(".")[0] for name in anew}
    whole = {
        "parsing": not parts & {"parsing_trunk", "parsing_head"},
        "densepose": not parts & {"densepose_trunk", "densepose_head", "decoder"},
    }
    train = recipe.train.model_copy(update={key: getattr(recipe.train, key) and whole[key] for key in whole})
    return recipe.model_copy(update={"train": train})
