"""Objects that belong to a process, for clients that are used on both sides of a fork."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """One object for each process. What a forked child inherits is not its own: a connection is its parent's, too, so
    that one would read the answers to the other's questions, and of a pool of threads only the numbers are there.

    What is inherited is kept and never used: closing it could say goodbye in the parent's name, and locks of it may be
    held for ever. No lock is taken here, either: threads that begin together in a child may make an object in vain.

    Args:
        make: makes an object; called at once, and again in each child that asks.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._objects = {os.getpid(): make()}

    def get(self) -> T:
        """The object of this process."""
        mine = self._objects.get(os.getpid())
        return self._objects.setdefault(os.getpid(), self._make()) if mine is None else mine
