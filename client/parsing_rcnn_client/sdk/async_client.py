"""`AsyncClient`: `Client` for asyncio."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Unpack

import numpy as np

from parsing_rcnn.analyzer import ModelInfo, OptionKeywords, Options
from parsing_rcnn.codecs.picture import Picture, held, load, still
from parsing_rcnn.errors import ParsingRCNNError
from parsing_rcnn.people import People
from parsing_rcnn.repository import GRAPHS
from parsing_rcnn_client.sdk.arguments import checked, no_gateway, refuse_address, refuse_none, refuse_one
from parsing_rcnn_client.sdk.async_many import answers
from parsing_rcnn_client.sdk.engines import AsyncAnalyzer, Threaded, analyze_async
from parsing_rcnn_client.sdk.gateway import AsyncGateway
from parsing_rcnn_client.sdk.per_loop import PerLoop
from parsing_rcnn_client.sdk.wire import Streamed

if TYPE_CHECKING:
    from parsing_rcnn.codecs.image import ImageLimits
    from parsing_rcnn.taxonomy import Taxonomy


class AsyncClient:
    """`Client` for asyncio. It may be used in one event loop after the other, such as those of several `asyncio.run`.

    Args:
        engine: any `AsyncAnalyzer`; the class methods make the usual ones.
        in_flight: the most pictures of an event loop on their way at once; more calls wait (back-pressure).

    Example:
        >>> async def main() -> int:
        ...     async with AsyncClient.embedded(threads=1) as client:
        ...         return len(await client.analyze(np.zeros((64, 64, 3), np.uint8)))
        >>> asyncio.run(main())
        0
    """

    def __init__(self, engine: AsyncAnalyzer, in_flight: int = 8) -> None:
        refuse_address("AsyncClient", engine)
        self.engine = engine
        self._about: ModelInfo | None = None
        self._room = PerLoop(lambda: asyncio.Semaphore(in_flight))
        self._in_flight = in_flight

    @classmethod
    def connect(
        cls,
        url: str,
        timeout: float = 60.0,
        *,
        in_flight: int = 8,
        api_key: str | None = None,
        verify: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        connections: int = 16,
        model: str | None = None,
        jpeg_quality: int | None = None,
        retry: bool = True,
    ) -> AsyncClient:
        """A client of a gateway; options as in `Gateway`."""
        return cls(
            AsyncGateway(
                url,
                timeout,
                api_key=api_key,
                verify=verify,
                headers=headers,
                connections=connections,
                model=model,
                jpeg_quality=jpeg_quality,
                retry=retry,
            ),
            in_flight,
        )

    @classmethod
    def triton(
        cls,
        url: str,
        timeout: float = 60.0,
        *,
        in_flight: int = 8,
        model: str | None = None,
        taxonomy: Taxonomy | None = None,
        jpeg_quality: int | None = None,
        retry: bool = True,
    ) -> AsyncClient:
        """A client of a Triton server; options as in `Triton`."""
        from parsing_rcnn_client.sdk.triton import Triton

        engine = Triton(url, timeout, model=model, taxonomy=taxonomy, jpeg_quality=jpeg_quality, retry=retry)
        return cls(Threaded(engine, in_flight), in_flight)

    @classmethod
    def embedded(
        cls,
        repository: str | Path | None = None,
        *,
        in_flight: int = 4,
        model: str | None = None,
        runtime: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        limits: ImageLimits | None = None,
        graphs: Sequence[str] = GRAPHS,
    ) -> AsyncClient:
        """The engine in this process; options as in `parsing_rcnn.pipeline.Pipeline`."""
        from parsing_rcnn.pipeline import Pipeline

        return cls(
            Threaded(
                Pipeline(
                    repository,
                    model=model,
                    runtime=runtime,
                    precision=precision,
                    threads=threads,
                    limits=limits,
                    graphs=graphs,
                ),
                in_flight,
            ),
            in_flight,
        )

    async def info(self) -> ModelInfo:
        """What runs."""
        return await self.engine.info()

    async def _known(self) -> ModelInfo:
        """What ran when a picture first had to know."""
        if self._about is None:
            self._about = await self.info()
        return self._about

    async def analyze(
        self,
        picture: Picture,
        options: Options | None = None,
        *,
        bgr: bool = False,
        **keywords: Unpack[OptionKeywords],
    ) -> People:
        """As `Client.analyze`."""
        options, rest = checked(options, keywords)
        async with self._room.get():
            at_once = isinstance(picture, bytes) or (isinstance(picture, np.ndarray) and not bgr)  # else there is work
            image = load(picture, bgr=bgr) if at_once else await asyncio.to_thread(load, picture, bgr=bgr)
            return await analyze_async(self.engine, self._known, image, options, rest)

    def analyze_many(
        self,
        pictures: Iterable[Picture] | AsyncIterable[Picture],
        options: Options | None = None,
        *,
        in_flight: int | None = None,
        bgr: bool = False,
        **keywords: Unpack[OptionKeywords],
    ) -> AsyncIterator[People | Exception]:
        """As `Client.analyze_many`, with the client's `in_flight` where that is less or none is given. Of asynchronous
        pictures no answer waits for the next one.
        """
        options, rest = checked(options, keywords)
        Options.of(options, rest).validate()
        refuse_one("analyze_many", pictures)
        refuse_none(self._in_flight if in_flight is None else in_flight)
        room = self._in_flight if in_flight is None else min(in_flight, self._in_flight)

        async def begin(picture: Picture) -> asyncio.Task[People]:
            try:
                begun = self.analyze(await _held(picture, bgr), options, bgr=bgr, **rest)
            except Exception as error:  # of this picture alone, as one that is too large to be copied
                begun = _refused(error)
            return asyncio.create_task(begun)

        source = pictures if isinstance(pictures, AsyncIterable) else _one_by_one(pictures)
        return answers(source, begin, room)

    def stream(
        self,
        frames: Iterable[Picture] | AsyncIterable[Picture],
        options: Options | None = None,
        *,
        track: bool = False,
        bgr: bool = False,
        **keywords: Unpack[OptionKeywords],
    ) -> AsyncIterator[Streamed]:
        """As `Client.stream`; frames may also come by `async for`. What it raises comes from the loop over it."""
        if not isinstance(self.engine, AsyncGateway):
            raise no_gateway("AsyncClient", self.engine)
        refuse_one("stream", frames)
        now = _still(frames, bgr) if isinstance(frames, AsyncIterable) else still(frames, bgr=bgr)
        return self.engine.stream(now, options, track=track, bgr=bgr, **keywords)

    async def close(self) -> None:
        """Release the engine. A stream that is open goes on until its loop is left."""
        await self.engine.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _held(picture: Picture, bgr: bool) -> Picture:
    """`held`, beside the event loop: it copies arrays and decodes pictures of Pillow."""
    return picture if isinstance(picture, bytes | str) else await asyncio.to_thread(held, picture, bgr=bgr)


async def _still(frames: AsyncIterable[Picture], bgr: bool) -> AsyncIterator[Picture]:
    """`still`, for asyncio."""
    async for frame in frames:
        try:
            now = await _held(frame, bgr)
        except ParsingRCNNError:
            now = frame
        yield now


async def _refused(error: Exception) -> People:
    raise error


async def _one_by_one(pictures: Iterable[Picture]) -> AsyncIterator[Picture]:
    for picture in pictures:
        yield picture
