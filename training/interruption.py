"""Stopping a run from outside: after a signal the loop saves a checkpoint and says how to go on."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

# what schedulers send before they take a machine away (Slurm: --signal=USR1@120); Windows knows SIGTERM alone
_ASKING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
_HEARD = b"\nfinishing this step and saving; Ctrl-C again ends at once, and saves nothing\n"


class TrainingStopped(RuntimeError):
    """A signal asked the run to stop, and its checkpoint is written; the message says how to go on.

    Attributes:
        by_hand: whether the signal was Ctrl-C (SIGINT).
    """

    def __init__(self, message: str, *, by_hand: bool = False) -> None:
        super().__init__(message)
        self.by_hand = by_hand


class StopRequest:
    """Within `with`, SIGTERM, SIGUSR1 and the first SIGINT do not end the process: they are noted.

    Signals can only be noted in the main thread of a process.

    Attributes:
        signal: the name of the last one; None if there was none.
    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _ASKING}
            if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as it is in a shell's background
                self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, _: object) -> None:
        self.signal = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(number, self._before[number] or signal.SIG_DFL)
            os.write(2, _HEARD)  # a print may have been interrupted, and would not let another one in


def obey_parent_alone() -> None:
    """Make a loader's process end by a signal of its parent alone.

    Schedulers and terminals send their signals to all processes, but the loop still needs the batches of its loaders.
    Where a process cannot find out who sent a signal (macOS, Windows), SIGTERM ends it as usual.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not hasattr(signal, "sigwaitinfo"):
        return
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # of the threads that come after, too
    threading.Thread(target=_wait_for, args=(os.getppid(),), daemon=True).start()


def _wait_for(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
