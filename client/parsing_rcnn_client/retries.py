"""Asking again, where it is safe. An analysis changes nothing on a server, so a lost connection or a busy server is
asked again until the deadline; a refusal of the picture or of an option, or a deadline that has passed, never is.
"""

from __future__ import annotations

import time
from typing import Any

import stamina

from parsing_rcnn.errors import DeadlineExceeded, EngineUnavailable
from parsing_rcnn_client.wire import Busy, ModelMissing

_ATTEMPTS = 1000  # the deadline ends the tries, not their number


def again(error: Exception) -> bool | float:
    """Whether to try once more: never for a refusal or a deadline; a busy server says when."""
    if isinstance(error, Busy):
        return error.retry_after
    return isinstance(error, EngineUnavailable) and not isinstance(error, DeadlineExceeded | ModelMissing)


def retrying(timeout: float) -> Any:
    """Attempts with growing pauses and jitter for so many seconds; see `stamina.retry_context`."""
    return stamina.retry_context(on=again, attempts=_ATTEMPTS, timeout=timeout, wait_initial=0.05, wait_max=2.0)


def too_late(url: str) -> DeadlineExceeded:
    """The error of a deadline that has passed."""
    return DeadlineExceeded(f"{url}: no answer in time; allow more with `timeout`, or ask a less busy server")


def seconds_left(end: float, url: str, last: EngineUnavailable | None) -> float:
    """Seconds until `end`, of time.monotonic().

    Args:
        end: the deadline.
        url: for the message.
        last: why the try before failed, which says more than that time is up.

    Raises:
        EngineUnavailable: `last`, or that time is up (`DeadlineExceeded`).
    """
    left = end - time.monotonic()
    if left <= 0:
        raise last if last is not None else too_late(url)
    return left
