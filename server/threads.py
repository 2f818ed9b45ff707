"""A pool of threads that the end of the gateway waits for, but not for long."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import structlog

from parsing_rcnn.errors import EngineUnavailable

T = TypeVar("T")

log = structlog.get_logger("server")
_pools: weakref.WeakSet[Threads] = weakref.WeakSet()


def at_work() -> bool:
    """Whether any of the threads here still runs something, for which the end of Python would wait."""
    return any(threads.working for threads in _pools)


class Threads:
    """Calls blocking functions for an event loop.

    Args:
        count: the most functions that run at the same time.
        name: of the threads.
    """

    def __init__(self, count: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._working: set[Future[Any]] = set()
        self._ended = asyncio.Event()
        self._name, self._closed = name, False
        _pools.add(self)

    @property
    def working(self) -> int:
        """How many functions run, or wait for a thread."""
        return len(self._working)

    def begin(
        self, function: Callable[..., T], *arguments: object, then: Callable[[], None] | None = None
    ) -> asyncio.Future[T]:
        """Call a function on a thread, now or when one is free.

        Args:
            function: what to call.
            arguments: of the function.
            then: called on the event loop when it has returned, or was dropped, whether or not somebody still waits.

        Returns:
            Its result to come. Cancelling that drops the function if it still waits.

        Raises:
            EngineUnavailable: the gateway stops, or the system gives no more threads.
        """
        if self._closed:
            raise EngineUnavailable("the gateway stops")
        loop, dropped = asyncio.get_running_loop(), threading.Event()

        def called() -> T:
            if dropped.is_set():
                raise CancelledError
            return function(*arguments)

        def done(work: Future[T]) -> None:
            with suppress(RuntimeError):  # the loop is closed: the gateway did not wait for this
                loop.call_soon_threadsafe(self._done, work, then)

        try:
            work = self._pool.submit(called)
        except RuntimeError as error:  # it waits in the queue all the same
            dropped.set()
            raise EngineUnavailable(f"the system starts no thread for this now: {error}") from None
        self._working.add(work)
        work.add_done_callback(done)
        return asyncio.wrap_future(work)

    def _done(self, work: Future[Any], then: Callable[[], None] | None) -> None:
        self._working.discard(work)
        self._ended.set()
        if then is not None:
            then()

    async def close(self, seconds: float) -> None:
        """Drop what waits for a thread, and wait for what runs, for so many seconds; `working` says what is left."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._working:
                    self._ended.clear()
                    await self._ended.wait()
        if self.working:
            log.warning(
                "stopped without the end of work that cannot be interrupted", threads=self._name, count=self.working
            )
