"""What the core knows of a request beside its pictures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from parsing_rcnn.errors import DeadlineExceeded


@dataclass(frozen=True)
class Call:
    """Who asks, by which route, and until when the answer is of use.

    Attributes:
        deadline: in the time of `time.monotonic`; None: it may take as long as it takes.
        traceparent: W3C trace context, passed on to Triton.
    """

    route: str
    caller: str
    deadline: float | None = None
    traceparent: str | None = None

    @property
    def remaining(self) -> float | None:
        """Seconds that are left."""
        return None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Cancel what is awaited here when the deadline comes.

        Raises:
            DeadlineExceeded: it came.
        """
        try:
            async with asyncio.timeout(self.remaining):
                yield
        except TimeoutError:
            raise DeadlineExceeded(
                "the answer did not come within the time of X-Timeout-Ms: give it more, or send smaller pictures"
            ) from None
