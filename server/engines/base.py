"""What the gateway asks of an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from parsing_rcnn.people import ModelInfo, Options, People


class Engine(Protocol):
    """Analyses pictures for the gateway, with a bounded number at a time."""

    @property
    def not_ready(self) -> str | None:
        """Why the engine cannot answer, or None when it can."""
        ...

    @property
    def info(self) -> ModelInfo:
        """What runs.

        Raises:
            EngineUnavailable: nothing yet.
        """
        ...

    @property
    def held(self) -> int:
        """Pictures in work and waiting."""
        ...

    async def start(self) -> None:
        """Get ready; failures are kept as the reason why the engine is not."""
        ...

    async def analyze(self, image: bytes, options: Options) -> tuple[People, float]:
        """(people, milliseconds in the queue).

        Raises:
            EngineUnavailable: not ready, or the queue is full; decided at once.
            ParsingRCNNError: the picture or an option is not usable.
        """
        ...

    async def offload(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run codecs and drawing off the event loop."""
        ...

    async def close(self) -> None:
        """Finish what is in work, drop what waits."""
        ...


async def offload(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run codecs and drawing off the event loop, on threads of their own."""
    return await asyncio.to_thread(function, *arguments)
