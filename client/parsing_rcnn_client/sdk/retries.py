"""Asking again, where it is safe. An analysis changes nothing on a server, so a lost connection or a busy server is
asked again until the deadline; a refusal of the picture or of an option, or a deadline that has passed, never is.
"""

from __future__ import annotations

import logging
import random
import time
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception

from parsing_rcnn.errors import DeadlineExceeded, EngineUnavailable
from parsing_rcnn_client.sdk.wire import Busy, ModelMissing

_LONGEST, _SHORTEST = 2.0, 0.05  # pauses, seconds
_JITTER = 1.0  # the most seconds added at random, so that clients do not come back together
_DOUBLINGS = 6  # of the shortest pause; after so many it is above the longest
_AWAY = (502, 503, 504)  # HTTP status while the server is not there, or not yet
_TOLD = 2  # failed tries after which an outage is logged: a single one is often an idle connection that was closed

_log = logging.getLogger("parsing_rcnn_client")  # where nobody sets up logging, its warnings go to standard error


def pause(error: BaseException | None, left: float, tries: int = 1) -> float | None:
    """Seconds after which to try again; None: do not try again, as after a refusal, which no time would change.

    A busy server says when to come back; pauses grow, so it may get more time than it asked for.

    Args:
        error: of the last try.
        left: seconds until the deadline, before which every pause ends.
        tries: how many were made.
    """
    if not isinstance(error, EngineUnavailable) or error.retry_after is None or isinstance(error, ModelMissing):
        return None
    wanted = error.retry_after if isinstance(error, Busy) else 0.0
    if wanted >= left:
        return None
    if left > _LONGEST:
        growing = min(_SHORTEST * 2.0 ** min(tries - 1, _DOUBLINGS) + random.uniform(0, _JITTER), _LONGEST)
    elif left > _SHORTEST:
        growing = left * random.uniform(0.3, 0.7)
    else:
        return None
    return max(wanted, growing)


class Outage:
    """Logs one warning when a server does not answer, and no further one until it has answered again.

    All requests to a server share it. Thread-safe, without a lock: a child that was forked meanwhile would wait for it.
    """

    def __init__(self) -> None:
        self._teller: dict[str, object] = {}  # who told of the outage

    def goes_on(self, error: BaseException | None, left: float) -> None:
        """A try has failed, and another one follows.

        Args:
            error: of the failed try. A busy server does answer, so nothing is logged.
            left: seconds for which the server is still asked.
        """
        if not isinstance(error, EngineUnavailable) or isinstance(error, Busy):
            return
        me = object()
        if self._teller.setdefault("told", me) is me:
            _log.warning("%s; trying for %.0f s", error.detail, left)

    def over(self) -> None:
        """The server has answered, even if with a refusal."""
        self._teller.clear()

    def answered(self, status: int) -> None:
        """An answer with this HTTP status came: from the server, or from a proxy that has no server behind it."""
        if status not in _AWAY:
            self.over()


def retrying(end: float, retry: bool = True, outage: Outage | None = None) -> Retrying:
    """Attempts with growing, jittered pauses. When there is no further one, the last error is raised.

    Args:
        end: value of time.monotonic() after which there is no further attempt.
        retry: False for a single attempt.
        outage: is told when an attempt failed again.
    """
    return Retrying(**_policy(end, retry, outage))


def retrying_async(end: float, retry: bool = True, outage: Outage | None = None) -> AsyncRetrying:
    """`retrying` for asyncio."""
    return AsyncRetrying(**_policy(end, retry, outage))


def _policy(end: float, retry: bool, outage: Outage | None) -> dict[str, Any]:
    def again(error: BaseException) -> bool:
        return retry and pause(error, end - time.monotonic()) is not None

    def wait(state: RetryCallState) -> float:
        error = None if state.outcome is None else state.outcome.exception()
        return pause(error, end - time.monotonic(), state.attempt_number) or 0.0

    def tell(state: RetryCallState) -> None:
        if outage is not None and state.outcome is not None and state.attempt_number >= _TOLD:
            outage.goes_on(state.outcome.exception(), end - time.monotonic())

    return {"retry": retry_if_exception(again), "wait": wait, "before_sleep": tell, "reraise": True}


def too_late(url: str) -> DeadlineExceeded:
    """The error of a deadline that has passed."""
    return DeadlineExceeded(f"{url}: no answer in time; allow more with `timeout`, or ask a less busy server")


def client_closed(url: str) -> EngineUnavailable:
    """The error of a client that is used after its `close`."""
    return final(f"{url}: this client was closed; make a new one")


def final(detail: str) -> EngineUnavailable:
    """An error that no further try would change."""
    error = EngineUnavailable(detail)
    error.retry_after = None
    return error


def unanswered(url: str, error: Exception) -> EngineUnavailable:
    """The error of a gateway that does not answer, with the reason."""
    reason = f"no answer ({str(error) or type(error).__name__})"
    return EngineUnavailable(f"{url}: {reason}; is the gateway running? `parsing-rcnn serve` starts one")


def seconds_left(end: float, url: str, last: EngineUnavailable | None) -> float:
    """Seconds until the deadline.

    Args:
        end: the deadline, a value of time.monotonic().
        url: for the message.
        last: why the last try failed, which is raised in place of "no answer in time".

    Raises:
        EngineUnavailable: `last`, or that time is up (`DeadlineExceeded`).
    """
    left = end - time.monotonic()
    if left <= 0:
        raise last if last is not None else too_late(url)
    return left
