"""What the service knows of a request apart from its pictures."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from parsing_rcnn.errors import DeadlineExceeded, ParsingRCNNError

TIMEOUT_HEADER = "X-Timeout-Ms"


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


@dataclass
class Noted:
    """Collects what the log says of a request; it is in the scope as `noted`.

    Attributes:
        answered: number of pictures, or frames of a stream, that were answered.
        people: number of people in all of them.
        failed: code of an error -> number of pictures that it was the answer to.
        problem: the error, where the answer as a whole is one.
    """

    answered: int = 0
    people: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    problem: ParsingRCNNError | None = None


class Route(StrEnum):
    """Routes that take pictures, as metrics, spans and the log name them."""

    ANALYZE = "analyze"
    BATCH = "batch"
    INFER = "infer"
    STREAM = "stream"


@dataclass(frozen=True)
class Call:
    """Who asks, by which route, and until when the answer is of use.

    Attributes:
        deadline: by `time.monotonic`; None: there is none.
        traceparent: W3C trace context, passed on to Triton.
        timeout: name of the header or parameter that set the deadline, for messages.
        noted: see `Noted`.
    """

    route: Route
    caller: str
    deadline: float | None = None
    traceparent: str | None = None
    timeout: str = TIMEOUT_HEADER
    noted: Noted = field(default_factory=Noted, compare=False)

    @property
    def remaining(self) -> float | None:
        """Seconds that are left."""
        return None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)

    def check(self) -> None:
        """Call this before work begins.

        Raises:
            DeadlineExceeded: the deadline is over.
        """
        if self.remaining == 0:
            raise self._late()

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Cancel what is awaited in this context when the deadline comes, and begin nothing after it.

        Raises:
            DeadlineExceeded: it came.
        """
        self.check()  # a timeout of 0 ends the first wait, and by then a picture may be in work
        try:
            async with asyncio.timeout(self.remaining):
                yield
        except TimeoutError:
            raise self._late() from None

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"the answer did not come within the time of {self.timeout}: give it more, or send smaller pictures"
        )
