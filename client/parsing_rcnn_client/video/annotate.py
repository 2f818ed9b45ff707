"""A video in, an annotated video out: every frame, each with its own result, in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.people import Analyzer, People
from parsing_rcnn_client.video.follow import Follower, Tracked, request
from parsing_rcnn_client.video.layers import Look, render
from parsing_rcnn_client.video.media import Frame, Reader, Writer
from parsing_rcnn_client.video.records import Record
from parsing_rcnn_client.video.smoothing import Smoothing
from parsing_rcnn_client.video.stages import Stages


@dataclass(frozen=True)
class Settings:
    """How to annotate.

    Attributes:
        look: what to draw.
        confidence: the lowest score that starts a track.
        max_people: of a frame.
        every: analyse every k-th frame and carry the people through those in between.
        smoothing: how steady; None for maps as they come.
        in_flight: frames at the engine at once.
        tasks: to compute beside those of the look, for the records.
    """

    look: Look = field(default_factory=Look)
    confidence: float = 0.5
    max_people: int = 64
    every: int = 1
    smoothing: Smoothing | None = field(default_factory=Smoothing)
    in_flight: int = 2
    tasks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        frames: written.
        tracks: people, by their numbers.
        seconds: of the whole run.
        busy: stage -> seconds of work; the longest is what the run cannot be faster than.
    """

    frames: int
    tracks: int
    seconds: float
    busy: dict[str, float]

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
        reader: of the source. It is closed at the end.
        writer: of the result; None writes records only. It is not closed here.
        settings: how.
        records: take every frame with its people. They are not closed here.
        progress: told the frames done so far.

    Raises:
        ParsingRCNNError: the source, the engine or the output failed.
    """
    follower = Follower(settings.confidence, settings.smoothing)
    wanted = request(settings.look.tasks | settings.tasks, settings.confidence, settings.max_people)
    busy_engine, busy_reader = [0.0], [0.0]
    begin, done = time.perf_counter(), 0

    def analyse(frame: Frame) -> People:
        start = time.perf_counter()
        try:
            return engine.analyze(frame.image, wanted)
        finally:
            busy_engine[0] += time.perf_counter() - start

    def draw(tracked: Tracked) -> tuple[Tracked, NDArray[np.uint8]]:
        shown = tracked.frame.image
        if writer is not None:
            shown = render(shown, tracked.people, tracked.numbers, tracked.shown, settings.look)
        return tracked, shown

    with Stages() as stages, ThreadPoolExecutor(settings.in_flight, "analyze") as pool:

        def ask(frame: Frame) -> tuple[Frame, Future[People] | None]:
            return frame, pool.submit(analyse, frame) if frame.index % settings.every == 0 else None

        waits = [0.0]

        def follow(asked: tuple[Frame, Future[People] | None]) -> Tracked:
            frame, future = asked
            start = time.perf_counter()
            people = None if future is None else future.result()
            waits[0] += time.perf_counter() - start
            return follower.follow(frame, people)

        def read(reader: Reader) -> Iterator[Frame]:
            start = time.perf_counter()
            for frame in reader:
                busy_reader[0] += time.perf_counter() - start
                yield frame
                start = time.perf_counter()

        frames = stages.run("read", read(reader), lambda frame: frame, 2)
        asked = stages.run("ask", frames, ask, max(settings.in_flight - 1, 1))
        tracked = stages.run("follow", asked, follow, 2)
        try:
            for result, picture in stages.run("draw", tracked, draw, 2):
                start = time.perf_counter()
                for record in records:
                    record.add(result)
                if writer is not None:
                    writer.write(picture, result.frame.time)
                stages.busy["write"] = stages.busy.get("write", 0.0) + time.perf_counter() - start
                done += 1
                progress(done)
        finally:
            reader.close()
        busy = {**stages.busy, "read": busy_reader[0], "analyze": busy_engine[0] / settings.in_flight}
    busy["follow"] -= waits[0]
    del busy["ask"]
    return Summary(done, follower.count, time.perf_counter() - begin, busy)
