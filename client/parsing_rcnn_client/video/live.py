"""Live sources: the newest frame is analysed, older ones are dropped and counted, a lost source is opened again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import Analyzer
from parsing_rcnn.errors import EngineUnavailable, InvalidOptions, ParsingRCNNError
from parsing_rcnn.people import People
from parsing_rcnn_client.video.backoff import Backoff
from parsing_rcnn_client.video.follow import Follower, Tracked
from parsing_rcnn_client.video.mailbox import Mailbox
from parsing_rcnn_client.video.media import Frame, Reader, Sink, SinkClosed, VideoError, VideoInfo, VideoToolMissing
from parsing_rcnn_client.video.pictures import pictured
from parsing_rcnn_client.video.records import Record
from parsing_rcnn_client.video.settings import Following
from parsing_rcnn_client.video.state import State
from parsing_rcnn_client.video.zones import ZoneCounter

MODES = ("align", "low-latency")
_PATIENCE = 30.0  # seconds to wait for frames that are at the engine
_WRITING = 5.0  # seconds, at least, to wait for pictures that are being written to an output


@dataclass(frozen=True, kw_only=True)
class LiveSettings(Following):
    """How to annotate live sources; the other attributes are those of `Following`.

    Attributes:
        mode: "align" shows each analysed frame with its own result, later by the duration of the analysis;
            "low-latency" shows the newest frame at once, with the people of the last result carried into it.
        reconnect: open a source again when it ends or is lost; False ends the work on it.
        pause: seconds before the first try to open it again; doubled up to 10, with jitter.
    """

    mode: str = "align"
    reconnect: bool = True
    pause: float = 0.5


class Source:
    """One live source, with two threads: one reads; the other one analyses, tracks, draws and shows.

    Args:
        name: for messages.
        open_reader: opens the source; called again after every loss.
        open_sink: opens the output as soon as the size is known; None shows nothing.
        records: get every frame that is shown, even while the output is away. They are called in a thread of this
            source: while one is slow, newer frames are dropped. An error of one ends the source. They are not closed
            here.
        ask: gives a frame to the engine.
        settings: how to annotate.
        stop: ends everything when set.
    """

    def __init__(
        self,
        name: str,
        open_reader: Callable[[], Reader],
        open_sink: Callable[[Reader], Sink] | None,
        records: Sequence[Record],
        ask: Callable[[Frame], Future[People]],
        settings: LiveSettings,
        stop: threading.Event,
    ) -> None:
        self.state = State(name)
        self._open_reader, self._open_sink, self._records, self._ask = open_reader, open_sink, records, ask
        self._settings, self._stop, self._ended = settings, stop, threading.Event()
        self._mailbox = Mailbox()
        self._sink: Sink | None = None
        self._output = threading.Lock()  # held while the sink or the records are used
        self._closed = False  # set when nobody waits for the threads any more
        self._info: VideoInfo | None = None  # of the pictures for which the output was opened
        self._counter: ZoneCounter | None = None  # created when the output is opened
        self._reader: Reader | None = None
        self._follower = Follower(settings.confidence, settings.smoothing, max_people=settings.max_people)
        self._begin = time.monotonic()
        self._failure: Exception | None = None
        self._threads = [threading.Thread(target=t, name=name, daemon=True) for t in (self._read, self._work)]
        for thread in self._threads:
            thread.start()

    @property
    def running(self) -> bool:
        """Whether a thread of the source is still running."""
        return any(thread.is_alive() for thread in self._threads)

    def close(self, patience: float, writing: float) -> None:
        """Stop the source and finish its output.

        Args:
            patience: seconds to wait for the threads.
            writing: seconds to wait for a picture that is being written.

        Raises:
            ParsingRCNNError: the output failed, or the source never gave a picture.
        """
        self._ended.set()
        if self._reader is not None:
            self._reader.close()
        begin = time.monotonic()
        for thread in self._threads:
            thread.join(max(begin + patience - time.monotonic(), 0))
        idle = self._output.acquire(timeout=max(begin + writing - time.monotonic(), 0))
        self._closed = True  # a thread that still waits for the engine must not use a finished output
        if idle:
            self._output.release()
        try:
            if self._sink is not None:
                self._sink.close() if idle else self._sink.abort()
        except Exception as error:  # an earlier failure is the cause of this one
            self._failure = self._failure or error
        if self._failure is not None:
            self._fail(self._failure)  # again, as the source may have set another problem meanwhile
            raise self._failure
        if not self.state.frames and self.state.problem is not None:
            raise VideoError(self.state.problem)

    def _fail(self, error: Exception) -> None:
        """End this source. `close` raises the error."""
        self._failure = error
        self.state.problem = error.detail if isinstance(error, ParsingRCNNError) else str(error)
        self._ended.set()

    def _done(self) -> bool:
        return self._stop.is_set() or self._ended.is_set()

    def _read(self) -> None:
        pauses = Backoff(self._settings.pause)
        while not self._done():
            before = self.state.frames
            try:
                self._deliver()
                if not self._done():
                    self.state.problem = "the source ended"
            except VideoToolMissing as error:
                self._fail(error)
                break
            except ParsingRCNNError as error:
                self.state.problem = error.detail
                if not self._settings.reconnect:
                    self._failure = self._failure or error
            except Exception as error:  # whatever it is, it ends this source
                self._fail(error)
                break
            self.state.connected = False
            if not self._settings.reconnect or self._done():
                break
            if self.state.frames > before:
                pauses.reset()
            self._ended.wait(pauses.next())
            self.state.reconnects += 1
        self._ended.set()

    def _deliver(self) -> None:
        reader = self._open_reader()
        self._reader = reader
        try:
            for frame in reader:
                if self._done():  # do not clear the problem: it may be a failure of the other thread
                    break
                if self._info is None and not self._begin_output(reader):
                    break
                self.state.connected, self.state.problem = True, None
                # the clock and the size stay the same when the source is opened again
                image, moment = self._fitted(frame.image), frame.arrived - self._begin
                moved = Frame(self.state.frames, moment, image, frame.arrived, self.state.reconnects)
                self.state.frames += 1
                self._mailbox.put(moved)
                self.state.dropped = self._mailbox.dropped
        finally:
            reader.close()

    def _begin_output(self, reader: Reader) -> bool:
        """Open the output. If that fails the source ends: opening the source again would not help."""
        try:
            with self._output:
                if not self._done():  # else it may be closed already
                    size = reader.info.height, reader.info.width
                    zones = self._settings.zones
                    self._counter = None if zones is None else ZoneCounter(zones, size)
                    self._sink = None if self._open_sink is None else self._open_sink(reader)
                    self._info = reader.info
        except Exception as error:
            self._fail(error)
        return self._info is not None

    def _fitted(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture, resized to the output if the source came back with another size."""
        assert self._info is not None
        size = self._info.width, self._info.height
        if image.shape[1::-1] == size:
            return image
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)

    def _work(self) -> None:
        try:
            while not self._closed:
                frame = self._mailbox.get(0.1)
                if frame is not None:
                    self._one(frame)
                elif self._done():
                    break
        except Exception as error:
            if self._closed:
                return
            if isinstance(error, SinkClosed):
                self._failure = None
                self._ended.set()
            else:  # the output failed
                self._fail(error)
            if self._reader is not None:
                self._reader.close()

    def _one(self, frame: Frame) -> None:
        future = self._ask(frame)
        if self._settings.mode == "low-latency":
            self._meanwhile(frame, future)
        try:
            people = future.result()
        except ParsingRCNNError as error:
            if not isinstance(error, EngineUnavailable):
                raise
            self.state.failed += 1
            self.state.engine_problem = error.detail
            if self._settings.mode == "align":  # else this frame, and newer ones, have been shown already
                self._show(self._follower.follow(frame, None))
            return
        self.state.analysed += 1
        self.state.engine_problem = None
        tracked = self._follower.follow(frame, people)
        if self._settings.mode == "align":
            self._show(tracked)

    def _meanwhile(self, frame: Frame, future: Future[People]) -> None:
        """Show the frames that come while the engine works, with the people of the last result."""
        while True:
            self._show(self._follower.follow(frame, None))
            newer = None
            while newer is None and not future.done() and not self._done():
                newer = self._mailbox.get(0.005)
            if newer is None:
                return
            frame = newer

    def _show(self, tracked: Tracked) -> None:
        live = self._info is not None and self._info.live
        at = time.time() - (time.monotonic() - tracked.frame.arrived) if live else None
        tracked = replace(tracked, source=self.state.name, at=at).counted(self._counter)
        picture = None if self._sink is None else pictured(tracked, self._settings.look, self._counter)
        with self._output:
            if self._closed:
                return
            problem = None
            if self._sink is not None and picture is not None:
                problem = self._sink.show(picture, tracked.frame.time)
            if not self._closed:  # else `close` has given up waiting for the output, and the records may be closed
                for record in self._records:
                    record.add(tracked)
            self.state.output_problem = problem
            if problem is not None:
                self.state.lost += 1
                return
            self.state.shown += 1
        lag = time.monotonic() - tracked.frame.arrived
        self.state.lag = max(lag, self.state.lag * 0.97)


