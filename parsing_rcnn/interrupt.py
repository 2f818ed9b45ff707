"""Ctrl-C while modules are still being imported."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

INTERRUPTED = 130
"""Exit code of a process that Ctrl-C ended."""


@contextmanager
def ends_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process silently while modules are imported in this block.

    Python's KeyboardInterrupt would show a traceback that helps nobody. Some modules swallow it, and in the middle of
    an import it may leave Python's import lock held, for which other threads' imports then wait for ever.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # ignored, or handled by somebody else
        yield
        return
    with suppress(ValueError):  # raised outside of the main thread
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        with suppress(ValueError):
            signal.signal(signal.SIGINT, before)
