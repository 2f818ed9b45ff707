"""Asking again, where it is safe. An analysis changes nothing on a server, so a lost connection or a busy server is
asked again until the deadline; a refusal of the picture or of an option, or a deadline that has passed, never is.
"""

from __future__ import annotations

import random
import time
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception

from parsing_rcnn.errors import DeadlineExceeded, EngineUnavailable
from parsing_rcnn_client.wire import Busy, ModelMissing

_LONGEST, _SHORTEST = 2.0, 0.05  # pauses, seconds
_JITTER = 1.0  # seconds that a pause is longer by chance, so that clients do not come back together
_DOUBLINGS = 6  # of the shortest pause, which is above the longest then


def pause(error: BaseException | None, left: float, tries: int = 1) -> float | None:
    """Seconds after which to try once more; None: not again. A busy server says when; a refusal is no matter of time.

    Args:
        error: of the last try.
        left: seconds until the deadline, which no pause passes.
        tries: made so far.
    """
    if isinstance(error, Busy):
        return error.retry_after if error.retry_after < left else None
    if not isinstance(error, EngineUnavailable) or isinstance(error, DeadlineExceeded | ModelMissing):
        return None
    if left > _LONGEST:
        return min(_SHORTEST * 2.0 ** min(tries - 1, _DOUBLINGS) + random.uniform(0, _JITTER), _LONGEST)
    return left * random.uniform(0.3, 0.7) if left > _SHORTEST else None


def retrying(end: float, retry: bool = True) -> Retrying:
    """Attempts with growing pauses and jitter, and not a word about them: the last error says what was wrong.

    Args:
        end: of time.monotonic(), when there is no further one.
        retry: False for a single attempt.
    """
    return Retrying(**_policy(end, retry))


def retrying_async(end: float, retry: bool = True) -> AsyncRetrying:
    """`retrying` for asyncio."""
    return AsyncRetrying(**_policy(end, retry))


def _policy(end: float, retry: bool) -> dict[str, Any]:
    def again(error: BaseException) -> bool:
        return retry and pause(error, end - time.monotonic()) is not None

    def wait(state: RetryCallState) -> float:
        error = None if state.outcome is None else state.outcome.exception()
        return pause(error, end - time.monotonic(), state.attempt_number) or 0.0

    return {"retry": retry_if_exception(again), "wait": wait, "reraise": True}


def too_late(url: str) -> DeadlineExceeded:
    """The error of a deadline that has passed."""
    return DeadlineExceeded(f"{url}: no answer in time; allow more with `timeout`, or ask a less busy server")


def unanswered(url: str, error: Exception) -> EngineUnavailable:
    """The error of a gateway that is not there, and why."""
    said = f"no answer ({str(error) or type(error).__name__})"
    return EngineUnavailable(f"{url}: {said}; is the gateway running? `parsing-rcnn serve` starts one")


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
