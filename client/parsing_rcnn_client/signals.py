"""Ends commands in an orderly way on Ctrl-C and other signals, with their files whole."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Ctrl-C; a service manager that ends the process; a terminal that was closed (not on Windows)
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

_SOON = 0.05  # seconds in which the main thread sees a signal, unless it is in a system call
_LONGEST = 0.5  # seconds for which `leave` waits for what is being written
_HANGS = 10.0  # seconds after which a block that `signals_wait` holds hangs; shorter pauses are a busy machine's
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


class _Interrupt:
    """The handler that raises KeyboardInterrupt: at the first signal, or at the end of the block that `signals_wait`
    holds at that moment.
    """

    def __init__(self) -> None:
        self.raised = False
        self._holds, self._waits = False, False  # whether such a block runs; whether a signal came during it

    def awaits(self, number: int) -> bool:
        """Whether this is the handler of a signal, and has to run for it."""
        handler: object = signal.getsignal(number)
        if handler not in (self, self._raise):
            return False
        return not (self.raised or (handler == self and self._waits))

    def __call__(self, *_: object) -> None:
        if not self._holds:
            self._raise()
        elif not self._waits:
            self._waits = True
            if hasattr(signal, "setitimer"):  # for a block that hangs, because nobody reads a pipe for example
                signal.signal(signal.SIGALRM, self._raise)
            _alarm_in(_HANGS)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """See `signals_wait`."""
        self._holds = True
        try:
            yield
        finally:
            self._holds = False
            if self._waits:  # also where the block failed, of the same signal: who read a pipe has ended by it
                _alarm_in(0)
                self._raise()

    def _raise(self, *_: object) -> None:
        if self.raised:
            return
        self.raised = True
        ignore_signals()  # here, as a second signal may come before the first one is caught
        raise KeyboardInterrupt


def _alarm_in(seconds: float) -> None:
    """Send SIGALRM to this process once after a time; 0 sends none. Windows has no such signal."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


_interrupt: _Interrupt | None = None  # within `signals_interrupt`
_relay: threading.Thread | None = None  # within `_main_thread_wakes`


@contextmanager
def _main_thread_wakes(interrupt: _Interrupt) -> Iterator[None]:
    """Let every signal end the system call in which the main thread is, and which its handler waits for.

    The system gives a signal to any thread of a process: often to another one where the process was stopped (Ctrl-Z,
    then `kill`). A main thread that writes to a pipe which nobody reads would not see it. Windows has no such signals.
    """
    global _relay  # noqa: PLW0603 - there is one main thread in a process
    if not hasattr(signal, "pthread_kill"):
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    relay = threading.Thread(target=_wake, args=(reader, threading.get_ident(), interrupt), name="signals", daemon=True)
    _relay = relay
    relay.start()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)
        _relay = None
        relay.join()


def _wake(reader: int, main: int, interrupt: _Interrupt) -> None:
    """Send each signal whose number comes out of a pipe to the main thread until the handler has run there."""
    with open(reader, "rb", buffering=0) as numbers:
        while came := numbers.read(4096):  # what is sent here comes as well
            time.sleep(_SOON)
            for number in set(came):
                while interrupt.awaits(number):
                    signal.pthread_kill(main, number)
                    time.sleep(_SOON)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let the first of `_SIGNALS` raise KeyboardInterrupt, as Ctrl-C does; further ones are ignored.

    Signals that were ignored before stay ignored, as `nohup` wants it. After an interrupt all stay ignored: the process
    is about to end, and Python's own handlers would end it with a stack trace.
    """
    global _interrupt  # noqa: PLW0603 - there is one set of handlers in a process
    _interrupt = interrupt = _Interrupt()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    with _main_thread_wakes(interrupt):  # around the handlers: an interrupt within the start of a thread may get lost
        for number, handler in before.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, interrupt)
        try:
            yield
        finally:
            _interrupt = None
            for number, handler in before.items():
                if not interrupt.raised:
                    signal.signal(number, handler)


@contextmanager
def signals_wait() -> Iterator[None]:
    """Within `signals_interrupt`, let a signal wait for the end of this block, up to ten seconds, so that several
    outputs take the same. Does nothing elsewhere, and in other threads, which signals do not interrupt.
    """
    if _interrupt is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    with _interrupt.hold():
        yield


def ignore_signals() -> None:
    """Ignore further signals, which must not interrupt the end of a file."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def leave(code: int) -> None:
    """End the process at once if threads still wait for an engine, as the interpreter would wait for them at its end.

    Files that are being written (`leave_waits`) have half a second to be finished.
    """
    if threading.active_count() > (1 if _relay is None else 2):
        with _changed:
            _changed.wait_for(lambda: not _written, _LONGEST)
            for output in (sys.stdout, sys.stderr):
                with suppress(OSError, AttributeError):  # nobody reads it any more, or it was closed from the start
                    output.flush()
            os._exit(code)
