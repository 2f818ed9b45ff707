"""The client side of a gateway's `WS /v1/stream`: sends the newest frame, and gives the answers in order."""

from __future__ import annotations

import asyncio
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from parsing_rcnn.codecs.picture import Picture
from parsing_rcnn.errors import EngineUnavailable, ImageTooLarge, ParsingRCNNError
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import Taxonomy
from parsing_rcnn_client.sdk.connection import TOO_BIG, Target
from parsing_rcnn_client.sdk.latest_frame import Newest
from parsing_rcnn_client.sdk.retries import retrying_async, too_late
from parsing_rcnn_client.sdk.wire import (
    Busy,
    GatewayError,
    OtherClasses,
    Streamed,
    encode_image,
    frame_message,
    is_of,
    read_streamed,
)

_T = TypeVar("_T")
_WINDOW = 2  # the most frames sent whose answers nobody has taken: one is computed, one waits behind it
_LASTING = 2.0  # a lost connection that held for so many seconds was a good one, and is opened again at once


@dataclass(eq=False)
class _Frame:
    number: int
    picture: Picture
    sent_at: float  # loop time
    size: int = 0  # bytes that were sent
    people: People | ParsingRCNNError | None = None


class Stream:
    """One live stream. It is made inside a running event loop.

    Args:
        target: where frames go.
        taxonomy: of the answers.
        renewed: asks the gateway for its taxonomy again; called when an answer has another one.
        frames: encoded pictures, paths, uint8 [H,W,3] arrays or pictures of Pillow.
    """

    def __init__(
        self,
        target: Target,
        taxonomy: Taxonomy,
        renewed: Callable[[], Awaitable[Taxonomy]],
        frames: Iterable[Picture] | AsyncIterable[Picture],
    ) -> None:
        self._target, self._taxonomy, self._renewed = target, taxonomy, renewed
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._frames = Newest(frames, self._changed.set)
        self._sent: deque[_Frame] = deque()  # in order, until their answers are taken
        self._told = 0  # how many answers were taken
        self._not_before = 0.0  # loop time until which a busy gateway wants no frame
        self._useful = False  # whether this connection brought an answer
        self._most = self._before = 0  # highest tracker_id so far, and before this connection: each begins at 1
        self._failure: Exception | None = None
        self._work = asyncio.create_task(self._connect_until_done())
        self._work.add_done_callback(lambda _: self._changed.set())

    async def answer(self) -> Streamed | None:
        """The next answer; None after the last.

        Raises:
            EngineUnavailable: the gateway was away for too long.
            ParsingRCNNError: it refuses the stream.
            Exception: what the frames raised, after their last answer.
        """
        await self._until(lambda: self._work.done() or (bool(self._sent) and self._sent[0].people is not None))
        while self._sent:
            frame = self._sent.popleft()
            self._changed.set()
            if frame.people is not None:
                self._told += 1
                return Streamed(frame.number, frame.picture, frame.people, frame.number + 1 - self._told)
        if (failure := self._failure or self._frames.failure) is not None:
            raise failure
        return None

    async def close(self) -> None:
        """End it, whatever is on its way."""
        self._work.cancel()
        await asyncio.gather(self._work, return_exceptions=True)
        await self._frames.close()

    async def _until(self, ready: Callable[[], bool]) -> None:
        while not ready():
            self._changed.clear()
            await self._changed.wait()

    def _unanswered(self) -> list[_Frame]:
        return [frame for frame in self._sent if frame.people is None]

    def _settle(self, frame: _Frame, people: People | ParsingRCNNError) -> None:
        frame.people = people
        self._changed.set()

    async def _connect_until_done(self) -> None:
        """Connect, and connect again whenever the connection is lost, until the frames have ended and are answered."""
        done = False
        try:
            while not done:
                end = time.monotonic() + self._target.timeout
                async for attempt in retrying_async(end, self._target.retry, self._target.outage):
                    with attempt:
                        done = await self._connection(end)
        except Exception as error:  # whatever it is, the stream is over
            self._failure = error

    async def _connection(self, end: float) -> bool:
        """Open a connection and use it until it ends.

        Args:
            end: value of time.monotonic() by which it has to be open.

        Returns:
            Whether all is done. If not, a good connection was lost, and another may be opened at once.

        Raises:
            EngineUnavailable: it could not be opened, or was lost at once.
            ParsingRCNNError: the gateway refuses the stream.
        """
        socket = await self._target.open(max(end - time.monotonic(), 0.05))
        self._useful, self._before, begin = False, self._most, time.monotonic()
        try:
            async with socket:
                await self._talk(socket)
            return True
        except ConnectionClosed as closed:
            lost, code = self._target.lost(closed)
            if code == TOO_BIG:
                self._refuse_largest()
        except EngineUnavailable as away:  # a frame is late, and holds up the rest; or nobody says what runs now
            lost, self._useful = away, True
        for frame in self._unanswered():
            self._settle(frame, lost)
        if self._frames.ended and not self._frames.waits:
            return True
        if self._target.retry and (self._useful or time.monotonic() - begin > _LASTING):
            return False
        raise lost

    def _refuse_largest(self) -> None:
        """The gateway refused a frame for its size: settle the largest one on its way as that frame."""
        if unanswered := self._unanswered():
            frame = max(unanswered, key=lambda frame: frame.size)
            message = (
                f"a frame of {frame.size} bytes is beyond the limit there: send it smaller, arrays by jpeg_quality"
            )
            self._settle(frame, ImageTooLarge(f"{self._target.url}: {message}"))
            self._useful = True

    async def _talk(self, socket: ClientConnection) -> None:
        """Send and receive until everything is answered.

        Raises:
            ConnectionClosed: the connection ended.
            EngineUnavailable: a frame had no answer in time (`DeadlineExceeded`), or nobody tells what runs now.
            GatewayError: an answer to no frame of ours, or the key is refused by now.
        """
        both = asyncio.create_task(self._send(socket)), asyncio.create_task(self._receive(socket))
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            sent, received = await asyncio.gather(*both, return_exceptions=True)
        if sent is not None:  # else all is answered, however the connection ended
            raise received if isinstance(received, Exception) else sent

    async def _send(self, socket: ClientConnection) -> None:
        frames = self._frames
        while True:
            await self._until(lambda: len(self._sent) < _WINDOW and (frames.waits or frames.ended))
            if (pause := self._not_before - self._loop.time()) > 0:
                await asyncio.sleep(pause)
            if (taken := frames.take()) is None:
                await self._until(lambda: not self._unanswered())
                return
            frame = _Frame(*taken, self._loop.time())
            self._sent.append(frame)
            try:
                picture = await asyncio.to_thread(
                    encode_image, frame.picture, self._target.jpeg_quality, bgr=self._target.bgr
                )
            except ParsingRCNNError as error:
                self._settle(frame, error)
                continue
            frame.size = len(picture)
            with suppress(ConnectionClosed):  # what was received before is read first
                await socket.send(frame_message(frame.number, picture))

    async def _receive(self, socket: ClientConnection) -> None:
        target, last = self._target, -math.inf
        while True:
            now, first = self._loop.time(), next(iter(self._unanswered()), None)
            # those behind the first wait for it: their time begins with its answer
            due = math.inf if first is None else max(first.sent_at, last) + target.timeout
            if due <= now:
                raise too_late(target.url)
            try:
                async with asyncio.timeout_at(min(due, now + target.timeout)):
                    message = await socket.recv()
            except TimeoutError:
                continue
            last = self._loop.time()
            try:
                number, people = read_streamed(message, self._taxonomy, target.url)
            except OtherClasses:
                self._taxonomy = await self._renewed()
                number, people = read_streamed(message, self._taxonomy, target.url)
            target.outage.over()
            if isinstance(people, GatewayError) and people.status == 401:
                raise people
            if isinstance(people, Busy):
                self._not_before = self._loop.time() + people.retry_after
            frame = next((frame for frame in self._unanswered() if is_of(number, frame.number)), None)
            if frame is None:
                raise GatewayError(502, "bad-answer", f"{target.url} answers to a frame that was not sent")
            for older in self._unanswered():
                if older.number < frame.number:  # this one took its place there
                    self._sent.remove(older)
            self._settle(frame, self._renumbered(people))
            self._useful = True

    def _renumbered(self, people: People | ParsingRCNNError) -> People | ParsingRCNNError:
        """The same people, with tracker ids that no earlier connection used."""
        if not isinstance(people, People) or people.tracker_id is None:
            return people
        numbers = people.tracker_id + np.int32(self._before)
        self._most = max(self._most, int(numbers.max(initial=0)))
        return replace(people, tracker_id=numbers)


