"""Limits on who may come in: a bounded number of pictures at a time, and a rate for each caller."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from server.responses.problems import Busy, RateLimited

_LONGEST_WAIT = 30  # seconds: the most that Retry-After asks for
_CALM = 5.0  # seconds without a refusal, after which every place is available again
_CALLERS = 10_000  # buckets that are kept; one that was used longer ago is full again anyway


class Admission:
    """Places for pictures in work or waiting. A place is held until the answer is encoded.

    A burst may fill every place. Under lasting overload, full places would make every answer late without making more
    of them. So after a refusal, and until there was none for a while, there are only `busy` places.

    Args:
        capacity: the most pictures; one more is refused at once.
        busy: as many pictures as keep the engine busy. None: `capacity`.
    """

    def __init__(self, capacity: int, busy: int | None = None) -> None:
        self.capacity, self.busy, self.held = capacity, min(busy or capacity, capacity), 0
        self._latency = 0.0  # seconds of recent answers: about as long as the queue needs to empty
        self._refused = -math.inf  # time of the last refusal

    def check(self) -> None:
        """Refuse before a body is read.

        Raises:
            Busy: every place is taken; `retry_after` says for about how long.
        """
        now = time.monotonic()
        limit = self.busy if now - self._refused < _CALM else self.capacity
        if self.held >= limit:
            self._refused = now
            wait = min(max(math.ceil(self._latency), 1), _LONGEST_WAIT)
            error = Busy(f"{self.held} pictures are in work or waiting, the limit is {limit}: come back in {wait} s")
            error.retry_after = wait
            raise error

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place.

        Raises:
            Busy: see `check`.
        """
        self.check()
        self.held += 1
        begin = time.monotonic()
        try:
            yield
            self._latency += 0.1 * (time.monotonic() - begin - self._latency)
        finally:
            self.held -= 1


@dataclass
class _Bucket:
    tokens: float
    filled: float


class TokenBuckets:
    """A bucket of `burst` tokens for each caller, filled at `rate` tokens a second.

    Args:
        rate: pictures a second; None: as many as the engine takes.
        burst: pictures at once.
    """

    def __init__(self, rate: float | None, burst: int) -> None:
        self.rate, self.burst = rate, burst
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, caller: str, pictures: int = 1) -> None:
        """Take tokens, or none of them.

        Raises:
            RateLimited: the bucket does not hold as many; `retry_after` says when it will, None if it never can.
        """
        if self.rate is None:
            return
        now = time.monotonic()
        bucket = self._buckets.pop(caller, None) or _Bucket(self.burst, now)
        bucket.tokens = min(bucket.tokens + self.rate * (now - bucket.filled), self.burst)
        bucket.filled = now
        self._buckets[caller] = bucket
        if len(self._buckets) > _CALLERS:
            self._buckets.popitem(last=False)
        if bucket.tokens < pictures:
            raise self._refusal(pictures, bucket.tokens, self.rate)
        bucket.tokens -= pictures

    def _refusal(self, pictures: int, tokens: float, rate: float) -> RateLimited:
        if pictures > self.burst:
            return RateLimited(f"{pictures} at once, your share is {self.burst}: send at most {self.burst} in a batch")
        wait = math.ceil((pictures - tokens) / rate)
        error = RateLimited(
            f"{pictures} more than your share of {rate:g} pictures a second allows now: come back in {wait} s"
        )
        error.retry_after = wait
        return error
