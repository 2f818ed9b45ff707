"""`parsing-rcnn info` and `models`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.terminal import printable
from parsing_rcnn_client.cli.options import AsJson, EngineChoice, require_server, wrong
from parsing_rcnn_client.cli.trained_heads import tells_trained
from parsing_rcnn_client.names import hidden

Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds that a server may take to answer.")]


@dataclass(frozen=True)
class ModelsChoice(EngineChoice):
    """Whose files to list. A Triton does not tell its own: the help leaves it out, and `models` refuses it."""

    triton: Annotated[str | None, typer.Option(hidden=True, metavar="URL")] = None


def info(engine_choice: EngineChoice, timeout: Timeout = 10.0, as_json: AsJson = False) -> None:
    """What would run, here or on a server: model, runtime, canvases, tasks."""
    from parsing_rcnn import __version__
    from parsing_rcnn.pipeline import Pipeline

    try:
        engine = engine_choice.open(timeout)
    except InvalidOptions as error:
        raise wrong(error.detail) from error
    about = engine.info
    # of a Triton that does not tell its weights it is known only which tasks can be asked for
    states = ("trained", "not trained") if tells_trained(engine_choice, about) else ("ready", "not ready")
    where = (
        str(engine.repository.path)
        if isinstance(engine, Pipeline)
        else hidden(str(engine_choice.server or engine_choice.triton))
    )
    shown: dict[str, Any] = {
        "parsing-rcnn": __version__,
        "model": about.name,
        "version": about.version,
        "repository": where,
        "runtime": about.runtime,
        "tasks": {name: states[not yes] for name, yes in about.tasks.items()},
        "classes": list(about.classes),
        "canvases": [list(c) for c in about.canvases],
        "models": list(about.models),
    }
    engine.close()
    shown = {name: value for name, value in shown.items() if value}  # the rest is not known
    if as_json:
        typer.echo(json.dumps({**shown, **({"card": about.card} if about.card else {})}))
        return
    for name, value in shown.items():
        typer.echo(printable(f"{name:12} {_readable(value)}"))


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {v}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join("x".join(map(str, v)) if isinstance(v, list) else str(v) for v in value)
    return str(value)


def models(engine_choice: ModelsChoice, timeout: Timeout = 10.0, as_json: AsJson = False) -> None:
    """The graphs of the repository, here or behind a gateway, with their sizes and checksums, and which of them run."""
    from parsing_rcnn_client.sdk.wire import GatewayError

    try:
        require_server(engine_choice.key, engine_choice.server, engine_choice.ca)
        if engine_choice.triton is not None:
            raise InvalidOptions("Triton does not say which files its models have: `info --triton` shows what it says")
        if engine_choice.server is not None:
            engine = engine_choice.open(timeout)
            card: dict[str, Any] = dict(engine.info.card)
            place, runtime = hidden(engine_choice.server), engine.info.runtime
            engine.close()
        else:
            card, place, runtime = _models_here(engine_choice)
    except InvalidOptions as error:
        raise wrong(error.detail) from error
    try:
        lines = _listed(card, place, runtime, as_json)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if engine_choice.server is None:
            raise
        message = f"{place}/v1/models does not list the files of a model ({error!r}): is this a Parsing R-CNN gateway?"
        raise GatewayError(502, "bad-answer", message) from error
    for line in lines:
        typer.echo(line)


def _listed(card: dict[str, Any], place: str, runtime: str, as_json: bool) -> list[str]:
    files: Any = card["files"]
    quantised: Any = card.get("quantization", {}).get("files", {})
    runs = _running(runtime, files, quantised)
    if as_json:
        named = {"name": card["name"], "version": card["version"], "files": files}
        return [json.dumps({**named, "quantization": {"files": quantised}, "runtime": runtime, "runs": runs})]
    lines = [f"{card['name']} {card['version']} in {place}"]
    for precision, listed in (("fp32", files), ("int8", quantised)):
        for name, file in listed.items():
            mark = "  runs" if runs.get(name) == file["file"] else ""
            lines.append(f"  {name:15} {precision} {file['bytes'] / 1e6:5.1f} MB  sha256 {file['sha256'][:16]}{mark}")
    return [printable(line) for line in lines]


def _models_here(engine_choice: EngineChoice) -> tuple[dict[str, Any], str, str]:
    """(card, folder, name of what runs them or "" where nothing can) of the repository; no graph is loaded for it.

    Raises:
        InvalidOptions: --runtime or --precision is wrong.
        ParsingRCNNError: there is no repository, or not this model.
    """
    from parsing_rcnn.errors import EngineUnavailable
    from parsing_rcnn.repository import ModelRepository
    from parsing_rcnn.runtime import Runtime

    chosen = engine_choice
    opened = ModelRepository.open(chosen.repository, chosen.model)
    try:
        runtime = Runtime(opened, chosen.runtime, chosen.precision, chosen.threads, graphs=()).name
    except EngineUnavailable:  # the files are there all the same
        runtime = ""
    return dict(opened.card), str(opened.path), runtime


def _running(runtime: str, files: Any, quantised: Any) -> dict[str, str]:
    """Graph -> the file that runs; empty where the engine does not say how, as Triton behind a gateway."""
    match = re.fullmatch(r"(?:openvino|onnxruntime) \S+ (fp32|bf16|int8)\b.*", runtime)
    if match is None:
        return {}
    chosen = files | quantised if match[1] == "int8" else files
    return {name: file["file"] for name, file in chosen.items()}
