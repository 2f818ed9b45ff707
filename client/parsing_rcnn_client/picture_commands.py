"""`parsing-rcnn predict`, `info` and `models`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn_client.engines import (
    AsJson,
    Embedded,
    Model,
    Precision,
    Repository,
    RuntimeName,
    Server,
    Threads,
    Timeout,
    TritonServer,
)


def predict(
    sources: Annotated[
        list[str], typer.Argument(help="Pictures, folders (searched deeply), quoted patterns, - for standard input.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the results.")],
    confidence: Annotated[float, typer.Option(min=0, max=1, help="The lowest score of a person.")] = 0.5,
    max_people: Annotated[int, typer.Option(min=1, max=64, help="The most people of a picture, by score.")] = 64,
    tasks: Annotated[str, typer.Option(help="parsing, densepose or both, separated by a comma.")] = "parsing,densepose",
    exact: Annotated[bool, typer.Option(help="Paste parts from their probabilities: slower, cleaner edges.")] = False,
    in_flight: Annotated[int, typer.Option(min=1, max=256, help="Pictures on their way at once.")] = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Skip pictures whose results are there.")] = False,
    server: Server = None,
    triton: TritonServer = None,
    embedded: Embedded = False,
    timeout: Timeout = 60.0,
    repository: Repository = None,
    model: Model = None,
    runtime: RuntimeName = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Find and parse everybody in pictures, with a server or without.

    For dir/photo.jpg writes photo.npz, photo.json, photo_overlay.png, photo_parts.png, photo_IUV.png and
    photo_INDS.png. Exit code 1 when a picture failed, 2 when there is none.
    """
    from parsing_rcnn.people import Options
    from parsing_rcnn.pipeline import validate
    from parsing_rcnn_client.engines import open_engine
    from parsing_rcnn_client.predicting import predict_all
    from parsing_rcnn_client.sources import find_sources

    chosen = frozenset(t.strip() for t in tasks.split(",") if t.strip())
    options = Options(tasks=chosen, confidence=confidence, max_people=max_people, part_probs=exact)
    try:
        validate(options)
        if exact and (server or triton):
            raise InvalidOptions("--exact needs class probabilities, which do not travel: use the embedded engine")
        found = find_sources(sources, out)
        _can_write(out)
        own = {"repository": repository, "model": model, "runtime": runtime, "precision": precision, "threads": threads}
        engine = open_engine(server, triton, embedded, timeout=timeout, **own)  # type: ignore[arg-type]
    except InvalidOptions as error:
        raise _wrong(error.detail) from error
    if not found:
        raise _wrong(f"no pictures in {', '.join(sources)}")
    note_untrained(engine.info.tasks, chosen)
    report = predict_all(engine, options, found, exact=exact, in_flight=in_flight, resume=resume)
    engine.close()
    if as_json:
        typer.echo(json.dumps(vars(report)))
    for path, reason in report.failed.items():
        typer.echo(f"failed: {path}: {reason}", err=True)
    if report.stopped is not None:
        typer.echo(f"error: stopped after {len(report.pictures)} pictures: {report.stopped}", err=True)
        typer.echo("the same command with --resume goes on from there", err=True)
    if report.failed or report.stopped is not None:
        raise typer.Exit(1)


def _can_write(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidOptions(f"-o {out}: no folder can be made there ({error.strerror}); name another") from error
    if not os.access(out, os.W_OK):
        raise InvalidOptions(f"-o {out}: nothing can be written there; name another folder")


def _wrong(detail: str) -> typer.Exit:
    typer.echo(f"error: {detail}", err=True)
    return typer.Exit(2)


def note_untrained(trained: Any, chosen: frozenset[str]) -> None:
    """Say on standard error which of the chosen heads mean nothing."""
    untrained = sorted(task for task in chosen if not trained.get(task, True))
    if untrained:
        typer.echo(f"note: the head of {', '.join(untrained)} is not trained in this model; ignore its maps", err=True)


def info(
    server: Server = None,
    triton: TritonServer = None,
    embedded: Embedded = False,
    timeout: Timeout = 10.0,
    repository: Repository = None,
    model: Model = None,
    runtime: RuntimeName = "auto",
    precision: Precision = "auto",
    as_json: AsJson = False,
) -> None:
    """What would run, here or on a server: model, runtime, canvases, tasks."""
    from parsing_rcnn import __version__
    from parsing_rcnn.pipeline import Pipeline
    from parsing_rcnn_client.engines import open_engine

    own = {"repository": repository, "model": model, "runtime": runtime, "precision": precision}
    try:
        engine = open_engine(server, triton, embedded, timeout=timeout, **own)  # type: ignore[arg-type]
    except InvalidOptions as error:
        raise _wrong(error.detail) from error
    about = engine.info
    where = str(engine.repository.path) if isinstance(engine, Pipeline) else str(server or triton)
    shown: dict[str, Any] = {
        "parsing-rcnn": __version__,
        "model": about.name,
        "version": about.version,
        "repository": where,
        "runtime": about.runtime,
        "tasks": {name: "trained" if trained else "not trained" for name, trained in about.tasks.items()},
        "classes": list(about.classes),
        "canvases": [list(c) for c in about.canvases],
    }
    engine.close()
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


def models(repository: Repository = None, server: Server = None, as_json: AsJson = False) -> None:
    """The graphs of the repository, here or behind a gateway, with their sizes and checksums."""
    from parsing_rcnn.repository import ModelRepository

    if server is not None:
        from parsing_rcnn_client.engines import open_engine

        engine = open_engine(server, None, False, timeout=10.0)
        card, place = dict(engine.info.card), server
        engine.close()
    else:
        opened = ModelRepository.open(repository)
        card, place = dict(opened.card), str(opened.path)
    files: Any = card["files"]
    if as_json:
        typer.echo(json.dumps({"name": card["name"], "version": card["version"], "files": files}))
        return
    typer.echo(f"{card['name']} {card['version']} in {place}")
    for name, file in files.items():
        typer.echo(f"  {name:15} {file['bytes'] / 1e6:5.1f} MB  sha256 {file['sha256'][:16]}")
