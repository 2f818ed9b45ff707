"""A pipeline of threads with short queues between them: all stages run at once, and items keep their order."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")


class Stages:
    """A pipeline of threads, which `close` stops.

    Attributes:
        busy: stage -> seconds of work, without waiting.
    """

    def __init__(self) -> None:
        self.busy: dict[str, float] = {}
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def run(self, name: str, source: Iterable[A], work: Callable[[A], B], room: int) -> Iterator[B]:
        """Add a stage: apply `work` to every item of `source` in a new thread.

        Args:
            name: of the stage.
            source: the items, for example the results of another stage.
            work: for one item.
            room: how many results may wait to be taken; when there are so many, the stage pauses.

        Returns:
            The results, in the order of the items. Taking them raises whatever this stage or an earlier one raised.
        """
        results: queue.Queue[tuple[str, Any]] = queue.Queue(room)
        self.busy[name] = 0.0
        thread = threading.Thread(target=self._work, args=(name, source, work, results), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
        return self._take(results)

    def _work(self, name: str, source: Iterable[A], work: Callable[[A], B], results: queue.Queue[Any]) -> None:
        try:
            for item in source:
                begin = time.perf_counter()
                result = work(item)
                self.busy[name] += time.perf_counter() - begin
                if not self._put(results, ("item", result)):
                    return
            self._put(results, ("end", None))
        except Exception as error:  # raised again in the thread that takes the results
            self._put(results, ("error", error))

    def _put(self, results: queue.Queue[Any], result: tuple[str, Any]) -> bool:
        while not self._stop.is_set():
            try:
                results.put(result, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def _take(self, results: queue.Queue[Any]) -> Iterator[Any]:
        while not self._stop.is_set():
            try:
                kind, value = results.get(timeout=0.1)
            except queue.Empty:
                continue
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value

    def close(self, patience: float = 30) -> None:
        """Stop all stages, and wait at most `patience` seconds for each. Safe to call twice."""
        self._stop.set()
        for thread in self._threads:
            thread.join(patience)
