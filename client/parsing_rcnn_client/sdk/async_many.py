"""The answers of many pictures for asyncio, in their order, while further pictures come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable

from parsing_rcnn.codecs.picture import Picture
from parsing_rcnn.people import People


async def answers(
    source: AsyncIterable[Picture], begin: Callable[[Picture], Awaitable[asyncio.Task[People]]], room: int
) -> AsyncIterator[People | Exception]:
    """Each picture's people, or its exception.

    Args:
        source: of the pictures. It is followed in one task, so that an answer waits for no later picture.
        begin: begins with a picture.
        room: the most pictures that are taken and not answered.

    Raises:
        Exception: what `source` raised, after the answers of the pictures before.
    """
    free = asyncio.Semaphore(room)
    begun: asyncio.Queue[asyncio.Task[People] | None] = asyncio.Queue()

    async def follow() -> None:
        try:
            await free.acquire()
            async for picture in source:
                begun.put_nowait(await begin(picture))
                await asyncio.sleep(0)  # what is finished gets its turn even if the source never waits
                await free.acquire()
        finally:
            begun.put_nowait(None)

    following = asyncio.create_task(follow())
    try:
        while (task := await begun.get()) is not None:
            answer = await _settled(task)
            free.release()
            yield answer
        if following.cancelled():
            raise RuntimeError("the pictures ended: what they waited for was cancelled")
        await following  # raises what the source raised
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        while not begun.empty():
            if (task := begun.get_nowait()) is not None:
                task.cancel()


async def _settled(task: asyncio.Task[People]) -> People | Exception:
    try:
        return await task
    except Exception as error:  # handed to the caller as this picture's result
        return error
