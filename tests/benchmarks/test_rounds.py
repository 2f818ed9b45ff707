"""Workers in real processes, and the arithmetic of their figures."""

from __future__ import annotations

import sys

import pytest

from benchmarks.rounds import Worker, WorkerError, interleave, percentile, ratios, summarise

GOOD = """
from benchmarks.rounds import answer
def prepare():
    print("a library that talks on standard output")
    return {"name": "adder"}, lambda: {"sum": sum(range(2000)) * 0.0 + 3.0}
answer(prepare)
"""
BAD = """
from benchmarks.rounds import answer
def prepare():
    return {"name": "bad"}, lambda: {"x": 1 / 0}
answer(prepare)
"""


def start(program: str) -> Worker:
    return Worker([sys.executable, "-c", program], threads=1)


def test_rounds_are_shared_out_and_stages_come_back() -> None:
    workers = [start(GOOD), start(GOOD)]
    try:
        assert workers[0].about == {"name": "adder"}
        answers = interleave(workers, (7, 3), rounds=3)
    finally:
        for worker in workers:
            worker.close()
    assert [len(a["ms"]) for a in answers[0]] == [2, 2, 3]
    assert [len(a["ms"]) for a in answers[1]] == [1, 1, 1]
    figures = summarise(answers[0])
    assert figures["frames"] == 7
    assert figures["stages_ms_median"] == {"sum": 3.0}
    assert 3 < figures["peak_rss_mb"] < 500
    assert figures["ms_best"] <= figures["ms_median"] <= figures["ms_p95"] <= figures["ms_worst"]


def test_a_worker_that_fails_is_named() -> None:
    worker = start(BAD)
    with pytest.raises(WorkerError, match="status 1"):
        worker.run(1)
    worker.close()
    with pytest.raises(WorkerError, match="status 3"):
        start("raise SystemExit(3)")


def test_percentile_by_hand() -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.5
    assert percentile([4.0, 1.0, 3.0, 2.0], 1.0) == 4.0
    assert percentile([5.0], 0.95) == 5.0


def test_summary_and_ratio_by_hand() -> None:
    ours = [
        {"ms": [10.0, 20.0], "stages": [{"a": 1.0}, {"a": 3.0}], "rss_mb": 50.0},
        {"ms": [30.0], "stages": [{"a": 5.0}], "rss_mb": 70.0},
    ]
    theirs = [{"ms": [150.0], "stages": [{}], "rss_mb": 1.0}, {"ms": [600.0], "stages": [{}], "rss_mb": 1.0}]
    figures = summarise(ours)
    assert figures["fps_median"] == pytest.approx(50.0)
    assert figures["ms_p95"] == pytest.approx(29.0)
    assert figures["peak_rss_mb"] == 70.0
    assert figures["stages_ms_median"] == {"a": 3.0}
    # medians 20 and 375; the rounds 150 / 15 and 600 / 30
    assert ratios(ours, theirs) == {"median": 18.75, "least_round": 10.0, "greatest_round": 20.0}
