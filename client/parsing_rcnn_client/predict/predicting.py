"""Run many pictures through an engine: several in flight, with a progress bar, resumable; a bad file stops nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from parsing_rcnn.analyzer import Analyzer, ModelInfo, Options
from parsing_rcnn.codecs.image import decode
from parsing_rcnn.drawing.hiding import apply_threshold
from parsing_rcnn.errors import (
    DeadlineExceeded,
    EngineUnavailable,
    ImageTooLarge,
    ParsingRCNNError,
    UnsupportedImage,
)
from parsing_rcnn.heads import mark_untrained
from parsing_rcnn.terminal import stderr_console
from parsing_rcnn_client.predict.drawings import Drawings
from parsing_rcnn_client.predict.outputs import FILES, files_of, is_done, read, write_outputs
from parsing_rcnn_client.predict.sources import Source
from parsing_rcnn_client.predict.tables import Table, TableFailed


@dataclass
class Report:
    """What a run did.

    Attributes:
        pictures: one entry for each picture done: `source`, `file_name`, `people`, `files`.
        failed: path -> reason.
        skipped: how many pictures an earlier run had done.
        earlier: the entries of those.
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
    """Analyse every picture and write its files. When the engine has gone the run ends, as the rest would fail too.

    After an interrupt it does not wait for pictures on their way, so their threads may still run.

    Args:
        engine: analyses them.
        options: what to compute.
        sources: the pictures.
        model, files, exact, bgr, drawings: as in `write_outputs`.
        in_flight: pictures on their way at once.
        resume: skip pictures whose results are there, of the same options and model.
        out: folder of the results; pictures are called by their place below it, or by their own names where it is None.
        tables: get every picture in the order of the sources, also those that are skipped. After an interrupt they
            have what was settled before, and files among them what was answered besides. They are not finished here.
    """
    job = _Job(engine, options, model, files, exact, bgr, drawings, out, bool(tables))
    done = partial(is_done, options=options, model=model, files=files, exact=exact, bgr=bgr, drawings=drawings)
    skipped = frozenset(source.target for source in sources if resume and done(source.target))
    return _Run(job, sources, skipped, in_flight, tables).report_of_all()


class _Run:
    """Pictures on their way through the engine, settled in the order of the sources.

    Args:
        job: what is done with each.
        sources: the pictures.
        skipped: targets of those that an earlier run did.
        in_flight: pictures on their way at once.
        tables: are told of each picture when it is settled.
    """

    def __init__(
        self, job: _Job, sources: Sequence[Source], skipped: frozenset[Path], in_flight: int, tables: Sequence[Table]
    ) -> None:
        self._job, self._skipped, self._in_flight, self._tables = job, skipped, in_flight, list(tables)
        self._report = Report(skipped=len(skipped))
        self._rest = deque(sources)
        self._waiting: deque[tuple[Source, Future[_Done] | None]] = deque()  # a picture that is skipped has no future
        self._analysing = 0  # how many of these have a future

    def report_of_all(self) -> Report:
        """Analyse everything, as far as the engine, the tables and the user allow."""
        report, pool = self._report, ThreadPoolExecutor(self._in_flight, "predict")
        try:
            try:
                with _progress() as progress:
                    bar = progress.add_task("pictures", total=len(self._rest), completed=len(self._skipped))
                    self._analyse(pool, partial(progress.advance, bar))
            except (EngineUnavailable, TableFailed) as error:
                report.stopped = error.detail
            pool.shutdown(cancel_futures=True)
        except KeyboardInterrupt:
            report.stopped, report.interrupted = report.stopped or "interrupted", True
            # nobody may be reading the others, and further signals are ignored
            self._tables = [table for table in self._tables if table.is_file]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        self._settle_rest()
        return report

    def _analyse(self, pool: ThreadPoolExecutor, advance: Callable[[], None]) -> None:
        while self._rest:
            while self._analysing >= self._in_flight:
                self._settle_first(advance)
            source = self._rest[0]
            skipped = source.target in self._skipped
            self._waiting.append((source, None if skipped else pool.submit(self._job.run, source)))
            self._analysing += not skipped
            self._rest.popleft()
            while self._waiting and self._waiting[0][1] is None:
                self._settle_first(advance)
        while self._waiting:
            self._settle_first(advance)

    def _settle_first(self, advance: Callable[[], None]) -> None:
        source, future = self._waiting[0]
        if future is not None:
            wait_for([future])
            advance()
        self._waiting.popleft()  # before it is told, which an interrupt must not repeat
        self._analysing -= future is not None
        self._settle(source, future)

    def _settle_rest(self) -> None:
        """After a run that was stopped: what was on its way may have been answered, and its files are written."""
        self._waiting += [(source, None) for source in self._rest if source.target in self._skipped]
        for source, future in self._waiting:
            earlier = future is None and not self._report.interrupted
            if earlier or (future is not None and future.done() and not future.cancelled()):
                try:
                    self._settle(source, future)
                except TableFailed as error:
                    self._report.stopped = f"{self._report.stopped}; {error.detail}"
                except EngineUnavailable:
                    pass

    def _settle(self, source: Source, future: Future[_Done] | None) -> None:
        """Report a picture and tell the tables of it; one that is skipped has no future.

        Raises:
            EngineUnavailable: the engine has gone.
            TableFailed: a table cannot be written.
        """
        report = self._report
        try:
            done = self._job.earlier(source) if future is None else future.result()
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
            self._tell(lambda table: table.add(done.entry["file_name"], done.document or {}))
            return
        report.failed[str(source.path)] = reason
        self._tell(lambda table: table.fail(self._job.name(source), reason))

    def _tell(self, about: Callable[[Table], None]) -> None:
        """Tell every table of a picture. One that cannot be written is told of no further ones, and the others are.

        Raises:
            TableFailed: which ones, after all have been told.
        """
        failed: dict[Table, str] = {}
        for table in self._tables:
            try:
                about(table)
            except TableFailed as error:
                failed[table] = error.detail
        self._tables = [table for table in self._tables if table not in failed]
        if failed:
            raise TableFailed("; ".join(failed.values()))


def _progress() -> Progress:
    """A bar on standard error."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=stderr_console())


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
    """The work on each picture; arguments as in `predict_all`."""

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
        request = self.drawings.asked(self.options)
        try:
            everybody = self.engine.analyze(data, request)
        except (ImageTooLarge, UnsupportedImage) as error:
            if not source.is_video(data):
                raise
            raise type(error)(f"{error.detail}; a video is for `parsing-rcnn annotate`") from error
        if self.model is not None:
            everybody = mark_untrained(everybody, self.model)
        people = everybody if request == self.options else apply_threshold(everybody, self.options)
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
        # the document is read back, so that tables get what a later run with --resume would read
        return _Done(self._entry(source, len(people), written), read(source.target) if self.tabled else None)

    def earlier(self, source: Source) -> _Done:
        """The results of an earlier run."""
        document = read(source.target, self.options.tasks)
        count = len(document["predictions"])
        written = files_of(source.target, count, self.options, self.files, self.drawings)
        return _Done(self._entry(source, count, written), document)

    def _entry(self, source: Source, count: int, written: list[Path]) -> dict[str, Any]:
        names = {"source": str(source.path), "file_name": self.name(source)}
        return {**names, "people": count, "files": [str(path) for path in written]}
