"""Codecs and drawing off the event loop, on threads of their own and within a bound of memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from parsing_rcnn.inference.cores import usable_cores

T = TypeVar("T")

PIXELS = 64_000_000
_SMALL = 2**21
_MOST_THREADS = 16


class Offload:
    """Encodes answers.

    Drawing takes about nine bytes for each pixel. So a picture above Full HD waits, in the order of coming, until it
    and those in work have no more than `pixels` together; one that has more by itself runs alone. Smaller pictures wait
    for a thread only.

    Args:
        pixels: of all larger pictures in work.
    """

    def __init__(self, pixels: int = PIXELS) -> None:
        self.pixels, self.held = pixels, 0
        self._pool = ThreadPoolExecutor(min(_MOST_THREADS, usable_cores() + 4), thread_name_prefix="offload")
        self._turn, self._room = asyncio.Lock(), asyncio.Event()

    async def run(self, pixels: int, function: Callable[..., T], *arguments: object) -> T:
        """Call the function on a thread.

        Args:
            pixels: of the picture that it works on.
            function: which is not interrupted when the caller is cancelled: it keeps its room until it returns.
            arguments: of it.
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
        """Finish what is in work."""
        await asyncio.to_thread(self._pool.shutdown, wait=True)
