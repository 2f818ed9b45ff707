"""A video in, an annotated video out: every frame, each with its own result, in order."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import Analyzer
from parsing_rcnn.people import People
from parsing_rcnn_client.signals import signals_wait
from parsing_rcnn_client.video.follow import Follower, Tracked
from parsing_rcnn_client.video.media import Frame, Reader, Writer
from parsing_rcnn_client.video.pictures import pictured
from parsing_rcnn_client.video.records import Record
from parsing_rcnn_client.video.settings import Following
from parsing_rcnn_client.video.stages import Stages
from parsing_rcnn_client.video.zones import Counts, ZoneCounter


@dataclass(frozen=True, kw_only=True)
class Settings(Following):
    """How to annotate a video; the other attributes are those of `Following`.

    Attributes:
        every: analyse every k-th frame and carry the people through those in between.
        in_flight: frames at the engine at once.
    """

    every: int = 1
    in_flight: int = 3


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        frames: written.
        tracks: people, by their numbers.
        seconds: of the whole run.
        busy: stage -> seconds of work; the longest is what the run cannot be faster than.
        zones: zone -> people in it at the end.
        lines: line -> {"in": times, "out": times} that somebody passed it.
    """

    frames: int
    tracks: int
    seconds: float
    busy: dict[str, float]
    zones: dict[str, int] = field(default_factory=dict)
    lines: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def fps(self) -> float:
        """Frames a second, reading and writing included."""
        return self.frames / max(self.seconds, 1e-9)


def annotate(
    engine: Analyzer,
    reader: Reader,
    writer: Writer | None,
    settings: Settings,
    *,
    records: Sequence[Record] = (),
    progress: Callable[[int], None] = lambda frames: None,
) -> Summary:
    """Annotate a whole video. No frame is lost: a slow stage makes the others wait.

    Args:
        engine: that analyses.
        reader: of the source. It is closed at the end. With a writer, its frames are drawn over where they can be.
        writer: of the result; None writes records only. It is not closed here.
        settings: how.
        records: take every frame with its people. They are not closed here.
        progress: told the frames done so far.

    Raises:
        InvalidOptions: a zone lies outside the picture.
        ParsingRCNNError: the source, the engine or the output failed.
        KeyboardInterrupt: as it came. Analyses that are under way are not waited for, so their threads may still run.
    """
    stages, pool = Stages(), ThreadPoolExecutor(settings.in_flight, "analyze")
    interrupted = False
    try:
        run = _Run(engine, reader, writer, settings, pool)
        begin, done, counts = time.perf_counter(), 0, Counts()
        frames = stages.run("read", run.read(), lambda frame: frame, 2)
        submitted = stages.run("ask", frames, run.ask, max(settings.in_flight - 1, 1))
        tracked = stages.run("follow", submitted, run.follow, 2)
        try:
            for result, picture in stages.run("draw", tracked, run.draw, 2):
                # all outputs have the same frames, and as many as `progress` is told, unless a signal comes while one
                # of them hangs, as a pipe does that nobody reads
                with signals_wait():
                    run.write(result, picture, records)
                    done, counts = done + 1, result.counts or counts
                    progress(done)
        finally:
            reader.close()
        busy = run.busy(stages.busy)
    except KeyboardInterrupt:
        interrupted = True  # do not wait for the engine: this thread has all finished frames
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        stages.close(0.5 if interrupted else 30)
        pool.shutdown(wait=not interrupted)
    return Summary(done, run.follower.count, time.perf_counter() - begin, busy, counts.zones, counts.lines)


class _Run:
    """The work of every stage, with the time it takes; each method belongs to one thread."""

    def __init__(
        self, engine: Analyzer, reader: Reader, writer: Writer | None, settings: Settings, pool: ThreadPoolExecutor
    ) -> None:
        # every gap ends with an analysis, however far apart two frames are
        self.follower = Follower(settings.confidence, settings.smoothing, gap=math.inf, max_people=settings.max_people)
        self._engine, self._reader, self._writer, self._settings = engine, reader, writer, settings
        size = reader.info.height, reader.info.width
        self._counter = None if settings.zones is None else ZoneCounter(settings.zones, size)
        self._pool, self._wanted = pool, settings.request(engine)
        self._first: int | None = None  # index of the first frame; not 0 where a video is annotated in part
        self._reading = self._waiting = self._writing = 0.0
        self._analysing: deque[float] = deque()  # seconds from several threads, added up at the end

    def read(self) -> Iterator[Frame]:
        start = time.perf_counter()
        for frame in self._reader:
            self._reading += time.perf_counter() - start
            yield frame
            start = time.perf_counter()

    def ask(self, frame: Frame) -> tuple[Frame, Future[People] | None]:
        self._first = frame.index if self._first is None else self._first
        analysed = (frame.index - self._first) % self._settings.every == 0
        return frame, self._pool.submit(self._analyse, frame) if analysed else None

    def follow(self, submitted: tuple[Frame, Future[People] | None]) -> Tracked:
        frame, future = submitted
        start = time.perf_counter()
        people = None if future is None else future.result()
        self._waiting += time.perf_counter() - start
        return self.follower.follow(frame, people).counted(self._counter)

    def draw(self, tracked: Tracked) -> tuple[Tracked, NDArray[np.uint8]]:
        if self._writer is None:
            return tracked, tracked.frame.image
        # the frame is not needed any more; a copy would take a sixth of the time of drawing
        return tracked, pictured(tracked, self._settings.look, self._counter, reuse=True)

    def write(self, tracked: Tracked, picture: NDArray[np.uint8], records: Sequence[Record]) -> None:
        start = time.perf_counter()
        if self._writer is not None:  # first, as it may take long, and a signal does not wait for ever
            self._writer.write(picture, tracked.frame.time)
        for record in records:
            record.add(tracked)
        self._writing += time.perf_counter() - start

    def busy(self, stages: dict[str, float]) -> dict[str, float]:
        """Stage -> seconds of work in its thread or threads."""
        return {
            "read": self._reading,
            "analyze": sum(self._analysing) / self._settings.in_flight,
            "follow": stages["follow"] - self._waiting,
            "draw": stages["draw"],
            "write": self._writing,
        }

    def _analyse(self, frame: Frame) -> People:
        start = time.perf_counter()
        try:
            return self._engine.analyze(frame.image, self._wanted)
        finally:
            self._analysing.append(time.perf_counter() - start)
