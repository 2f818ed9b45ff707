"""Time that passes when a test says so: of a gateway's connections, of the deadlines of calls, of callers' shares."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from server.routers import stream

_MOMENT = 1e-6  # seconds: no two looks at the clock see the same


class _Timer:
    """What `Clock.call_later` gives, as a loop's."""

    def __init__(self, clock: Clock, when: float, act: Callable[[], object]) -> None:
        self._clock, self.when, self.act = clock, when, act

    def cancel(self) -> None:
        if self in self._clock.timers:
            self._clock.timers.remove(self)


class Clock:
    """The loop as a gateway's connections see it, whose time stands still but for `forward`."""

    def __init__(self) -> None:
        self.timers: list[_Timer] = []
        self._now = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    def of(self, protocol: Callable[..., Any]) -> Callable[..., Any]:
        """The protocol, whose connections look at this clock."""

        def connect(**given: Any) -> Any:
            self._loop = asyncio.get_running_loop()
            return protocol(**{**given, "_loop": self})

        return connect

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def time(self) -> float:
        self._now += _MOMENT
        return self._now

    def call_later(self, seconds: float, act: Callable[..., object], *arguments: Any) -> _Timer:
        self.timers.append(_Timer(self, self._now + seconds, lambda: act(*arguments)))
        return self.timers[-1]

    def forward(self, seconds: float) -> None:
        """Let the time pass, and what is due happen, after what has come to the gateway by now."""
        loop, done, faults = self._loop, threading.Event(), []
        assert loop is not None

        def act() -> None:
            try:
                self._pass(seconds)
            except Exception as fault:
                faults.append(fault)
            done.set()

        loop.call_soon_threadsafe(loop.call_soon, act)  # a round later: before it, the loop looks at its sockets
        assert done.wait(60)
        assert not faults, faults

    def _pass(self, seconds: float) -> None:
        end = self._now + seconds + _MOMENT
        while due := [timer for timer in self.timers if timer.when <= end]:
            first = min(due, key=lambda timer: timer.when)
            self.timers.remove(first)
            self._now = max(self._now, first.when)
            first.act()
        self._now = max(self._now, end)


class Deadlines:
    """Of calls: none comes before `come`, and then all that are less than half a minute away do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now = time.monotonic()
        self._begun: list[tuple[asyncio.AbstractEventLoop, asyncio.Timeout]] = []
        monkeypatch.setattr("server.requests.call.time", SimpleNamespace(monotonic=lambda: self._now))
        monkeypatch.setattr("server.requests.call.asyncio", SimpleNamespace(timeout=self._timeout))

    def _timeout(self, seconds: float | None) -> asyncio.Timeout:
        made = asyncio.timeout(None)
        if seconds is not None:
            self._begun.append((asyncio.get_running_loop(), made))
        return made

    def come(self) -> None:
        """Let the deadlines pass."""
        self._now = time.monotonic() + 30
        begun, self._begun = self._begun, []
        for loop, deadline in begun:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._end, deadline)

    def _end(self, deadline: asyncio.Timeout) -> None:
        with suppress(RuntimeError):  # it is over already
            deadline.reschedule(asyncio.get_running_loop().time())


class Share:
    """The clock by which callers' shares are filled; it stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("server.admission.time", SimpleNamespace(monotonic=lambda: self.now))


def frames_come_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let frames of streams come a tenth of a second apart, as a gateway of this process sees them."""
    real, count = stream.Frame, itertools.count()
    monkeypatch.setattr(stream, "Frame", lambda *given: real(*given, arrived=next(count) / 10))
