"""What the gateway asks of an engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from parsing_rcnn.people import ModelInfo, Options, People
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
        """The most pictures that it wants to hold, in work and waiting; the gateway sends no more."""
        ...

    @property
    def busy(self) -> int:
        """As many pictures keep it at work: more of them wait longer, and no more are answered."""
        ...

    @property
    def servers(self) -> Mapping[str, bool]:
        """Address of each server that computes for it, and whether it gets pictures; none where it computes itself."""
        ...

    async def start(self) -> None:
        """Get ready; failures are kept as the reason why the engine is not."""
        ...

    def check(self) -> None:
        """Refuse before a picture is read.

        Raises:
            EngineUnavailable: not ready, and why.
        """
        ...

    async def analyze(self, image: bytes, options: Options, call: Call) -> tuple[People, float]:
        """(people, milliseconds in the queue). A cancelled caller cancels what has not begun.

        Raises:
            EngineUnavailable: not ready, decided at once; or lost.
            ParsingRCNNError: the picture or an option is not usable.
        """
        ...

    async def close(self) -> None:
        """Finish what is in work, drop what waits."""
        ...
