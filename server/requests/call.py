"""A request apart from its pictures: who asks, until when, and what the log will say of it."""

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
    """The client has disconnected: nobody waits for the answer."""


@dataclass
class Noted:
    """Collects what the log will say of a request. It is in the ASGI scope as `noted`.

    Attributes:
        answered: number of pictures, or frames of a stream, that were answered.
        people: number of people in all of them.
        failed: code of an error -> number of pictures that it was the answer to.
        problem: the error, if the whole answer is one.
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
    """Who asks, by which route, and until when the answer is useful.

    Attributes:
        route: the route.
        caller: name of the API key, or the client's address (see `server.middleware.access`).
        deadline: seconds of `time.monotonic`; None: there is none.
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
        """Check the deadline before work begins.

        Raises:
            DeadlineExceeded: it has passed.
        """
        if self.remaining == 0:
            raise self._late()

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Cancel what is awaited in this context at the deadline, and begin nothing after it.

        Raises:
            DeadlineExceeded: the deadline has passed.
        """
        self.check()  # a timeout of 0 would end only the first wait, and by then a picture may be in work
        try:
            async with asyncio.timeout(self.remaining):
                yield
        except TimeoutError:
            raise self._late() from None

    def _late(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"the answer did not come within the time of {self.timeout}: give it more, or send smaller pictures"
        )
