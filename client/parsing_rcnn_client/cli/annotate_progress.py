"""How far `parsing-rcnn annotate` is: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from parsing_rcnn.terminal import say, stderr_console

_PERIOD = 60.0  # seconds between two lines


class Lines:
    """Says how far a run is, once a minute.

    Args:
        whole: number of frames, an estimate; None if unknown.
        tell: takes each line.
        clock: the time, seconds.
    """

    def __init__(
        self, whole: int | None, tell: Callable[[str], None] = say, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._whole, self._tell, self._clock = whole, tell, clock
        self._begun = self._last = clock()

    def __call__(self, done: int) -> None:
        """Take how many frames are done."""
        now = self._clock()
        if now - self._last < _PERIOD:
            return
        self._last = now
        of = "" if self._whole is None else f"/{self._whole}"
        self._tell(f"{done}{of} frames, {done / (now - self._begun):.1f} fps")


@contextmanager
def shown(whole: int | None) -> Iterator[Callable[[int], None]]:
    """Show how far a run is, for as long as it lasts.

    Args:
        whole: number of frames, an estimate; None if unknown.

    Yields:
        what is to be told how many frames are done.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = stderr_console()
    if not console.is_terminal:
        yield Lines(whole)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("frames", total=whole)
        yield lambda done: progress.update(bar, completed=done)
