"""Live streams for tests: engines and frames that say where they are, and who asks, by threads and by asyncio."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest

from parsing_rcnn.codecs.picture import Picture
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP
from parsing_rcnn_client import AsyncClient, Client, Streamed
from parsing_rcnn_client.sdk import retries, streaming
from tests.server.conftest import INFO, Slow


class Patient(Slow):
    """`Slow`, of a taxonomy that clients know. Counts what it began."""

    info = replace(INFO, classes=CIHP.classes)

    def __init__(self, *, opened: bool = False) -> None:
        super().__init__()
        self.count = 0
        if opened:
            self.gate.set()

    def analyze(self, image: Any, *options: Any) -> People:
        self.count += isinstance(image, bytes)
        return super().analyze(image, *options)


class Told(os.PathLike[str]):
    """The path of a frame that says when it is read, which is when it is sent."""

    def __init__(self, path: Path) -> None:
        self.path, self.read = path, threading.Event()

    def __fspath__(self) -> str:
        self.read.set()
        return str(self.path)


class Clock:
    """The clock of streams that are opened from now on; it may `jump`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead, self._loops = 0.0, list[asyncio.AbstractEventLoop]()
        new_loop = asyncio.new_event_loop

        def with_this_clock() -> asyncio.AbstractEventLoop:
            loop = new_loop()
            loop.time = self.now  # type: ignore[method-assign]
            self._loops.append(loop)
            return loop

        for module in (asyncio, asyncio.events):
            monkeypatch.setattr(module, "new_event_loop", with_this_clock)
        for module in (retries, streaming):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=self.now))

    def now(self) -> float:
        return time.monotonic() + self._ahead

    def jump(self, seconds: float) -> None:
        """Have so many seconds passed, and let everybody see it who waits."""
        self._ahead += seconds
        for loop in self._loops:
            with suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(lambda: None)


def by_threads(url: str, frames: Iterable[Picture], options: dict[str, Any], **given: Any) -> Iterator[Streamed]:
    with Client.connect(url, **given) as client:
        yield from client.stream(frames, **options)


def by_asyncio(url: str, frames: Iterable[Picture], options: dict[str, Any], **given: Any) -> Iterator[Streamed]:
    """From a loop that runs in another thread, as an application of its own."""
    answers: SimpleQueue[Streamed | Exception | None] = SimpleQueue()

    async def ask() -> None:
        try:
            async with AsyncClient.connect(url, **given) as client:
                async for answer in client.stream(frames, **options):
                    answers.put(answer)
        except Exception as error:
            answers.put(error)
        answers.put(None)

    thread = threading.Thread(target=asyncio.run, args=(ask(),))
    thread.start()
    while (answer := answers.get(timeout=120)) is not None:
        if isinstance(answer, Exception):
            raise answer
        yield answer
    thread.join(30)


Ask = Callable[..., Iterator[Streamed]]
both = pytest.mark.parametrize("ask", [by_threads, by_asyncio])


def one_by_one(ask: Ask, url: str, frames: Iterable[Picture], **given: Any) -> list[Streamed]:
    """Answers to all frames: each comes when the one before is answered."""
    room: SimpleQueue[None] = SimpleQueue()
    room.put(None)

    def source() -> Iterator[Picture]:
        for frame in frames:
            room.get(timeout=60)
            yield frame

    found = []
    for answer in ask(url, source(), {}, **given):
        found.append(answer)
        room.put(None)
    return found
