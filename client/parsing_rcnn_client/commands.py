"""`parsing-rcnn predict`, `info` and `models`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from parsing_rcnn.people import Options
    from parsing_rcnn.pipeline import Pipeline
    from parsing_rcnn_client.sources import Source

_REPOSITORY = typer.Option(help="Model repository (default: PARSING_RCNN_REPOSITORY, the clone, the installed files).")
_MODEL = typer.Option(help="one of the repository's: fast (default) or large.")
_RUNTIME = typer.Option(help="auto, openvino or onnxruntime.")
_PRECISION = typer.Option(help="auto, fp32 or bf16.")
_THREADS = typer.Option(min=1, help="Threads of one inference (default: all cores).")
_JSON = typer.Option("--json", help="Print JSON on standard output.")


def register(app: typer.Typer) -> None:
    """Add the commands. Runtimes are imported when a command runs, not before."""
    app.command("predict")(predict)
    app.command("info")(info)
    app.command("models")(models)


def predict(
    sources: Annotated[list[str], typer.Argument(help="Pictures, folders (searched deeply) or quoted patterns.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the results.")],
    confidence: Annotated[float, typer.Option(min=0, max=1, help="The lowest score of a person.")] = 0.5,
    max_people: Annotated[int, typer.Option(min=1, max=64, help="The most people of a picture, by score.")] = 64,
    tasks: Annotated[str, typer.Option(help="parsing, densepose or both, separated by a comma.")] = "parsing,densepose",
    exact: Annotated[bool, typer.Option(help="Paste parts from their probabilities: slower, cleaner edges.")] = False,
    repository: Annotated[Path | None, _REPOSITORY] = None,
    model: Annotated[str | None, _MODEL] = None,
    runtime: Annotated[str, _RUNTIME] = "auto",
    precision: Annotated[str, _PRECISION] = "auto",
    threads: Annotated[int | None, _THREADS] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Find and parse everybody in pictures, with no server running.

    For dir/photo.jpg writes photo.npz, photo.json, photo_overlay.png, photo_parts.png, photo_IUV.png and
    photo_INDS.png. Exit code 1 when a picture failed, 2 when there is none.
    """
    from parsing_rcnn.errors import InvalidOptions
    from parsing_rcnn.people import Options
    from parsing_rcnn.pipeline import Pipeline, validate
    from parsing_rcnn_client.sources import find_sources

    chosen = frozenset(t.strip() for t in tasks.split(",") if t.strip())
    options = Options(tasks=chosen, confidence=confidence, max_people=max_people, part_probs=exact)
    try:
        validate(options)
        found = find_sources(sources, out)
    except InvalidOptions as error:
        typer.echo(f"error: {error.detail}", err=True)
        raise typer.Exit(2) from error
    if not found:
        typer.echo(f"error: no pictures in {', '.join(sources)}", err=True)
        raise typer.Exit(2)
    pipeline = Pipeline(repository, model=model, runtime=runtime, precision=precision, threads=threads)
    untrained = sorted(task for task in chosen if not pipeline.info.tasks.get(task, True))
    if untrained:
        typer.echo(f"note: the head of {', '.join(untrained)} is not trained in this model; ignore its maps", err=True)
    done, failed = _run(pipeline, options, found, exact)
    if as_json:
        typer.echo(json.dumps({"pictures": done, "failed": failed}))
    for path, reason in failed.items():
        typer.echo(f"failed: {path}: {reason}", err=True)
    if failed:
        raise typer.Exit(1)


def _run(
    pipeline: Pipeline, options: Options, sources: list[Source], exact: bool
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Analyse every picture behind a progress bar; one bad file does not stop the rest."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from parsing_rcnn.codecs.image import decode
    from parsing_rcnn.errors import ParsingRCNNError
    from parsing_rcnn_client.outputs import write_outputs

    done: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("pictures", total=len(sources))
        for source in sources:
            try:
                data = source.path.read_bytes()
                people = pipeline.analyze(data, options)
                files = write_outputs(source.target, people, decode(data, pipeline.limits), exact=exact)
                done.append({"source": str(source.path), "people": len(people), "files": [str(f) for f in files]})
            except ParsingRCNNError as error:
                failed[str(source.path)] = error.detail
            except OSError as error:
                failed[str(source.path)] = f"{error.strerror or error}"
            progress.advance(task)
    return done, failed


def info(
    repository: Annotated[Path | None, _REPOSITORY] = None,
    model: Annotated[str | None, _MODEL] = None,
    runtime: Annotated[str, _RUNTIME] = "auto",
    precision: Annotated[str, _PRECISION] = "auto",
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """What would run here: model, runtime, canvases, tasks."""
    from parsing_rcnn import __version__
    from parsing_rcnn.pipeline import Pipeline

    pipeline = Pipeline(repository, model=model, runtime=runtime, precision=precision)
    about = pipeline.info
    shown: dict[str, Any] = {
        "parsing-rcnn": __version__,
        "model": about.name,
        "version": about.version,
        "repository": str(pipeline.repository.path),
        "runtime": about.runtime,
        "tasks": {name: "trained" if trained else "not trained" for name, trained in about.tasks.items()},
        "classes": list(about.classes),
        "canvases": [list(c) for c in about.canvases],
    }
    if as_json:
        typer.echo(json.dumps({**shown, "card": about.card}))
        return
    for name, value in shown.items():
        typer.echo(f"{name:12} {_readable(value)}")


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {v}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join("x".join(map(str, v)) if isinstance(v, list) else str(v) for v in value)
    return str(value)


def models(
    repository: Annotated[Path | None, _REPOSITORY] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """The graphs of the repository, with their sizes and checksums."""
    from parsing_rcnn.repository import ModelRepository

    opened = ModelRepository.open(repository)
    files = opened.card["files"]
    if as_json:
        typer.echo(json.dumps({"name": opened.card["name"], "version": opened.card["version"], "files": files}))
        return
    typer.echo(f"{opened.card['name']} {opened.card['version']} in {opened.path}")
    for name, file in files.items():
        typer.echo(f"  {name:15} {file['bytes'] / 1e6:5.1f} MB  sha256 {file['sha256'][:16]}")
