"""Runs codecs and drawing on threads, so that the event loop stays free, and bounds the memory of this work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from parsing_rcnn.inference.cores import usable_cores
from parsing_rcnn.limits import MAX_PIXELS

T = TypeVar("T")

PIXELS = MAX_PIXELS
_SMALL = 2**21
_MOST_THREADS = 16


class Offload:
    """A pool of threads that encode answers.

    Drawing takes about nine bytes for each pixel. So a large picture (above Full HD) waits in turn until all large
    pictures in work, with it, have at most `pixels` pixels. One with more than that runs alone. Smaller pictures wait
    only for a thread.

    Args:
        pixels: the most pixels of all large pictures in work together.
    """

    def __init__(self, pixels: int = PIXELS) -> None:
        self.pixels, self.held = pixels, 0
        self._pool = ThreadPoolExecutor(min(_MOST_THREADS, usable_cores() + 4), thread_name_prefix="offload")
        self._turn, self._room = asyncio.Lock(), asyncio.Event()

    async def run(self, pixels: int, function: Callable[..., T], *arguments: object) -> T:
        """Call the function on a thread.

        Args:
            pixels: of the picture that the function works on.
            function: what to run. Cancelling the caller does not interrupt it, and its pixels count until it returns.
            arguments: of the function.
        """
        weight = 0 if pixels <= _SMALL else min(pixels, self.pixels)
        if weight:
            async with self._turn:
                while self.held + weight > self.pixels:
                    self._room.clear()
                    await self._room.wait()
                self.held += weight
        loop = asyncio.get_running_loop()

        def done(_: Future[T]) -> None:
            loop.call_soon_threadsafe(self._leave, weight)

        work = self._pool.submit(function, *arguments)
        work.add_done_callback(done)
        return await asyncio.wrap_future(work)

    def _leave(self, weight: int) -> None:
        self.held -= weight
        self._room.set()

    async def close(self) -> None:
        """Wait for the functions that run."""
        await asyncio.to_thread(self._pool.shutdown, wait=True)
