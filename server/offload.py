"""Runs codecs and drawing on threads, so that the event loop stays free, and bounds the memory of this work."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn.inference.cores import usable_cores
from parsing_rcnn.limits import MAX_PIXELS
from parsing_rcnn.stopping import Stopped, stoppable
from server.threads import Threads

T = TypeVar("T")

PIXELS = MAX_PIXELS
_SMALL = 2**21
_RESERVE = 0.2
_MOST_THREADS = 16
_CLOSING = 5.0  # seconds that `close` waits for functions that were told to stop


@dataclass(eq=False)
class _Turn:
    """A large picture that waits for its turn, or has it.

    Attributes:
        weight: its pixels.
        come: set when it may be drawn.
        reserved: whether its pixels are of the reserve.
    """

    weight: int
    come: asyncio.Event = field(default_factory=asyncio.Event)
    reserved: bool = False


class Offload:
    """A pool of threads that encode answers.

    Drawing takes about nine bytes for each pixel. So a large picture (above Full HD) waits in turn until all large
    pictures in work, with it, have at most `pixels` pixels. One with more than that runs alone. Smaller pictures wait
    only for a thread.

    A fifth of `pixels` more is a reserve for pictures that fit into it, such as photos of phones: they need not wait
    until a giant is done. As they take no room of the others, giants that wait are not starved by them.

    Args:
        pixels: the most pixels of all large pictures in work together, without the reserve.
    """

    def __init__(self, pixels: int = PIXELS) -> None:
        self.pixels, self.reserve = pixels, int(_RESERVE * pixels)
        self.held, self.lent = 0, 0  # pixels in work: of `pixels`, and of the reserve
        self._threads = Threads(min(_MOST_THREADS, usable_cores() + 4), "offload")
        self._line: list[_Turn] = []
        self._running: set[threading.Event] = set()

    async def run(self, pixels: int, function: Callable[..., T], *arguments: object) -> T:
        """Call the function on a thread.

        Args:
            pixels: of the picture that the function works on.
            function: what to run. Where the caller is cancelled it ends at its next `check_stopped`, and its pixels
                count until then.
            arguments: of the function.

        Raises:
            EngineUnavailable: the gateway stops.
        """
        turn = await self._turn(0 if pixels <= _SMALL else min(pixels, self.pixels))
        given_up = threading.Event()

        def called() -> T:
            with stoppable(given_up):
                return function(*arguments)

        try:
            work = self._threads.begin(called, then=partial(self._end, turn, given_up))
        except EngineUnavailable:
            self._leave(turn)
            raise
        self._running.add(given_up)
        try:
            return await work
        except Stopped:
            raise EngineUnavailable("the gateway stops") from None
        finally:
            given_up.set()

    async def _turn(self, weight: int) -> _Turn:
        """Wait for the turn of so many pixels."""
        turn = _Turn(weight)
        if not weight:
            return turn
        self._line.append(turn)
        self._call()
        try:
            await turn.come.wait()
        except asyncio.CancelledError:
            if turn in self._line:
                self._line.remove(turn)
                self._call()
            else:
                self._leave(turn)
            raise
        return turn

    def _call(self) -> None:
        """Call those whose turn it is: the first ones of the line that there is room for, and whoever fits into the
        reserve."""
        for turn in list(self._line):
            if turn is self._line[0] and self.held + turn.weight <= self.pixels:
                self.held += turn.weight
            elif self.lent + turn.weight <= self.reserve:
                self.lent += turn.weight
                turn.reserved = True
            else:
                continue
            self._line.remove(turn)
            turn.come.set()

    def _end(self, turn: _Turn, given_up: threading.Event) -> None:
        self._running.discard(given_up)
        self._leave(turn)

    def _leave(self, turn: _Turn) -> None:
        if turn.reserved:
            self.lent -= turn.weight
        else:
            self.held -= turn.weight
        self._call()

    async def close(self) -> None:
        """Stop what runs, and wait for it, but not for long."""
        for given_up in self._running:
            given_up.set()
        await self._threads.close(_CLOSING)
