"""Progress bars on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

Progress = Callable[[Sequence[Any], str], Iterable[Any]]
"""Wraps a sequence that is walked: (items, name) -> the same items."""


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Yield a `Progress` that shows a bar on standard error while the items are walked."""
    from rich import progress

    from parsing_rcnn.terminal import stderr_console

    columns = (
        progress.TextColumn("{task.description:12}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=stderr_console()) as bar:

        def wrap(items: Sequence[Any], name: str) -> Iterable[Any]:
            return bar.track(items, description=name)

        yield wrap
