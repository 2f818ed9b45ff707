"""A file of others' weights in, weights and recipe of this network out, and what became of every tensor."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from training.checkpoint import CheckpointError, save_weights
from training.importers.files import read_tensors
from training.importers.layouts import Source, source_of, translate
from training.model.parsing_rcnn import build_model

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
        fresh: parts of this network that the source does not have.
        unused: tensors of the file that nothing here takes, by their first two names.
        remarks: where the two networks differ; written: whether there are weights now.
    """

    source: str
    loaded: int
    missing: tuple[str, ...]
    unfit: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: dict[str, int]
    remarks: tuple[str, ...]
    written: bool

    def text(self) -> str:
        """For people."""
        lines = [f"{self.source}: {self.loaded} tensors loaded"]
        for title, names in (("missing in the file", self.missing), ("of another shape", self.unfit)):
            lines += (
                [f"{title} ({len(names)}): {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"] if names else []
            )
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
        file: see `training.importers.files.read_tensors`.
        out: safetensors; its recipe is written beside it, as `training.checkpoint.save_weights` does.
        source: one of `SOURCES`.
        eps: of the file's batch norms (None: see `training.importers.layouts.translate`).
        partial: write although parts are missing; they begin as in a new network.

    Raises:
        CheckpointError: not a file of weights, none of these sources, or nothing in it fits.
    """
    found = read_tensors(file)
    kind: Source = source_of(found) if source == "auto" else source  # type: ignore[assignment]
    translation = translate(found, kind, eps)
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
    fitting = {n: v for n, v in translation.tensors.items() if n in state and v.shape == state[n].shape}
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
        facts = {"imported": {"source": kind, "file": file.name, "missing": missing, "unfit": unfit}}
        save_weights(out, model, translation.recipe, facts)
    return ImportReport(
        kind,
        len(fitting),
        tuple(missing),
        tuple(unfit),
        tuple(fresh),
        dict(unused),
        tuple(translation.remarks),
        written,
    )
