"""`parsing-rcnn predict`."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.interrupt import INTERRUPTED
from parsing_rcnn.terminal import say, tell
from parsing_rcnn_client.cli.options import (
    AsJson,
    DrawingChoice,
    EngineChoice,
    PeopleChoice,
    ResultsChoice,
    wrong,
)
from parsing_rcnn_client.cli.picture_options import FilesChoice, TablesChoice
from parsing_rcnn_client.cli.trained_heads import note_heads, tells_trained
from parsing_rcnn_client.places import require_folder
from parsing_rcnn_client.signals import leave, signals_interrupt

if TYPE_CHECKING:
    from parsing_rcnn.analyzer import Analyzer, ModelInfo, Options
    from parsing_rcnn_client.coco import CocoFile
    from parsing_rcnn_client.predict.drawings import Drawings
    from parsing_rcnn_client.predict.predicting import Report
    from parsing_rcnn_client.predict.results import CocoResults
    from parsing_rcnn_client.predict.sources import Found, Source


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
    exact: Annotated[
        bool, typer.Option(help="Paste parts from their probabilities: slower, cleaner edges. Embedded engine only.")
    ] = False,
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
    from parsing_rcnn.analyzer import TASKS, Options
    from parsing_rcnn_client.predict.predicting import predict_all

    named = frozenset(TASKS if tasks is None else [tasks])
    try:
        options = Options(
            named,
            people.confidence,
            people.max_people,
            exact,
            people.max_side,
            region=people.where(),
            tiles=people.tiles,
        )
        options.validate()
        if exact and (engine_choice.server or engine_choice.triton):
            raise InvalidOptions("--exact needs class probabilities, which do not travel: use the embedded engine")
        plan = _planned(sources, out, options, chosen, shown, listed, together, bgr=bgr, as_json=as_json)
        engine = engine_choice.open(timeout)
    except InvalidOptions as error:
        raise wrong(error.detail) from error
    found = plan.found
    if not found.sources:
        raise wrong(f"no pictures in {', '.join(sources)}" + (f" ({found.note})" if found.note else ""))
    if found.note:
        say(found.note)
    model = engine.info
    if tells_trained(engine_choice, model):
        wanted = options.tasks if tasks is not None else chosen.tasks | ({"parsing"} if together.parts else set())
        plan = _of_model(plan, model, wanted, named=tasks is not None)
    if plan.results is not None and together.parts:
        plan = replace(plan, results=replace(plan.results, classes=model.classes))
    run = partial(
        predict_all,
        engine,
        plan.options,
        found.sources,
        out=out,
        model=model,
        files=chosen.files,
        exact=exact,
        bgr=bgr,
        drawings=plan.drawings,
        in_flight=in_flight,
        resume=resume,
    )
    report, written = _run(run, engine, plan, out, listed, as_json=as_json)
    if report.stopped is not None:
        _stop(report)
    if report.failed or not written:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Plan:
    """What a command line of `predict` means, checked.

    Attributes:
        options: what to compute.
        drawings: what to draw.
        found: the pictures.
        results: the COCO file of all pictures, if there is to be one.
    """

    options: Options
    drawings: Drawings
    found: Found
    results: CocoResults | None


def _planned(
    sources: list[str],
    out: Path,
    options: Options,
    chosen: FilesChoice,
    shown: DrawingChoice,
    listed: TablesChoice,
    together: ResultsChoice,
    *,
    bgr: bool,
    as_json: bool,
) -> _Plan:
    """Check the options against each other and against the pictures; only the folder of the results is made.

    Raises:
        InvalidOptions: they do not go together, or a result cannot be written.
    """
    from parsing_rcnn_client.predict.results import CocoResults
    from parsing_rcnn_client.predict.sources import find_sources, require_kept

    drawings = chosen.drawings(shown.drawings())
    drawings.require(options.tasks)
    drawings.asked(options)  # which refuses a region beside which nobody would be hidden
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
    return _Plan(options, drawings, found, results)


def _of_model(plan: _Plan, model: ModelInfo, wanted: frozenset[str], *, named: bool) -> _Plan:
    """The plan with a model whose trained heads are known. What is left out is said.

    Args:
        plan: without it.
        model: what runs.
        wanted: tasks to compute whether their head is trained or not.
        named: whether --tasks names the tasks: then no other is added or left out.
    """
    from parsing_rcnn import heads

    try:
        plan.drawings.require_trained(heads.untrained(model))
    except InvalidOptions as error:
        raise wrong(error.detail) from error
    chosen = plan.options.tasks
    computed = chosen if named else heads.trained(model) | wanted
    note_heads(model, computed, chosen - computed, remedy="; --tasks {task} asks for it")
    return replace(plan, options=replace(plan.options, tasks=computed))


def _run(
    run: Callable[..., Report], engine: Analyzer, plan: _Plan, out: Path, listed: TablesChoice, *, as_json: bool
) -> tuple[Report, bool]:
    """Claim the files that hold all pictures, analyse the pictures, and say what was done.

    Returns:
        (what was done, whether the COCO file was written if there is to be one).
    """
    from parsing_rcnn_client.predict.claims import claimed

    found, results, written = plan.found, plan.results, True
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
            written = _written(results, file, found.sources, report, plan.options.tasks)
    return report, written


def _begun(results: CocoResults, opened: ExitStack) -> CocoFile:
    """The COCO file; unless it is finished, nothing of it stays when `opened` ends."""
    file = results.begin()
    opened.callback(file.abort)
    return file


def _tell(report: Report, found: Found, out: Path, as_json: bool) -> None:
    """Say what a run did."""
    if as_json:
        tell(json.dumps({**vars(report), "left_out": found.left_out.total()}))
    for path, reason in report.failed.items():
        say(f"failed: {path}: {reason}")
    say(f"{_summary(report)}: {out}")


def _stop(report: Report) -> NoReturn:
    """Say why a run ended before the last picture, and end."""
    count = len(report.pictures)
    message = f"stopped after {count} picture{'s' * (count != 1)}"
    if report.interrupted:
        say(message if report.stopped == "interrupted" else f"{message}: {report.stopped}")
    else:
        say(f"error: {message}: {report.stopped}")
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
        if report.failed:
            count = len(report.pictures) + len(report.earlier)
            say(
                f"{count} of {len(sources)} pictures done: the same command with --resume tries the others again, and "
                "writes it"
            )
        else:
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
