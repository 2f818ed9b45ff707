"""Asking again, where it is safe. An analysis changes nothing on a server, so a lost connection or a busy server is
asked again until the deadline; a refusal of the picture or of an option, or a deadline that has passed, never is.
"""

from __future__ import annotations

import random
import time
from typing import Any

import stamina

from parsing_rcnn.errors import DeadlineExceeded, EngineUnavailable
from parsing_rcnn_client.wire import Busy, ModelMissing

_ATTEMPTS = 1000  # the deadline ends the tries, not their number
_LONGEST, _SHORTEST = 2.0, 0.05  # pauses, seconds


def again(error: Exception, left: float) -> bool | float:
    """Whether to try once more, or after how many seconds: never for a refusal or a deadline; a busy server says when.

    Args:
        error: of the last try.
        left: seconds until the deadline, which no pause passes.
    """
    if isinstance(error, Busy):
        return error.retry_after if error.retry_after < left else False
    if not isinstance(error, EngineUnavailable) or isinstance(error, DeadlineExceeded | ModelMissing):
        return False
    if left > _LONGEST:
        return True
    return left * random.uniform(0.3, 0.7) if left > _SHORTEST else False


def retrying(end: float, retry: bool = True) -> Any:
    """Attempts with growing pauses and jitter; see `stamina.retry_context`.

    Args:
        end: of time.monotonic(), when there is no further one.
        retry: False for a single attempt.
    """

    def on(error: Exception) -> bool | float:
        return again(error, end - time.monotonic())

    attempts = _ATTEMPTS if retry else 1
    return stamina.retry_context(on, attempts, timeout=None, wait_initial=_SHORTEST, wait_max=_LONGEST)


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
