"""Python's garbage collector, switched off while there is nothing to collect."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def nothing_collected() -> Iterator[None]:
    """Switch the collector off while many objects are made that nearly all stay, and on again afterwards.

    Importing torch and torchvision is such a time (the collector takes half a second of three), and tracing a network.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
