"""The interface of the engines that compute for the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from parsing_rcnn.analyzer import ModelInfo, Options
from parsing_rcnn.people import People
from server.requests.call import Call


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
    def capacity(self) -> int:
        """The most pictures that it holds, in work and waiting; the gateway sends no more."""
        ...

    @property
    def busy(self) -> int:
        """How many pictures keep it fully busy: with more, each waits longer, and throughput does not grow."""
        ...

    @property
    def servers(self) -> Mapping[str, bool]:
        """Address of each server that computes for this engine -> whether it gets pictures; empty without servers."""
        ...

    async def start(self) -> None:
        """Get ready. A failure is not raised; `not_ready` then has the reason."""
        ...

    def check(self) -> None:
        """Check before a picture is read whether the engine is ready.

        Raises:
            EngineUnavailable: it is not, and why.
        """
        ...

    async def analyze(self, image: bytes, options: Options, call: Call) -> tuple[People, float]:
        """Analyse a picture. Returns (people, milliseconds in the queue). Cancelling this drops work not yet begun.

        Raises:
            EngineUnavailable: the engine is not ready (raised at once), or was lost.
            ParsingRCNNError: the picture or an option is not usable.
        """
        ...

    async def close(self) -> None:
        """Finish the pictures in work, drop those that wait."""
        ...
