"""Python's collector of cyclic garbage, put off while there is none to find."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def nothing_collected() -> Iterator[None]:
    """Where objects are made in great numbers and nearly all stay: to look for others takes a fifth of the time.

    To import torch and torchvision is that (half a second of three), and to trace a network.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
