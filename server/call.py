"""What the core knows of a request beside its pictures."""

from __future__ import annotations

import time
from dataclasses import dataclass


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
