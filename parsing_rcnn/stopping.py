"""Long work that stops early: whoever waited for its result gives it up, and the work ends at its next check."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_GIVEN_UP: ContextVar[threading.Event | None] = ContextVar("given_up", default=None)


class Stopped(Exception):
    """Nobody waits for the result any more."""


@contextmanager
def stoppable(given_up: threading.Event) -> Iterator[None]:
    """Let `check_stopped` raise in this context, and in this thread, once `given_up` is set."""
    token = _GIVEN_UP.set(given_up)
    try:
        yield
    finally:
        _GIVEN_UP.reset(token)


def check_stopped() -> None:
    """End the work here where its result was given up. Pasting and encoding call it between people, parts and tiles.

    Raises:
        Stopped: it was; never outside of `stoppable`.
    """
    given_up = _GIVEN_UP.get()
    if given_up is not None and given_up.is_set():
        raise Stopped
