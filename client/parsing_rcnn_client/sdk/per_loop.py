"""Objects that belong to an event loop, for clients that may be used in several."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


async def _nothing(_: object) -> None: ...


class PerLoop(Generic[T]):
    """One object for each event loop. Connections and semaphores work only in the loop in which they were first used,
    and every `asyncio.run` has a new one, at whose end the object is released.

    Args:
        make: makes an object.
        release: releases it, in its loop. It is not called for a loop that was closed without
            `loop.shutdown_asyncgens()`: that object is left to the garbage collector.
    """

    def __init__(self, make: Callable[[], T], release: Callable[[T], Awaitable[None]] = _nothing) -> None:
        self._make, self._release = make, release
        # an object may refer to its loop, so weak references to loops would not be lost
        self._objects: dict[asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[None]]] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def get(self) -> T:
        """The object of the running loop, made at the first call in it."""
        loop = asyncio.get_running_loop()
        if loop not in self._objects:
            self._drop_closed()
            made = self._make()
            held = self._hold(loop, made)
            with suppress(StopIteration):  # up to its `yield`, without a wait: from here on the loop knows it
                held.__anext__().send(None)
            self._objects[loop] = made, held
        return self._objects[loop][0]

    async def close(self) -> None:
        """Release the object of the running loop. Safe to call twice."""
        self._drop_closed()
        _, held = self._objects.pop(asyncio.get_running_loop(), (None, None))
        if held is not None:
            await held.aclose()

    async def _hold(self, loop: asyncio.AbstractEventLoop, made: T) -> AsyncGenerator[None]:
        """Nothing, until it is closed. A loop closes its asynchronous generators at its end."""
        try:
            yield
        finally:
            self._objects.pop(loop, None)
            await self._release(made)

    def _drop_closed(self) -> None:
        for loop in list(self._objects):
            if loop.is_closed():
                self._objects.pop(loop, None)
