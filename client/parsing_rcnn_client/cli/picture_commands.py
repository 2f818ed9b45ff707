"""`parsing-rcnn predict`, `info` and `models`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.terminal import printable, say
from parsing_rcnn_client.cli.options import (
    AsJson,
    DrawingChoice,
    EngineChoice,
    PeopleChoice,
    ResultsChoice,
    require_folder,
    require_server,
    wrong,
)
from parsing_rcnn_client.cli.picture_options import FilesChoice, TablesChoice
from parsing_rcnn_client.cli.signals import INTERRUPTED, leave, signals_interrupt

if TYPE_CHECKING:
    from parsing_rcnn.people import Analyzer, ModelInfo, Options
    from parsing_rcnn_client.predict.coco import CocoFile
    from parsing_rcnn_client.predict.drawings import Drawings
    from parsing_rcnn_client.predict.predicting import Report
    from parsing_rcnn_client.predict.results import CocoResults
    from parsing_rcnn_client.predict.sources import Found, Source

Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds that a server may take to answer.")]


def predict(
    sources: Annotated[
        list[str], typer.Argument(help="Pictures, folders (searched deeply), quoted patterns, - for standard input.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the results.", metavar="FOLDER")],
    people: PeopleChoice,
    chosen: FilesChoice,
    shown: DrawingChoice,
    listed: TablesChoice,
    together: ResultsChoice,
    engine_choice: EngineChoice,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="parsing, densepose or both, separated by a comma (default: those whose head is trained in the model)."
        ),
    ] = None,
    exact: Annotated[bool, typer.Option(help="Paste parts from their probabilities: slower, cleaner edges.")] = False,
    bgr: Annotated[
        bool, typer.Option("--bgr", help="Write _IUV.png with I in blue, for scripts of the first DensePose release.")
    ] = False,
    in_flight: Annotated[int, typer.Option(min=1, max=256, help="Pictures on their way at once.")] = 4,
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip pictures whose results are there, of the same options and model.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a server may take for one picture.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Find and parse everybody in pictures, with a server or without.

    For dir/photo.jpg writes photo.npz, photo.json, photo_overlay.png, photo_parts.png, photo_IUV.png and
    photo_INDS.png, or photo.json and those of them that --write names; also photo_hidden.jpg with --layers anonymise,
    photo_cutout.png, photo_person1.jpg, and tables and one COCO file of all pictures where they are asked for. Exit
    code 1 when a picture failed, 2 when there is none.
    """
    from parsing_rcnn.people import TASKS, Options
    from parsing_rcnn.pipeline import validate
    from parsing_rcnn_client.predict.predicting import predict_all
    from parsing_rcnn_client.predict.results import CocoResults
    from parsing_rcnn_client.predict.sources import find_sources, require_kept

    named = frozenset(TASKS if tasks is None else [tasks])
    options = Options(named, people.confidence, people.max_people, exact, people.max_side)
    try:
        validate(options)
        if exact and (engine_choice.server or engine_choice.triton):
            raise InvalidOptions("--exact needs class probabilities, which do not travel: use the embedded engine")
        drawings = chosen.drawings(shown.drawings())
        drawings.require(options.tasks)
        together.check(options.tasks)
        chosen.check(options.tasks, bgr=bgr)
        found = find_sources(sources, out)
        require_kept(found.sources, options.tasks, drawings, chosen.files)
        chosen.require_told(found.sources, drawings)
        require_folder(out, f"-o {out}")
        listed.check(found.sources, together.coco, as_json=as_json)
        results = None
        if together.coco is not None:
            results = CocoResults.of(together.coco, found.sources, out, together.image_ids)
        engine = engine_choice.open(timeout)
    except InvalidOptions as error:
        raise wrong(error.detail) from error
    if not found.sources:
        raise wrong(f"no pictures in {', '.join(sources)}" + (f" ({found.note})" if found.note else ""))
    if found.note:
        say(found.note)
    model = engine.info
    if engine_choice.triton is None:  # which does not say what is trained
        wanted = options.tasks if tasks is not None else chosen.tasks | ({"parsing"} if together.parts else set())
        options = _of_model(model, options, drawings, wanted, named=tasks is not None)
    if results is not None and together.parts:
        results = replace(results, classes=model.classes)
    run = partial(
        predict_all,
        engine,
        options,
        found.sources,
        out=out,
        model=model,
        files=chosen.files,
        exact=exact,
        bgr=bgr,
        drawings=drawings,
        in_flight=in_flight,
        resume=resume,
    )
    report, written = _run(run, engine, found, out, listed, results, options.tasks, as_json=as_json)
    if report.stopped is not None:
        _stop(report)
    if report.failed or not written:
        raise typer.Exit(1)


