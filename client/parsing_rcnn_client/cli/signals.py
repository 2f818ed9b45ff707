"""Signals that end a command which writes files."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

INTERRUPTED = 130
"""Exit code, as that of Ctrl-C."""

# Ctrl-C, whoever ends processes in an orderly way, a terminal that is closed (which Windows does not tell)
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


_LONGEST = 0.5  # seconds for which `leave` waits for files
_changed = threading.Condition()
_written: list[int] = []  # threads that write one


@contextmanager
def leave_waits() -> Iterator[None]:
    """While a thread writes a file: `leave` lets it, where that does not take long, and lets no other begin."""
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
    """Let the first of `_SIGNALS` interrupt as Ctrl-C does; the others are ignored from then on.

    Those that were ignored before stay so, as `nohup` has it, and so do all after an interrupt: the process is about
    to end, and Python's own handlers would have it end in a stack trace.
    """
    interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        interrupted = True
        ignore_signals()  # here, for a second one may come before whoever catches the first could do it
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
    """One that comes now must not cut the end of a file."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def leave(code: int) -> None:
    """End the process here where threads still wait for an engine: the interpreter would wait for them at its end.

    Files that are being written are waited for (`leave_waits`), half a second at most.
    """
    if threading.active_count() > 1:
        with _changed:
            _changed.wait_for(lambda: not _written, _LONGEST)
            for output in (sys.stdout, sys.stderr):
                with suppress(OSError):  # whoever reads it has gone
                    output.flush()
            os._exit(code)
