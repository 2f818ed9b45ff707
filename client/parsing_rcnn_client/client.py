"""`Client` and `AsyncClient`: pictures in, `People` out, whoever computes them."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.codecs.picture import Picture, load
from parsing_rcnn.people import Analyzer, ModelInfo, Options, People
from parsing_rcnn_client.gateway import AsyncGateway, Gateway
from parsing_rcnn_client.wire import Streamed, hidden


class Client:
    """Finds people in pictures, for programs with threads or without.

    Args:
        engine: any `Analyzer`; the class methods make the usual ones.

    Example:
        >>> with Client.embedded(threads=1) as client:
        ...     people = client.analyze(np.zeros((64, 64, 3), np.uint8))
        >>> len(people), people.image_size
        (0, (64, 64))
    """

    def __init__(self, engine: Analyzer) -> None:
        _refuse_address("Client", engine)
        self.engine = engine

    @classmethod
    def connect(cls, url: str, timeout: float = 60.0, **options: Any) -> Client:
        """A client of a gateway; options as in `Gateway`.

        Example:
            >>> client = Client.connect("http://127.0.0.1:8080")  # doctest: +SKIP
            >>> client.analyze("photo.jpg").boxes  # doctest: +SKIP
        """
        return cls(Gateway(url, timeout, **options))

    @classmethod
    def triton(cls, url: str, timeout: float = 60.0, **options: Any) -> Client:
        """A client of a Triton server, "grpc://host:8001" or "http://host:8000"; options as in `Triton`."""
        from parsing_rcnn_client.triton import Triton

        return cls(Triton(url, timeout, **options))

    @classmethod
    def embedded(cls, repository: Path | None = None, **options: Any) -> Client:
        """The engine in this process, no server; options as in `parsing_rcnn.pipeline.Pipeline`."""
        from parsing_rcnn.pipeline import Pipeline

        return cls(Pipeline(repository, **options))

    @property
    def info(self) -> ModelInfo:
        """What runs."""
        return self.engine.info

    def analyze(self, picture: Picture, options: Options | None = None, **keywords: Any) -> People:
        """Find everybody in one picture.

        Args:
            picture: an encoded JPEG, PNG or WebP, the path of one, or an upright uint8 [H,W,3] RGB array.
            options: what to compute.
            keywords: fields of `Options`, instead of `options`: `analyze(picture, tasks="parsing", confidence=0.3)`.

        Raises:
            ParsingRCNNError: the picture or an option is not usable (`InvalidImage` also where a path cannot be read);
                the engine does not answer.
            TypeError: as of `Options.of`.
        """
        options = Options.of(options, keywords)
        return self.engine.analyze(load(picture), options)

    def analyze_many(
        self,
        pictures: Iterable[Picture],
        options: Options | None = None,
        *,
        in_flight: int = 4,
        **keywords: Any,
    ) -> Iterator[People | Exception]:
        """Results in the order of the pictures, with at most `in_flight` of them taken and not yet answered.

        A picture that fails yields its exception, and the rest goes on. Pictures are taken from the iterable only when
        there is room, so a generator of millions is fine. Options are given as to `analyze`.

        Raises:
            TypeError: one picture or path instead of several; or as of `Options.of`.
            ValueError: `in_flight` is below 1.
        """
        options = Options.of(options, keywords)
        _refuse_one("analyze_many", pictures)
        _refuse_none(in_flight)
        source = iter(pictures)
        with ThreadPoolExecutor(in_flight, "analyze") as pool:
            waiting: deque[Future[People]] = deque()
            try:
                for picture in source:
                    waiting.append(pool.submit(self.analyze, picture, options))
                    if len(waiting) >= in_flight:
                        yield _outcome(waiting.popleft())
                while waiting:
                    yield _outcome(waiting.popleft())
            finally:
                for future in waiting:
                    future.cancel()

    def stream(self, frames: Iterable[Picture], options: Options | None = None, **keywords: Any) -> Iterator[Streamed]:
        """The people of a live source, over one connection to a gateway: of the newest frame, as often as it can.

        Frames are read as fast as they come, in a thread, and the newest waits. Two are on their way at most, so an
        answer is late by one other answer at most, also where the loop over them is slow. The rest is dropped and
        counted. A file is no live source: `analyze_many` answers each of its pictures. Where frames come by a callback,
        let it put them into a queue: `stream(iter(frames.get, None))` ends with a None.

        A connection that is lost is opened again for `timeout` seconds (not with `retry=False`), with the newest frame.
        Leave the loop, or close what this returns, to end the stream. Options are given as to `analyze`.

        Example:
            >>> for answer in client.stream(camera, tasks="parsing"):  # doctest: +SKIP
            ...     print(answer.number, answer.people, answer.dropped)

        Raises:
            EngineUnavailable: the gateway is away or has too many streams (`Busy`) for too long; or the package
                websockets is not installed (`parsing-rcnn-client[stream]`).
            ParsingRCNNError: the gateway refuses the stream, for its key or an option. What is wrong with one frame is
                in its answer, and the stream goes on.
            TypeError: there is no gateway behind this client; one picture or path instead of frames; or as of
                `Options.of`.
        """
        if not isinstance(self.engine, Gateway):
            raise _no_gateway("Client", self.engine)
        _refuse_one("stream", frames)
        return self.engine.stream(frames, options, **keywords)

    def close(self) -> None:
        """Release the engine. Safe to call twice."""
        self.engine.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _refuse_address(name: str, engine: object) -> None:
    if isinstance(engine, str):
        raise TypeError(
            f"{name}({hidden(engine)!r}): this takes an engine; a gateway's address goes to {name}.connect()"
        )


def _refuse_one(method: str, pictures: object) -> None:
    """A path, too, can be iterated over, by letters, and an array by its rows; one of [N,H,W,3] is N pictures.

    Raises:
        TypeError: it is a picture or a path, and not several.
    """
    pixels = isinstance(pictures, np.ndarray) and np.issubdtype(pictures.dtype, np.number) and pictures.ndim < 4
    if pixels or isinstance(pictures, str | bytes | bytearray | memoryview | os.PathLike):
        kind = type(pictures).__name__
        raise TypeError(
            f"{method}() takes pictures one after the other, from a list or a generator, and this is one {kind}: give "
            "[picture] for a single one; of a video, give its frames"
        )


def _refuse_none(in_flight: int) -> None:
    if in_flight < 1:
        raise ValueError(f"in_flight is {in_flight}: at least one picture has to be on its way")


def _no_gateway(name: str, engine: object) -> TypeError:
    return TypeError(f"stream() needs a gateway, {name}.connect(url), and this is {type(engine).__name__}")


def _outcome(future: Future[People]) -> People | Exception:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, Exception):
        return error
    raise error


class AsyncAnalyzer(Protocol):
    """An `Analyzer` for asyncio."""

    async def info(self) -> ModelInfo:
        """What runs."""
        ...

    async def analyze(self, image: bytes | NDArray[np.uint8], options: Options = ...) -> People:
        """Find everybody in one picture; see `Analyzer.analyze`."""
        ...

    async def close(self) -> None:
        """Release the engine."""
        ...


class Threaded:
    """An `Analyzer` that blocks, run beside the event loop: how the embedded engine serves asyncio."""

    def __init__(self, engine: Analyzer, workers: int = 2) -> None:
        self.engine = engine
        self._pool = ThreadPoolExecutor(workers, "analyze")

    async def info(self) -> ModelInfo:
        """What runs."""
        return self.engine.info

    async def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        """As `Analyzer.analyze`; further calls wait for a free thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.engine.analyze, image, options)

    async def close(self) -> None:
        """Release the engine."""
        self._pool.shutdown(wait=False)
        self.engine.close()


