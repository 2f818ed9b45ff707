"""The parity report: torch and every installed runtime, each compared with each, in every situation.

The report fails where a pair is beyond its limits (`export.parity.backends.TOLERANCES`). Those of fp32 are strict;
those of reduced precisions are wide enough for their rounding and narrow enough to show a broken graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from export.onnx import stored_in_half
from export.parity.backends import MIOU_TOLERANCES, TOLERANCES, Backend, open_backends, precision_of, tolerance_of
from export.parity.comparison import Tensors, answers, compare
from export.parity.situations import Situation, photo_situation, rendered_situations
from parsing_rcnn.pipeline import GraphPipeline
from parsing_rcnn.repository import ModelRepository
from training.checkpoint import load_model, load_weights
from training.data.sources import LabelledPhotos
from training.evaluation.evaluate import Evaluation, measure_photos, refuse_other_classes
from training.model.parsing_rcnn import ParsingRCNN
from training.progress import Progress

# name of a backend -> for each situation its answers, picture by picture; None where it does not take such canvases
Answers = dict[str, list[list[Tensors] | None]]


def verify(
    repository: Path | None,
    photos: Path | None = None,
    count: int = 24,
    checkpoint: Path | None = None,
    *,
    also: Sequence[Path] = (),
    data: Path | None = None,
    situations: Sequence[Situation] | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], Answers, list[Situation]]:
    """Run torch and every installed runtime over all situations.

    Args:
        repository: the model files, fp32; None: the shipped ones.
        photos: a folder of JPEGs, searched recursively, as one more situation. count: how many of them at most.
        checkpoint: weights for torch instead of those read back from the repository; they are rounded to fp16 as the
            export rounds them.
        also: repositories with the same weights in another precision.
        data: a folder that holds ccp/ with labels: also measure mIoU on its validation photos, and how it changes.
        situations: what to run instead of the rendered ones.
        progress: wraps what is iterated over, with a text.

    Returns:
        the report; all answers; and the situations, which pictures of the differences need.
    """
    opened = ModelRepository.open(repository)
    if data is not None:
        refuse_other_classes(opened.taxonomy)
        LabelledPhotos.open(data / "ccp", validation=True)  # what it lacks is said before the work
    model, _ = load_model(opened.path)
    if checkpoint is not None:
        _load_rounded(checkpoint, model)
    backends, absent = open_backends(model, [opened, *(ModelRepository.open(path) for path in also)])
    seen = list(rendered_situations(opened.canvases) if situations is None else situations)
    if photos is not None:
        seen.append(photo_situation(opened, photos, count))
    wrapped = progress or (lambda items, _: items)
    found = {
        backend.name: [_run(backend, situation) for situation in wrapped(seen, backend.name)] for backend in backends
    }
    for name, by_situation in found.items():
        left_out = [situation.name for situation, answer in zip(seen, by_situation, strict=True) if answer is None]
        if left_out:
            absent[f"{name} in {', '.join(left_out)}"] = "no profile of its engine holds these canvases"
    pairs = [_pair(a, b, found, seen) for a, b in combinations(backends, 2)]
    miou = None if data is None else _miou(opened, backends, data, wrapped)
    runtimes = [b for b in backends[1:] if b.precision == "fp32"]
    document = {
        "model": {"name": opened.card["name"], "version": opened.card["version"], "precision": precision_of(opened)},
        "reference": backends[0].name,
        "situations": [_described(s, found[backends[0].name][i]) for i, s in enumerate(seen)],
        "tolerances": {name: asdict(t) for name, t in TOLERANCES.items()},
        "miou_tolerances": MIOU_TOLERANCES,
        "backends": [{"name": b.name, "precision": b.precision} for b in backends],
        "absent": absent,
        "pairs": pairs,
        "miou": miou,
        "passed": bool(runtimes) and all(p["held"] for p in pairs) and (miou is None or all(m["held"] for m in miou)),
    }
    return document, found, seen


def _run(backend: Backend, situation: Situation) -> list[Tensors] | None:
    """The answers for each canvas; None where the backend does not take one of them."""
    if not all(backend.takes(canvas.shape) for canvas in situation.canvases):
        return None
    return answers(backend.graphs, situation.canvases, situation.limits)


def _described(situation: Situation, reference: Sequence[Tensors] | None) -> dict[str, Any]:
    """The situation for the report."""
    sizes = sorted({canvas.shape[:2] for canvas in situation.canvases})
    return {
        "name": situation.name,
        "rendered": situation.rendered,
        "canvases": [list(size) for size in sizes],
        "pictures": len(situation.canvases),
        "people_wanted": situation.people,
        "people_found": sum(len(found["BOXES"]) for found in reference or ()),
    }


def _pair(first: Backend, second: Backend, found: Answers, seen: Sequence[Situation]) -> dict[str, Any]:
    """The differences of two backends: in each situation that both take, and in all of these, which limits are for."""
    every = zip(seen, found[first.name], found[second.name], strict=True)
    both = [(s.name, a, b) for s, a, b in every if a is not None and b is not None]
    tolerance = tolerance_of(first, second)
    whole = compare([t for _, a, _ in both for t in a], [t for _, _, b in both for t in b])
    return {
        "first": first.name,
        "second": second.name,
        "precision": first.precision if second.precision == "fp32" else second.precision,
        "difference": asdict(whole),
        "situations": {name: asdict(compare(a, b)) for name, a, b in both},
        "held": whole.people > 0 and whole.within(tolerance),
    }


def _miou(
    repository: ModelRepository, backends: Sequence[Backend], data: Path, progress: Progress
) -> list[dict[str, Any]]:
    """mIoU of every backend on the labelled validation photos, and its change from the reference."""
    rows: list[dict[str, Any]] = []
    for backend in backends:
        analyzer = GraphPipeline(backend.graphs, repository.info(backend.name), repository.taxonomy)
        figures = measure_photos(analyzer, data, progress, Evaluation())
        change = figures["miou"] - (rows[0]["miou"] if rows else figures["miou"])
        rows.append(
            {
                "name": backend.name,
                "photos": figures["pictures"],
                "miou": figures["miou"],
                "change": change,
                # a coarser precision may gain by chance; fp32 may not change in either direction
                "held": (abs(change) if backend.precision == "fp32" else -change) <= MIOU_TOLERANCES[backend.precision],
            }
        )
    return rows


def _load_rounded(checkpoint: Path, model: ParsingRCNN) -> None:
    """Load weights of a run, or of another model repository, into the model, rounded as the export rounds them.

    Raises:
        CheckpointError: no such checkpoint, or its tensors do not fit.
    """
    load_weights(checkpoint, model)
    for value in model.state_dict().values():
        if value.dtype == torch.float32 and stored_in_half(value.shape):
            value.copy_(value.half())
