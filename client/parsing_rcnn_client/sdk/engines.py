"""One picture through any engine, with threads or asyncio.

Where nobody names the tasks, those whose head is trained are computed. A gateway and Triton choose them themselves;
every other engine takes finished `Options`, so its `info` is asked here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, Unpack

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn import heads
from parsing_rcnn.analyzer import Analyzer, ModelInfo, OptionKeywords, Options
from parsing_rcnn.people import People
from parsing_rcnn_client.sdk.arguments import tasks_named
from parsing_rcnn_client.sdk.gateway import AsyncGateway, Gateway
from parsing_rcnn_client.sdk.per_process import PerProcess
from parsing_rcnn_client.sdk.retries import client_closed
from parsing_rcnn_client.sdk.triton import Triton


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
    """Runs a blocking `Analyzer` in threads beside the event loop: how embedded engines and Triton serve asyncio.

    Args:
        engine: any `Analyzer`.
        workers: the most pictures at the engine at once.
    """

    def __init__(self, engine: Analyzer, workers: int = 2) -> None:
        self.engine = engine
        self._pools, self._closed = PerProcess(lambda: ThreadPoolExecutor(workers, "analyze")), False

    async def info(self) -> ModelInfo:
        """What runs.

        Raises:
            EngineUnavailable: it was closed.
        """
        self._require_open()
        return self.engine.info

    async def analyze(
        self,
        image: bytes | NDArray[np.uint8],
        options: Options | None = None,
        **keywords: Unpack[OptionKeywords],
    ) -> People:
        """As `Analyzer.analyze`; further calls wait for a free thread.

        Raises:
            EngineUnavailable: it was closed.
        """
        self._require_open()
        call = partial(analyze, self.engine, image, options, keywords)
        return await asyncio.get_running_loop().run_in_executor(self._pools.get(), call)

    async def close(self) -> None:
        """Release the engine."""
        self._closed = True
        self._pools.get().shutdown(wait=False)
        self.engine.close()

    def _require_open(self) -> None:
        if self._closed:
            raise client_closed(getattr(self.engine, "url", type(self.engine).__name__))


def analyze(
    engine: Analyzer, image: bytes | NDArray[np.uint8], options: Options | None, keywords: Mapping[str, Any]
) -> People:
    """The people in a picture.

    Args:
        engine: finds them.
        image: as of `Analyzer.analyze`.
        options, keywords: as of `Options.of`.

    Raises:
        ParsingRCNNError: as of the engine's `analyze` and `info`.
        TypeError: as of `Options.of`.
    """
    if isinstance(engine, Gateway | Triton):
        return engine.analyze(image, options, **keywords)
    if tasks_named(options, keywords):
        return engine.analyze(image, Options.of(options, keywords))
    return engine.analyze(image, heads.resolve_options(engine.info, None, keywords))


async def analyze_async(
    engine: AsyncAnalyzer,
    about: Callable[[], Awaitable[ModelInfo]],
    image: bytes | NDArray[np.uint8],
    options: Options | None,
    keywords: Mapping[str, Any],
) -> People:
    """As `analyze`; `about` tells the engine's `info`, which may be a request, without one for each picture."""
    if isinstance(engine, AsyncGateway | Threaded):
        return await engine.analyze(image, options, **keywords)
    if tasks_named(options, keywords):
        return await engine.analyze(image, Options.of(options, keywords))
    return await engine.analyze(image, heads.resolve_options(await about(), None, keywords))
