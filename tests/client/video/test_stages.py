"""Stages: in order, bounded, and errors arrive."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from parsing_rcnn_client.video.stages import Stages


def test_order_and_overlap() -> None:
    with closing(Stages()) as stages:
        slow = stages.run("one", range(20), lambda i: (time.sleep(0.001 * (i % 3)), i)[1], 3)
        assert list(stages.run("two", slow, lambda i: i * i, 3)) == [i * i for i in range(20)]
    assert set(stages.busy) == {"one", "two"}


def test_a_stage_takes_no_more_than_there_is_room_for() -> None:
    taken = []

    def numbers() -> Iterator[int]:
        for i in range(1000):
            taken.append(i)
            yield i

    with closing(Stages()) as stages:
        results = stages.run("one", numbers(), lambda i: i, 2)
        assert next(results) == 0
        time.sleep(0.05)
        assert len(taken) <= 5


def test_an_error_arrives_after_the_results_before_it_and_threads_end() -> None:
    def work(i: int) -> int:
        if i == 3:
            raise ValueError("three")
        return i

    before = set(threading.enumerate())
    seen: list[int] = []

    def run() -> None:
        with closing(Stages()) as stages:
            seen.extend(stages.run("two", stages.run("one", range(10), work, 2), lambda i: i, 2))

    with pytest.raises(ValueError, match="three"):
        run()
    assert seen == [0, 1, 2]
    assert set(threading.enumerate()) <= before
