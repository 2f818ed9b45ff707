"""Ends commands in an orderly way on Ctrl-C and other signals, with their files whole."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Ctrl-C; a service manager that ends the process; a terminal that was closed (not on Windows)
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


_LONGEST = 0.5  # seconds for which `leave` waits for files
_changed = threading.Condition()
_written: list[int] = []  # ids of the threads that are writing a file


@contextmanager
def leave_waits() -> Iterator[None]:
    """Held by a thread while it writes a file: `leave` waits for it, up to half a second, and lets no other begin."""
    with _changed:
        _written.append(threading.get_ident())
    try:
        yield
    finally:
        with _changed:
            _written.remove(threading.get_ident())
            _changed.notify_all()


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let the first of `_SIGNALS` raise KeyboardInterrupt, as Ctrl-C does; further ones are ignored.

    Signals that were ignored before stay ignored, as `nohup` wants it. After an interrupt all stay ignored: the process
    is about to end, and Python's own handlers would end it with a stack trace.
    """
    interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        interrupted = True
        ignore_signals()  # here, as a second signal may come before the first one is caught
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            if not interrupted:
                signal.signal(number, handler)


def ignore_signals() -> None:
    """Ignore further signals, which must not interrupt the end of a file."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def leave(code: int) -> None:
    """End the process at once if threads still wait for an engine, as the interpreter would wait for them at its end.

    Files that are being written (`leave_waits`) have half a second to be finished.
    """
    if threading.active_count() > 1:
        with _changed:
            _changed.wait_for(lambda: not _written, _LONGEST)
            for output in (sys.stdout, sys.stderr):
                with suppress(OSError):  # nobody reads it any more
                    output.flush()
            os._exit(code)
