"""Many pictures through an engine: some in flight, a progress bar, resumable, and one bad file stops nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from parsing_rcnn.codecs.image import decode
from parsing_rcnn.errors import DeadlineExceeded, EngineUnavailable, ParsingRCNNError
from parsing_rcnn.heads import judged
from parsing_rcnn.hiding import surest
from parsing_rcnn.people import Analyzer, ModelInfo, Options
from parsing_rcnn_client.drawn import Drawings
from parsing_rcnn_client.outputs import is_done, write_outputs
from parsing_rcnn_client.sources import Source


@dataclass
class Report:
    """What a run did.

    Attributes:
        pictures: one entry for each picture done: `source`, `people`, `files`.
        failed: path -> reason.
        skipped: pictures that an earlier run had done.
        stopped: why the run ended before the last picture, or None.
        interrupted: whether that was Ctrl-C, or another signal that interrupts.
    """

    pictures: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: int = 0
    stopped: str | None = None
    interrupted: bool = False


def predict_all(
    engine: Analyzer,
    options: Options,
    sources: Sequence[Source],
    *,
    model: ModelInfo | None = None,
    exact: bool = False,
    bgr: bool = False,
    drawings: Drawings = Drawings(),  # noqa: B008 - frozen
    in_flight: int,
    resume: bool,
) -> Report:
    """Analyse every picture and write its files. An engine that has gone ends the run: the rest would fail as well.

    After an interrupt pictures that are under way are not waited for, so their threads may still run.

    Args:
        engine: who computes.
        options: what to compute.
        sources: the pictures.
        model, exact, bgr, drawings: as in `write_outputs`.
        in_flight: pictures on their way at once.
        resume: skip pictures whose results are there, of the same options and model.
    """
    report = Report()
    write = partial(write_outputs, model=model, exact=exact, bgr=bgr, options=options, drawings=drawings)
    done = partial(is_done, options=options, model=model, exact=exact, bgr=bgr, drawings=drawings)
    asked = drawings.asked(options)
    todo = [s for s in sources if not (resume and done(s.target))]
    report.skipped = len(sources) - len(todo)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    waiting: deque[tuple[Source, Future[dict[str, Any]]]] = deque()
    pool = ThreadPoolExecutor(in_flight, "predict")
    try:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            bar = progress.add_task("pictures", total=len(sources), completed=report.skipped)

            def settle_first() -> None:
                _settle(*waiting[0], report)
                waiting.popleft()
                progress.advance(bar)

            for source in todo:
                if len(waiting) >= in_flight:
                    settle_first()
                waiting.append((source, pool.submit(_one, engine, model, asked, options, source, write)))
            while waiting:
                settle_first()
    except EngineUnavailable as error:
        report.stopped = error.detail
    except KeyboardInterrupt:
        report.stopped, report.interrupted = "interrupted", True
    finally:
        pool.shutdown(wait=not report.interrupted, cancel_futures=True)
    for source, future in waiting:  # what was under way may have been answered, and is written
        if future.done() and not future.cancelled():
            with suppress(EngineUnavailable):
                _settle(source, future, report)
    return report


def _one(
    engine: Analyzer,
    model: ModelInfo | None,
    asked: Options,
    options: Options,
    source: Source,
    write: Callable[..., list[Path]],
) -> dict[str, Any]:
    data = source.read()
    everybody = engine.analyze(data, asked)
    if model is not None:
        everybody = judged(everybody, model)
    people = everybody if asked == options else surest(everybody, options)
    files = write(source.target, people, decode(data), everybody=everybody)
    return {"source": str(source.path), "people": len(people), "files": [str(f) for f in files]}


def _settle(source: Source, future: Future[dict[str, Any]], report: Report) -> None:
    try:
        report.pictures.append(future.result())
    except DeadlineExceeded as error:  # this picture took too long; the engine is there
        report.failed[str(source.path)] = error.detail
    except EngineUnavailable:
        raise
    except ParsingRCNNError as error:
        report.failed[str(source.path)] = error.detail
    except OSError as error:
        where = f"{error.filename}: " if error.filename not in (None, str(source.path)) else ""
        report.failed[str(source.path)] = f"{where}{error.strerror or error}"
