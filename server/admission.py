"""Admission of requests: a bounded number of pictures at a time, and a rate for each caller."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from server.errors import Busy, RateLimited

_LONGEST_WAIT = 30  # seconds: the most that Retry-After asks for
_CALM = 5.0  # seconds without a refusal after which every place is available again
_CALLERS = 10_000  # buckets that are kept, the last used ones; older ones would be full again anyway


class Admission:
    """Places for pictures that are computed or wait. A picture holds its place until its answer is encoded.

    A burst may fill every place. Under lasting overload, a full queue would make every answer late without raising the
    throughput. So after a refusal, and until there was none for a while, there are only `busy` places.

    Args:
        capacity: the most pictures; one more is refused at once.
        busy: number of pictures that keep the engine busy. None: `capacity`.
    """

    def __init__(self, capacity: int, busy: int | None = None) -> None:
        self.capacity, self.busy, self.held = capacity, min(busy or capacity, capacity), 0
        self._line: deque[asyncio.Event] = deque()  # those who lent their place, and wait to have one again
        self._latency = 0.0  # mean seconds of recent answers: about the time in which the queue empties
        self._refused = -math.inf  # time of the last refusal

    def check(self) -> None:
        """Check for a free place, before a body is read.

        Raises:
            Busy: every place is taken; `retry_after` estimates for how many seconds.
        """
        now = time.monotonic()
        limit = self.busy if now - self._refused < _CALM else self.capacity
        count = self.held + len(self._line)
        if count >= limit:
            self._refused = now
            wait = min(max(math.ceil(self._latency), 1), _LONGEST_WAIT)
            raise Busy(
                f"{count} pictures are in work or waiting, the limit is {limit}: come back in {wait} s",
                wait,
            )

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Hold a place.

        Raises:
            Busy: see `check`.
        """
        self.check()
        self.held += 1
        place = Place(self, time.monotonic())
        try:
            yield place
            self._latency += 0.1 * ((place.lent or time.monotonic()) - place.begin - self._latency)
        finally:
            place.lend()

    def leave(self) -> None:
        """Give a place back."""
        self.held -= 1
        self._call()

    def _call(self) -> None:
        while self._line and self.held < self.capacity:
            self.held += 1
            self._line.popleft().set()

    async def again(self) -> None:
        """Wait for a place, before those who come new."""
        come = asyncio.Event()
        self._line.append(come)
        self._call()
        try:
            await come.wait()
        except asyncio.CancelledError:
            if come.is_set():
                self.leave()
            else:
                self._line.remove(come)
            raise


@dataclass
class Place:
    """A place that is held, or lent.

    Attributes:
        admission: of which.
        begin: seconds of `time.monotonic`, without the time in which it was lent.
        lent: since when others may have it; None: they may not.
    """

    admission: Admission
    begin: float
    lent: float | None = None

    def lend(self) -> None:
        """Let others have the place while nothing is computed, as while a client reads, which may be for ever."""
        if self.lent is None:
            self.lent = time.monotonic()
            self.admission.leave()

    async def again(self) -> None:
        """Wait until there is one again, if it was lent."""
        if self.lent is not None:
            await self.admission.again()
            self.begin += time.monotonic() - self.lent
            self.lent = None


@dataclass
class _Bucket:
    tokens: float
    filled: float


class TokenBuckets:
    """A bucket of at most `burst` tokens for each caller, refilled at `rate` tokens a second.

    Args:
        rate: pictures a second; None: no limit.
        burst: the most pictures at once.
    """

    def __init__(self, rate: float | None, burst: int) -> None:
        self.rate, self.burst = rate, burst
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, caller: str, pictures: int = 1) -> None:
        """Take a token for each picture, or none at all.

        Raises:
            RateLimited: the bucket has too few. `retry_after` says in how many seconds it will have enough; None if it
                never can.
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
        return RateLimited(
            f"{pictures} more than your share of {rate:g} pictures a second allows now: come back in {wait} s", wait
        )
