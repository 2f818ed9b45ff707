"""Many pictures through an engine: some in flight, a progress bar, resumable, and one bad file stops nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from parsing_rcnn.codecs.image import decode
from parsing_rcnn.drawing.hiding import surest
from parsing_rcnn.errors import DeadlineExceeded, EngineUnavailable, ParsingRCNNError
from parsing_rcnn.heads import judged
from parsing_rcnn.people import Analyzer, ModelInfo, Options
from parsing_rcnn_client.predict.drawings import Drawings
from parsing_rcnn_client.predict.outputs import FILES, files_of, is_done, read, write_outputs
from parsing_rcnn_client.predict.sources import Source
from parsing_rcnn_client.predict.tables import Table, TableFailed


@dataclass
class Report:
    """What was done.

    Attributes:
        pictures: one entry for each picture done: `source`, `file_name`, `people`, `files`.
        failed: path -> reason.
        skipped: pictures that an earlier run had done.
        earlier: the same entries of those.
        stopped: why the run ended before the last picture, or None.
        interrupted: whether that was Ctrl-C, or another signal that interrupts.
    """

    pictures: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: int = 0
    earlier: list[dict[str, Any]] = field(default_factory=list)
    stopped: str | None = None
    interrupted: bool = False


def predict_all(
    engine: Analyzer,
    options: Options,
    sources: Sequence[Source],
    *,
    model: ModelInfo | None = None,
    files: frozenset[str] = FILES,
    exact: bool = False,
    bgr: bool = False,
    drawings: Drawings = Drawings(),  # noqa: B008 - frozen
    in_flight: int,
    resume: bool,
    out: Path | None = None,
    tables: Sequence[Table] = (),
) -> Report:
    """Analyse every picture and write its files. An engine that has gone ends the run: the rest would fail as well.

    After an interrupt pictures that are under way are not waited for, so their threads may still run.

    Args:
        engine: who computes.
        options: what to compute.
        sources: the pictures.
        model, files, exact, bgr, drawings: as in `write_outputs`.
        in_flight: pictures on their way at once.
        resume: skip pictures whose results are there, of the same options and model.
        out: folder of the results, below which pictures have the names that results call them by; None calls them by
            their own.
        tables: are told of every picture in the order of the sources, also of those that are skipped. After an
            interrupt they have what was settled before. They are not finished here.
    """
    job = _Job(engine, options, model, files, exact, bgr, drawings, out, bool(tables))
    report = Report()
    done = partial(is_done, options=options, model=model, files=files, exact=exact, bgr=bgr, drawings=drawings)
    skipped = {s.target for s in sources if resume and done(s.target)}
    report.skipped = len(skipped)
    waiting: deque[tuple[Source, Future[_Done] | None]] = deque()  # of those that are skipped there is no future
    rest = deque(sources)
    pool = ThreadPoolExecutor(in_flight, "predict")
    try:
        with _progress() as progress:
            bar = progress.add_task("pictures", total=len(sources), completed=len(skipped))

            def settle_first() -> None:
                source, future = waiting[0]
                if future is not None:
                    wait_for([future])
                    progress.advance(bar)
                waiting.popleft()  # before it is told, which an interrupt must not repeat
                _settle(job, source, future, report, tables)

            while rest:
                while sum(future is not None for _, future in waiting) >= in_flight:
                    settle_first()
                waiting.append((rest[0], None if rest[0].target in skipped else pool.submit(job.run, rest[0])))
                rest.popleft()
                while waiting and waiting[0][1] is None:
                    settle_first()
            while waiting:
                settle_first()
    except (EngineUnavailable, TableFailed) as error:
        report.stopped = error.detail
        tables = () if isinstance(error, TableFailed) else tables
    except KeyboardInterrupt:
        report.stopped, report.interrupted = "interrupted", True
    finally:
        pool.shutdown(wait=not report.interrupted, cancel_futures=True)
    waiting += [(source, None) for source in rest if source.target in skipped]
    for source, future in waiting:  # what was under way may have been answered, and is written
        if (future is None and not report.interrupted) or (future and future.done() and not future.cancelled()):
            with suppress(EngineUnavailable, TableFailed):
                _settle(job, source, future, report, tables)
    return report


def _progress() -> Progress:
    """A bar on standard error."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True))


@dataclass(frozen=True)
class _Done:
    """A picture whose files are there.

    Attributes:
        entry: for the report.
        document: its JSON, where a table is to have it.
    """

    entry: dict[str, Any]
    document: dict[str, Any] | None


@dataclass(frozen=True)
class _Job:
    """What is done with each picture; arguments as of `predict_all`."""

    engine: Analyzer
    options: Options
    model: ModelInfo | None
    files: frozenset[str]
    exact: bool
    bgr: bool
    drawings: Drawings
    out: Path | None
    tabled: bool

    def name(self, source: Source) -> str:
        return source.name(self.out or source.target.parent)

    def run(self, source: Source) -> _Done:
        """Analyse it and write its files."""
        data = source.read()
        asked = self.drawings.asked(self.options)
        everybody = self.engine.analyze(data, asked)
        if self.model is not None:
            everybody = judged(everybody, self.model)
        people = everybody if asked == self.options else surest(everybody, self.options)
        written = write_outputs(
            source.target,
            people,
            decode(data) if self.drawings.any else None,
            files=self.files,
            exact=self.exact,
            bgr=self.bgr,
            model=self.model,
            options=self.options,
            drawings=self.drawings,
            everybody=everybody,
            name=self.name(source),
        )
        # as a later run reads it
        return _Done(self._entry(source, len(people), written), read(source.target) if self.tabled else None)

    def earlier(self, source: Source) -> _Done:
        """What an earlier run left of it."""
        document = read(source.target, self.options.tasks)
        count = len(document["predictions"])
        written = files_of(source.target, count, self.options, self.files, self.drawings)
        return _Done(self._entry(source, count, written), document)

    def _entry(self, source: Source, count: int, written: list[Path]) -> dict[str, Any]:
        names = {"source": str(source.path), "file_name": self.name(source)}
        return {**names, "people": count, "files": [str(path) for path in written]}


def _settle(job: _Job, source: Source, future: Future[_Done] | None, report: Report, tables: Sequence[Table]) -> None:
    """Tell of a picture: of one that is skipped, without a future, what is there."""
    try:
        done = job.earlier(source) if future is None else future.result()
    except DeadlineExceeded as error:  # this picture took too long; the engine is there
        reason = error.detail
    except EngineUnavailable:
        raise
    except ParsingRCNNError as error:
        reason = error.detail
    except OSError as error:
        where = f"{error.filename}: " if error.filename not in (None, str(source.path)) else ""
        reason = f"{where}{error.strerror or error}"
    else:
        (report.earlier if future is None else report.pictures).append(done.entry)
        for table in tables:
            table.add(done.entry["file_name"], done.document or {})
        return
    report.failed[str(source.path)] = reason
    for table in tables:
        table.fail(job.name(source), reason)