def blocking(
    target: Target, taxonomy: Taxonomy, renewed: Callable[[], Awaitable[Taxonomy]], frames: Iterable[Picture]
) -> Iterator[Streamed]:
    """The answers of a `Stream` for callers without an event loop: it runs in a thread of its own, all the time.

    Raises:
        EngineUnavailable: as of `Stream`; or this is a child of the process whose stream it is, without that thread.
    """
    loop, caller, process = asyncio.new_event_loop(), threading.get_ident(), os.getpid()

    def run() -> None:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    def wait(step: Coroutine[Any, Any, _T]) -> _T:
        if os.getpid() != process:
            step.close()
            raise EngineUnavailable(f"{target.url}: this stream is of the process that forked this one; begin one here")
        return asyncio.run_coroutine_threadsafe(step, loop).result()

    async def begin() -> Stream:
        return Stream(target, taxonomy, renewed, frames)

    async def end() -> None:
        await stream.close()
        loop.stop()

    thread = threading.Thread(target=run, name="stream", daemon=True)
    thread.start()
    stream = wait(begin())
    try:
        while (answer := wait(stream.answer())) is not None:
            yield answer
    finally:
        if not sys.is_finalizing() and os.getpid() == process:  # threads stand still then, or are not here
            asyncio.run_coroutine_threadsafe(end(), loop)
            if threading.get_ident() == caller:  # else it was forgotten, and any thread collects garbage: also `thread`
                thread.join()