def _run(
    run: Callable[..., Report],
    engine: Analyzer,
    found: Found,
    out: Path,
    listed: TablesChoice,
    results: CocoResults | None,
    tasks: frozenset[str],
    *,
    as_json: bool,
) -> tuple[Report, bool]:
    """Claim what is written of all pictures, analyse them, and say what was done: (that, whether the COCO file that is
    asked for could be written).
    """
    from parsing_rcnn_client.predict.claims import claimed

    written = True
    with signals_interrupt(), ExitStack() as opened:
        with ExitStack() as finished:
            try:
                opened.enter_context(claimed(out, found.sources))
                tables = [finished.enter_context(table) for table in listed.open()]
                file = None if results is None else _begun(results, opened)
            except InvalidOptions as error:  # another run is at one of them
                raise wrong(error.detail) from error
            report = run(tables=tables)
        if not report.interrupted:  # an engine may take long, and would be waited for
            engine.close()
        _tell(report, found, out, as_json)
        if results is not None and file is not None and report.stopped is None:
            written = _written(results, file, found.sources, report, tasks)
    return report, written


def _begun(results: CocoResults, opened: ExitStack) -> CocoFile:
    """The COCO file, of which nothing is left unless it is finished."""
    file = results.begin()
    opened.callback(file.abort)
    return file


def _tell(report: Report, found: Found, out: Path, as_json: bool) -> None:
    """Say what a run did."""
    if as_json:
        typer.echo(json.dumps({**vars(report), "left_out": found.left_out.total()}))
    for path, reason in report.failed.items():
        say(f"failed: {path}: {reason}")
    say(f"{_summary(report)}: {out}")


def _of_model(
    model: ModelInfo, options: Options, drawings: Drawings, wanted: frozenset[str], *, named: bool
) -> Options:
    """The options with a model: where no task is named, `wanted` ones and those of trained heads. The rest is said."""
    from parsing_rcnn import heads
    from parsing_rcnn.errors import InvalidOptions

    try:
        drawings.require_trained(heads.untrained(model))
    except InvalidOptions as error:
        raise wrong(error.detail) from error
    chosen = options if named else replace(options, tasks=heads.trained(model) | wanted)
    note_untrained(model.tasks, chosen.tasks)
    for task in sorted(options.tasks - chosen.tasks):
        say(f"note: the head of {task} is not trained in this model, so it is left out; --tasks {task} asks for it")
    return chosen


def _stop(report: Report) -> NoReturn:
    """Say why a run ended before the last picture, and end."""
    count = len(report.pictures)
    said = f"stopped after {count} picture{'s' * (count != 1)}"
    say(said if report.interrupted else f"error: {said}: {report.stopped}")
    say("the same command with --resume goes on from there")
    if report.interrupted:
        leave(INTERRUPTED)
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(1)


def _written(
    results: CocoResults, file: CocoFile, sources: list[Source], report: Report, tasks: frozenset[str]
) -> bool:
    """Write the COCO file of a whole run, and say so; False, which is said as well, where it cannot be."""
    try:
        count = results.write(file, sources, report.failed, tasks)
    except (OSError, ValueError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        say(f"error: --coco {results.path}: cannot be written ({reason})")
        say("the pictures are done: the same command with --resume writes it of them")
        return False
    except KeyboardInterrupt:
        say(f"stopped before {results.path} was whole: the same command with --resume writes it")
        raise typer.Exit(INTERRUPTED) from None
    say(f"{count} {'picture' if count == 1 else 'pictures'} in {results.path}")
    return True


def _summary(report: Report) -> str:
    pictures, people = len(report.pictures), sum(picture["people"] for picture in report.pictures)
    earlier = f", {report.skipped} skipped, as an earlier run did them" if report.skipped else ""
    return (
        f"{pictures} {'picture' if pictures == 1 else 'pictures'}, {people} {'person' if people == 1 else 'people'}, "
        f"{len(report.failed)} failed{earlier}"
    )


def note_untrained(trained: Any, chosen: frozenset[str]) -> None:
    """Say on standard error which of the chosen heads mean nothing."""
    untrained = sorted(task for task in chosen if not trained.get(task, True))
    if untrained:
        say(f"note: the head of {', '.join(untrained)} is not trained in this model; ignore its maps")


def info(engine_choice: EngineChoice, timeout: Timeout = 10.0, as_json: AsJson = False) -> None:
    """What would run, here or on a server: model, runtime, canvases, tasks."""
    from parsing_rcnn import __version__
    from parsing_rcnn.pipeline import Pipeline
    from parsing_rcnn_client.sdk.wire import hidden

    try:
        engine = engine_choice.open(timeout)
    except InvalidOptions as error:
        raise wrong(error.detail) from error
    about = engine.info
    # Triton says which tasks can be asked for, and nothing of weights
    states = ("ready", "not ready") if engine_choice.triton is not None else ("trained", "not trained")
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


def models(engine_choice: EngineChoice, timeout: Timeout = 10.0, as_json: AsJson = False) -> None:
    """The graphs of the repository, here or behind a gateway, with their sizes and checksums, and which of them run."""
    from parsing_rcnn_client.sdk.wire import GatewayError, hidden

    try:
        require_server(engine_choice.key, engine_choice.server)
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
        said = f"{place}/v1/models does not list the files of a model ({error!r}): is this a Parsing R-CNN gateway?"
        raise GatewayError(502, "bad-answer", said) from error
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
    said = re.fullmatch(r"(?:openvino|onnxruntime) \S+ (fp32|bf16|int8)\b.*", runtime)
    if said is None:
        return {}
    chosen = files | quantised if said[1] == "int8" else files
    return {name: file["file"] for name, file in chosen.items()}
