"""`parsing-rcnn evaluate`: measure, write what comes of it, and print the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parsing_rcnn.analyzer import Analyzer
from parsing_rcnn.card import taxonomy_of
from parsing_rcnn.errors import InvalidOptions
from training.data.datasets.check import find_datasets
from training.evaluation.datasets import evaluate_dataset, open_surface
from training.evaluation.evaluate import Evaluation, evaluate, model_facts
from training.evaluation.report import print_datasets, print_table, write_datasets, write_report
from training.files import make_folder
from training.metrics.confusion import MissingPredictions
from training.metrics.smpl import SmplSurface
from training.progress import progress_bar


def run_evaluate(
    analyzer: Analyzer,
    data: Path,
    crowd: Path | None = None,
    synthetic: Path | None = None,
    out: Path = Path("out/evaluation"),
) -> Evaluation:
    """The command on the project's own sets: writes evaluation.md, results.json and sheets to `out`, prints the table.

    Raises:
        DatasetError: none of the sets is there, or one is damaged.
        OutputError: `out` cannot be written.
    """
    make_folder(out)
    with progress_bar() as progress:
        result = evaluate(analyzer, data, crowd, synthetic, progress)
    write_report(result, out, analyzer, synthetic)
    print_table(result)
    return result


def run_datasets(
    analyzer: Analyzer,
    path: Path,
    images: Path | None,
    surface: Path | None,
    out: Path,
    missing_predictions: MissingPredictions = "background",
    *,
    exact: bool = False,
) -> dict[str, dict[str, Any]]:
    """The command on published datasets: the splits that their authors keep for measuring, or all if there is none.

    Args:
        path: a folder or an annotation file that `parsing-rcnn datasets check` knows.
        images: the pictures of an annotation file.
        surface: what GPS is measured on: surface.npz of `parsing-rcnn render`, or a folder with SMPL's files.
        exact: paste parts by their probabilities and over each other by score, and rank people by the score of the box,
            as the authors do.

    Returns:
        figures by split, also written to `out`/datasets.json, beside plots and a sheet of the worst pictures of each.

    Raises:
        DatasetError: nothing that is known is at `path`, a picture is broken, or the surface is not readable.
        OutputError: `out` cannot be written.
        InvalidOptions: `exact` with a server as the analyzer, or mirrored views on SMPL's charts without their table.
    """
    make_folder(out)
    body = open_surface(surface) if surface is not None else None
    if isinstance(body, SmplSurface) and getattr(analyzer, "flip", False) and getattr(analyzer, "tables", 0) is None:
        raise InvalidOptions(
            f"--flip: {surface} has SMPL's charts, and how U and V mirror on them is in UV_symmetry_transforms.mat: "
            "name it with --uv-symmetry, or leave --flip out"
        )
    readers = find_datasets(path, images, taxonomy_of(analyzer.info.card))
    measured = [reader for reader in readers if reader.validation] or readers
    with progress_bar() as progress:
        results = {
            reader.name: evaluate_dataset(analyzer, reader, progress, body, missing_predictions, exact=exact)
            for reader in measured
        }
    figures = {name: result.figures for name, result in results.items()}
    document = {
        "model": model_facts(analyzer),
        "missing_predictions": missing_predictions,
        "exact_paste": exact,
        "in_front": "higher score" if exact else "deeper silhouette",
        "specks_swept": getattr(analyzer, "sweep", True),  # a gateway sweeps and does not say so
        "splits": figures,
    }
    write_datasets(document, results, measured, out, analyzer)
    print_datasets(figures)
    return figures
