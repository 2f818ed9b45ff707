"""Ctrl-C before there is anything to finish."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

INTERRUPTED = 130
"""Exit code, as that of Ctrl-C."""


@contextmanager
def ends_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process without a word, while modules are imported.

    Python's KeyboardInterrupt shows where it was, which tells nobody anything. Some places swallow it, and in the
    middle of an import it may leave Python's lock behind, for which threads that import something wait for ever.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # it is ignored, or somebody else handles it
        yield
        return
    with suppress(ValueError):  # not in the main thread, where it would be raised
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        with suppress(ValueError):
            signal.signal(signal.SIGINT, before)