class AsyncClient:
    """`Client` for asyncio.

    Args:
        engine: any `AsyncAnalyzer`; the class methods make the usual ones.
        in_flight: the most pictures on their way at once; more calls wait (back-pressure).

    Example:
        >>> async def main() -> int:
        ...     async with AsyncClient.embedded(threads=1) as client:
        ...         return len(await client.analyze(np.zeros((64, 64, 3), np.uint8)))
        >>> asyncio.run(main())
        0
    """

    def __init__(self, engine: AsyncAnalyzer, in_flight: int = 8) -> None:
        _refuse_address("AsyncClient", engine)
        self.engine = engine
        self._room = asyncio.Semaphore(in_flight)
        self._in_flight = in_flight

    @classmethod
    def connect(cls, url: str, timeout: float = 60.0, *, in_flight: int = 8, **options: Any) -> AsyncClient:
        """A client of a gateway; options as in `Gateway`."""
        return cls(AsyncGateway(url, timeout, **options), in_flight)

    @classmethod
    def triton(cls, url: str, timeout: float = 60.0, *, in_flight: int = 8, **options: Any) -> AsyncClient:
        """A client of a Triton server; options as in `Triton`."""
        from parsing_rcnn_client.triton import Triton

        return cls(Threaded(Triton(url, timeout, **options), in_flight), in_flight)

    @classmethod
    def embedded(cls, repository: Path | None = None, *, in_flight: int = 4, **options: Any) -> AsyncClient:
        """The engine in this process; options as in `parsing_rcnn.pipeline.Pipeline`."""
        from parsing_rcnn.pipeline import Pipeline

        return cls(Threaded(Pipeline(repository, **options), in_flight), in_flight)

    async def info(self) -> ModelInfo:
        """What runs."""
        return await self.engine.info()

    async def analyze(self, picture: Picture, options: Options | None = None, **keywords: Any) -> People:
        """As `Client.analyze`."""
        options = Options.of(options, keywords)
        async with self._room:
            path = isinstance(picture, str | os.PathLike)
            image = await asyncio.to_thread(load, picture) if path else load(picture)
            return await self.engine.analyze(image, options)

    async def analyze_many(
        self,
        pictures: Iterable[Picture],
        options: Options | None = None,
        *,
        in_flight: int | None = None,
        **keywords: Any,
    ) -> AsyncIterator[People | Exception]:
        """As `Client.analyze_many`, with the client's `in_flight` where that is less or none is given."""
        options = Options.of(options, keywords)
        _refuse_one("analyze_many", pictures)
        if in_flight is None:
            in_flight = self._in_flight
        _refuse_none(in_flight)
        room = min(in_flight, self._in_flight)
        waiting: deque[asyncio.Task[People]] = deque()
        try:
            for picture in pictures:
                waiting.append(asyncio.create_task(self.analyze(picture, options)))
                if len(waiting) >= room:
                    yield await _settled(waiting.popleft())
            while waiting:
                yield await _settled(waiting.popleft())
        finally:
            for task in waiting:
                task.cancel()

    def stream(
        self, frames: Iterable[Picture] | AsyncIterable[Picture], options: Options | None = None, **keywords: Any
    ) -> AsyncIterator[Streamed]:
        """As `Client.stream`; frames may also come by `async for`. What it raises comes from the loop over it."""
        if not isinstance(self.engine, AsyncGateway):
            raise _no_gateway("AsyncClient", self.engine)
        _refuse_one("stream", frames)
        return self.engine.stream(frames, options, **keywords)

    async def close(self) -> None:
        """Release the engine."""
        await self.engine.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _settled(task: asyncio.Task[People]) -> People | Exception:
    try:
        return await task
    except Exception as error:  # handed to the caller as this picture's result
        return error
