"""The embedded engine: a blocking Analyzer behind a bounded pool and a bounded queue."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import structlog

from parsing_rcnn.analyzer import Analyzer, ModelInfo, Options
from parsing_rcnn.errors import BrokenModel, EngineUnavailable, InvalidOptions, ModelNotFound, ParsingRCNNError
from parsing_rcnn.inference.contention import THREADS
from parsing_rcnn.inference.cores import usable_cores
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.stopping import stoppable
from server.requests.call import Call
from server.threads import Threads

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between two tries to load; each is twice the one before
_CLOSING = 5.0  # seconds that `close` waits for pictures, for which nobody waits any more
_COMPILING = 15.0  # seconds that it waits for a graph that is being compiled, and written to the cache
_HIDDEN = "the model cannot be loaded; the log says why"

log = structlog.get_logger("server")


class EmbeddedEngine:
    """Loads an analyzer in the background, then analyses pictures on threads.

    Args:
        load: makes the analyzer. It runs on a worker thread, so that the gateway answers /healthz meanwhile.
        workers: number of threads, each of which analyses one picture at a time.
        queue: the most pictures that wait for a thread.
        choice: whether requests may name a model.
    """

    def __init__(self, load: Callable[[], Analyzer], workers: int, queue: int, *, choice: bool = True) -> None:
        self._load, self._queue, self._workers, self._choice = load, queue, workers, choice
        self._threads = Threads(workers, "engine")
        self._analyzer: Analyzer | None = None
        self._loading, self._closing = False, threading.Event()
        self._reason = "the model is being loaded"

    async def start(self) -> None:
        """Load and warm up. After a failure, try again after a pause, unless an option is wrong, which no try mends.

        Memory may become free, a volume may be mounted, a file may be copied again. Meanwhile the gateway says why it
        is not ready, which it could not if the process ended. An orchestrator (Kubernetes: `startupProbe`) or a person
        can restart it at any time.
        """
        pause = _FIRST_PAUSE
        try:
            while not await self._loaded(pause):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        except asyncio.CancelledError:
            self._closing.set()
            raise

    async def _loaded(self, pause: float) -> bool:
        """Try to load once, and keep the reason of a failure. Returns whether to stop trying: it worked, or no further
        try would help."""
        try:
            analyzer = await self._threads.begin(self._prepare)
        except InvalidOptions as error:
            self._reason = error.detail
            log.error("the model cannot be loaded", reason=error.detail)
            return True
        except ParsingRCNNError as error:
            # clients must not see paths, which these messages have
            has_paths = isinstance(error, BrokenModel | ModelNotFound)
            self._reason = _HIDDEN if has_paths else error.detail
            log.error("the model cannot be loaded", reason=error.detail, again_after_seconds=pause)
        except Exception as error:
            self._reason = _HIDDEN
            log.error("the model cannot be loaded", exc_info=error, again_after_seconds=pause)
        else:
            self._analyzer = analyzer
            log.info("ready", model=analyzer.info.name, version=analyzer.info.version, runtime=analyzer.info.runtime)
        return self._analyzer is not None

    def _prepare(self) -> Analyzer:
        self._loading = True
        try:
            analyzer = self._load()
            if isinstance(analyzer, Pipeline):  # no other one compiles anything
                self._warm(analyzer)
            return analyzer
        finally:
            self._loading = False

    def _warm(self, pipeline: Pipeline) -> None:
        """Compile the graphs that the first requests will need, on all cores; at a stop of the gateway, only those
        that are begun.
        """

        def do(call: Callable[[], object]) -> None:
            if not self._closing.is_set():
                call()

        # graphs for pictures that are analysed alone, and where there may be others for those beside them
        for alone in (True, False) if self._workers > 1 else (True,):
            with THREADS.assuming(alone=alone), ThreadPoolExecutor(usable_cores()) as pool:
                for calls in pipeline.warm():
                    list(pool.map(do, calls))
                    if self._closing.is_set():
                        pipeline.close()
                        raise EngineUnavailable("the gateway stops")  # nobody sees this, as who awaits it was cancelled

    @property
    def not_ready(self) -> str | None:
        """Why the engine cannot answer, or None when it can."""
        return None if self._analyzer is not None else self._reason

    @property
    def info(self) -> ModelInfo:
        """What runs.

        Raises:
            EngineUnavailable: nothing yet.
        """
        info = self._ready().info
        return info if self._choice else replace(info, models=())

    @property
    def capacity(self) -> int:
        """Pictures in work and waiting."""
        return self._workers + self._queue

    @property
    def busy(self) -> int:
        """How many pictures keep it fully busy: with more, answers come later, and the throughput hardly grows."""
        return max(2, self._workers - 1)

    @property
    def servers(self) -> Mapping[str, bool]:
        """Empty: this process computes by itself."""
        return {}

    def check(self) -> None:
        """Refuse before a picture is read.

        Raises:
            EngineUnavailable: not ready, and why.
        """
        self._ready()

    async def analyze(self, image: bytes, options: Options, call: Call) -> tuple[People, float]:
        """See `Engine.analyze`.

        Raises:
            EngineUnavailable: the engine is not ready; raised at once.
            DeadlineExceeded: the call's time was over before the picture's turn came.
            ParsingRCNNError: the picture or an option is not usable.
        """
        analyzer = self._ready()
        begin, given_up = time.perf_counter(), threading.Event()
        waited = 0.0

        def work() -> People:
            nonlocal waited
            waited = 1000 * (time.perf_counter() - begin)
            call.check()  # the event loop, which cancels at the deadline, may be late
            with stoppable(given_up):
                return analyzer.analyze(image, options)

        try:  # cancelling drops a picture that waits; one in work ends after the graph that runs
            return await self._threads.begin(work), waited
        finally:
            given_up.set()

    def _ready(self) -> Analyzer:
        if self._analyzer is None:
            raise EngineUnavailable(f"not ready: {self._reason}")
        return self._analyzer

    async def close(self) -> None:
        """Drop what waits, and wait for what is in work, but not for long: a decoder, or a runtime, that hangs must not
        keep the process alive. The analyzer is released unless something still uses it."""
        self._closing.set()
        if self._loading:
            log.info("stopping", waits_for="the model, of which one graph is compiled to the end")
        await self._threads.close(_COMPILING if self._loading else _CLOSING)
        if self._analyzer is not None and not self._threads.working:
            self._analyzer.close()
