"""What the core knows of a request beside its pictures."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from parsing_rcnn.errors import DeadlineExceeded, ParsingRCNNError

TIMEOUT_HEADER = "X-Timeout-Ms"


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


@dataclass
class Noted:
    """What the log says of a request, gathered while it is answered; in its scope as `noted`.

    Attributes:
        answered: pictures, or a stream's frames; people: in all of them.
        failed: of the others, how many by the code of their error.
        problem: what the answer as a whole is, where that is an error.
    """

    answered: int = 0
    people: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    problem: ParsingRCNNError | None = None


@dataclass(frozen=True)
class Call:
    """Who asks, by which route, and until when the answer is of use.

    Attributes:
        deadline: in the time of `time.monotonic`; None: it may take as long as it takes.
        traceparent: W3C trace context, passed on to Triton.
        timeout: what the client set the deadline with.
        noted: for the log.
    """

    route: str
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
        """Begin nothing that is of no use.

        Raises:
            DeadlineExceeded: the deadline is over.
        """
        if self.remaining == 0:
            raise self._late()

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Cancel what is awaited here when the deadline comes, and begin nothing after it.

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
