"""Workers in real processes, and the arithmetic of their figures."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from benchmarks import rounds
from benchmarks.rounds import Worker, WorkerError, percentile, ratios, side_by_side, summarise

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


# ends neither with its input nor by SIGTERM; it keeps its process id in a file
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").write(str(os.getpid()))
print(sys.argv[2], flush=True)
time.sleep(600)
"""


def start(program: str) -> Worker:
    return Worker([sys.executable, "-c", program], threads=1)


def command(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_rounds_are_shared_out_and_stages_come_back() -> None:
    (about, ours), (_, theirs) = side_by_side([command(GOOD), command(GOOD)], 1, (7, 3), rounds=3)
    assert about == {"name": "adder"}
    assert [len(a["ms"]) for a in ours] == [2, 2, 3]
    assert [len(a["ms"]) for a in theirs] == [1, 1, 1]
    figures = summarise(ours)
    assert figures["frames"] == 7
    assert figures["stages_ms_median"] == {"sum": 3.0}
    assert 3 < figures["peak_rss_mb"] < 500
    assert figures["ms_best"] <= figures["ms_median"] <= figures["ms_p95"] <= figures["ms_worst"]


def test_a_worker_that_fails_is_named() -> None:
    with start(BAD) as worker, pytest.raises(WorkerError, match="status 1"):
        worker.run(1)
    with pytest.raises(WorkerError, match="status 3"):
        start("raise SystemExit(3)")


def gone(pid: Path) -> bool:
    """Whether the process whose id a worker left in this file has ended, and was waited for."""
    try:
        os.kill(int(pid.read_text()), 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("failure", ["a worker that follows", "a worker's own words", "the measurement"])
def test_no_worker_stays_whatever_fails(failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "PATIENCE", 0.2)
    pids = [tmp_path / "first", tmp_path / "second"]
    said = "no JSON" if failure == "a worker's own words" else '{"name": "stubborn"}'
    commands = [[*command(STUBBORN), str(pid), said] for pid in pids]
    if failure == "a worker that follows":
        with pytest.raises(WorkerError, match="status 3"):
            side_by_side([*commands, command("raise SystemExit(3)")], 1, (1, 1, 1), rounds=1)
    elif failure == "a worker's own words":
        with pytest.raises(ValueError, match="Expecting value"):
            side_by_side(commands[1:], 1, (1,), rounds=1)
        pids = pids[1:]
    else:
        with pytest.raises(IndexError):  # frames for one of two
            side_by_side([command(GOOD), *commands], 1, (1,), rounds=1)
    assert [gone(pid) for pid in pids] == [True] * len(pids)


def test_a_worker_runs_where_its_parent_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths of the command line mean the same to both; the repository's modules are found all the same."""
    monkeypatch.chdir(tmp_path)
    program = GOOD.replace('{"name": "adder"}', '{"name": __import__("os").getcwd()}')
    with start(program) as worker:
        assert worker.about == {"name": str(tmp_path)}


def test_percentile_by_hand() -> None:
    assert percentile([float(v) for v in range(1, 101)], 0.99) == pytest.approx(99.01)
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
