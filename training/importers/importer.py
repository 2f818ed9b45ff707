"""Import a file of others' weights: write weights and recipe of this network, and report on every tensor."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from training.checkpoint import save_weights
from training.config import Config
from training.errors import CheckpointError
from training.importers.layouts import Source, misplaced, parts_of, source_of, translate
from training.importers.translation import Tensors, Translation
from training.model.parsing_rcnn import ParsingRCNN, build_model
from training.tensor_files import read_tensors, some

SOURCES: tuple[Source | Literal["auto"], ...] = ("auto", "detectron2", "torchvision", "zoo")


@dataclass(frozen=True)
class ImportReport:
    """What became of the tensors of a checkpoint.

    Attributes:
        source: whose file it is.
        loaded: how many tensors of this network were filled from it.
        missing: tensors that the file should hold and does not.
        unfit: tensors of another shape, with both shapes.
        misplaced: tensors of the file in layers that this network does not have: their parts begin anew.
        fresh: parts of this network that the source does not have.
        unused: how many tensors of the file are not used, by the first two parts of their names.
        remarks: where the two networks differ.
        written: whether weights were written.
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
        """The report in lines for people."""
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
    file: Path, out: Path, source: Source | Literal["auto"] = "auto", eps: float | None = None, *, partial: bool = False
) -> ImportReport:
    """Translate a checkpoint of detectron2's DensePose, of torchvision's detectors or of Parsing R-CNN's zoo.

    Args:
        file: see `training.tensor_files.read_tensors`.
        out: safetensors; its recipe is written beside it, as `training.checkpoint.save_weights` does.
        source: one of `SOURCES`.
        eps: of the file's batch norms (None: see `training.importers.layouts.translate`).
        partial: write even if tensors are missing or of another shape, or parts have layers that this network does not
            have; these begin as in a new network.

    Raises:
        CheckpointError: `file` is no file of weights, is of none of these sources, fits nowhere, or has layers that
            this network does not have; or `out` is no name for weights.
    """
    if out.suffix != ".safetensors":
        raise CheckpointError(f"{out}: weights are written as .safetensors, with their recipe beside them as .json")
    if out.resolve() == file.resolve():
        raise CheckpointError(f"{out}: this is the file that is read; name another --out")
    found = read_tensors(file)
    kind, translation = _translated(file, found, source, eps)
    unknown = misplaced(found, kind, translation.used)
    anew = {part for parts in unknown.values() for part in parts}
    if unknown and not partial:
        raise CheckpointError(
            f"{file}: layers that this network does not have, without which {', '.join(sorted(anew))} would compute "
            f"something else: {some(list(unknown))}; --partial writes the rest, and lets these parts begin anew"
        )
    torch.manual_seed(0)  # parts that begin anew begin the same each time
    model = build_model(translation.recipe.model)
    match = _match(model.state_dict(), found, kind, translation, anew)
    if not match.fitting:
        raise CheckpointError(f"{file}: nothing in it fits {kind}'s names; its first is {next(iter(found))!r}")
    written = partial or not (match.missing or match.unfit)
    if written:
        facts = {"source": kind, "file": file.name, "missing": match.missing, "unfit": match.unfit}
        _write(out, model, translation.recipe, match.fitting, {**facts, "misplaced": list(unknown)})
    return ImportReport(
        source=kind,
        loaded=len(match.fitting),
        missing=tuple(match.missing),
        unfit=tuple(match.unfit),
        misplaced=tuple(unknown),
        fresh=tuple(match.fresh),
        unused=match.unused,
        remarks=tuple(translation.remarks),
        written=written,
    )


@dataclass(frozen=True)
class _Match:
    """Tensors of a file beside those of the network.

    Attributes:
        fitting: the network's name -> value, of those that are taken.
        missing, unfit, fresh, unused: as in `ImportReport`.
    """

    fitting: dict[str, Tensor]
    missing: list[str]
    unfit: list[str]
    fresh: list[str]
    unused: dict[str, int]


def _match(state: Tensors, found: Tensors, kind: Source, translation: Translation, anew: set[str]) -> _Match:
    """Compare names and shapes.

    Args:
        state: of the network; found: of the file, by its own names.
        anew: parts of the network that take nothing from the file.
    """
    fitting, unfit = {}, []
    for name, value in translation.tensors.items():
        if name not in state:
            unfit.append(f"{name} (no such tensor here)")
        elif value.shape != state[name].shape:
            unfit.append(f"{name} {tuple(value.shape)} for {tuple(state[name].shape)}")
        elif _part(name) not in anew:
            fitting[name] = value
    held = parts_of(found, kind)
    return _Match(
        fitting,
        missing=[name for name in state if _part(name) in held and name not in translation.tensors],
        unfit=unfit,
        fresh=sorted({_part(name) for name in state} - held),
        unused=dict(Counter(".".join(name.split(".")[:2]) for name in found if name not in translation.used)),
    )


def _part(name: str) -> str:
    """The part of the network that a tensor is of: backbone, fpn, rpn and so on."""
    return name.partition(".")[0]


def _write(out: Path, model: ParsingRCNN, recipe: Config, fitting: Tensors, facts: dict[str, object]) -> None:
    """Fill a new network, and write its weights with their recipe."""
    state = model.state_dict()
    model.load_state_dict({**state, **fitting})
    save_weights(out, model, _trained(recipe, set(state) - set(fitting)), {"imported": facts})


def _translated(
    file: Path, found: Tensors, source: Source | Literal["auto"], eps: float | None
) -> tuple[Source, Translation]:
    try:
        kind = source_of(found) if source == "auto" else source
        return kind, translate(found, kind, eps)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from error
    except (IndexError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{file}: a tensor has another number of dimensions than its name says") from error


def _trained(recipe: Config, anew: set[str]) -> Config:
    """The recipe without branches that are not complete: their tasks count as not trained."""
    parts = {_part(name) for name in anew}
    whole = {
        "parsing": not parts & {"parsing_trunk", "parsing_head"},
        "densepose": not parts & {"densepose_trunk", "densepose_head", "decoder"},
    }
    train = recipe.train.model_copy(update={key: getattr(recipe.train, key) and whole[key] for key in whole})
    return recipe.model_copy(update={"train": train})