class Live:
    """Many sources that share one engine. Each has at most one frame waiting for it, and they are served in turn, so
    that a fast source takes nothing from a slow one.

    Args:
        engine: shared by all sources. A client of a server should be opened with `retry=False`, because a frame that is
            tried again holds up all others.
        settings: for all sources.
        in_flight: how many frames are at the engine at once.
    """

    def __init__(self, engine: Analyzer, settings: LiveSettings, in_flight: int = 1) -> None:
        self._engine, self._settings = engine, settings
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(in_flight, "analyze")  # first come, first served
        self._options = settings.request(engine)
        self.sources: list[Source] = []

    def add(
        self,
        name: str,
        open_reader: Callable[[], Reader],
        open_sink: Callable[[Reader], Sink] | None = None,
        *,
        endless: bool = True,
        records: Sequence[Record] = (),
    ) -> Source:
        """Start a source; arguments as in `Source`. One that is not endless, such as a file, is not opened again."""
        settings = replace(self._settings, reconnect=self._settings.reconnect and endless)
        source = Source(name, open_reader, open_sink, records, self.ask, settings, self._stop)
        self.sources.append(source)
        return source

    @property
    def reconnects(self) -> bool:
        """Whether lost sources and outputs are opened again."""
        return self._settings.reconnect

    @property
    def running(self) -> bool:
        """Whether any source is still running."""
        return any(source.running for source in self.sources)

    def close(self, *, within: float = _PATIENCE) -> None:
        """Stop all sources and finish their outputs.

        Args:
            within: seconds to wait for frames at the engine, of all sources together. Whatever takes longer, such as an
                output that nobody reads any more, is left alone; `running` is then still True.

        Raises:
            ParsingRCNNError: a source or an output failed; the others are finished nevertheless.
        """
        self._stop.set()
        failures: list[Exception] = []
        begin = time.monotonic()
        for source in self.sources:  # all of them may be waiting for the same reader, who has stopped
            passed = time.monotonic() - begin
            try:
                source.close(max(within - passed, 0), max(within, _WRITING) - passed)
            except Exception as error:  # the first is raised when all are finished
                failures.append(error)
        self._pool.shutdown(wait=not self.running, cancel_futures=True)
        if failures:  # other errors are more important than wrong options
            raise next((failure for failure in failures if not isinstance(failure, InvalidOptions)), failures[0])

    def ask(self, frame: Frame) -> Future[People]:
        """Give a frame to the engine, behind those that are already waiting."""
        return self._pool.submit(self._engine.analyze, frame.image, self._options)
