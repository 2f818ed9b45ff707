"""Measure competitors side by side: each in its own process, called in turns, so that a busy moment hits all of them.

The parent writes one JSON object a line to a worker's standard input ({"frames": 10}) and reads one back
({"ms": [...], "rss_mb": ..., "stages": [...]}). This file needs nothing but the standard library: a worker may run on
another interpreter with other packages.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0  # seconds that a worker gets to end, and again after SIGTERM


class WorkerError(RuntimeError):
    """A worker ended early; it has said why on standard error, which it shares with this process."""


class Worker:
    """One competitor in its own process; as a context, it ends the process.

    Args:
        command: interpreter and arguments of a process that calls `answer`.
        threads: set for the thread pools that libraries open by themselves.

    Attributes:
        about: what the worker said about itself when it was ready.

    Raises:
        WorkerError: it ended before it was ready.
    """

    def __init__(self, command: Sequence[str], threads: int) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
        self._command = " ".join(command)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )
        try:
            self.about: dict[str, Any] = self._read()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, frames: int) -> dict[str, Any]:
        """Let the worker process `frames` pictures and return its answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"frames": frames}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        return self._read()

    def close(self) -> None:
        """End the worker: by the end of its input, else by SIGTERM, else by SIGKILL. Safe to call twice."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        for end in (self._process.terminate, self._process.kill):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)
                break
            end()
        self._process.wait()
        self._process.stdout.close()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self) -> WorkerError:
        self.close()
        return WorkerError(f"`{self._command}` ended with status {self._process.returncode}: its reason stands above")


def answer(prepare: Callable[[], tuple[Mapping[str, Any], Callable[[], Mapping[str, float]]]]) -> None:
    """The worker's side: prepare once, then process pictures until standard input ends.

    Args:
        prepare: gives (facts about this competitor, a function that processes one picture and returns milliseconds
            by stage).
    """
    # libraries print to standard output; the conversation gets a descriptor of its own
    wire = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    about, step = prepare()
    print(json.dumps(about), file=wire, flush=True)
    for line in sys.stdin:
        times, stages = [], []
        for _ in range(json.loads(line)["frames"]):
            begin = time.perf_counter()
            stages.append(dict(step()))
            times.append(1000 * (time.perf_counter() - begin))
        print(json.dumps({"ms": times, "stages": stages, "rss_mb": peak_memory()}), file=wire, flush=True)


def peak_memory() -> float:
    """The most memory that this process has held, MB (2**20 bytes)."""
    try:
        # ru_maxrss would include the parent's memory before exec
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which `part` (0..1) of the values lie, interpolated."""
    ordered = sorted(values)
    position = part * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def summarise(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Figures of one competitor over all rounds: milliseconds, frames a second, stages (ms), peak memory (MB)."""
    times = [ms for answer in answers for ms in answer["ms"]]
    stages: dict[str, list[float]] = {}
    for answer in answers:
        for frame in answer["stages"]:
            for name, ms in frame.items():
                stages.setdefault(name, []).append(ms)
    middle = statistics.median(times)
    return {
        "frames": len(times),
        "ms_median": middle,
        "ms_p95": percentile(times, 0.95),
        "ms_best": min(times),
        "ms_worst": max(times),
        "fps_median": 1000 / middle,
        "fps_p95": 1000 / percentile(times, 0.95),
        "peak_rss_mb": max(answer["rss_mb"] for answer in answers),
        "stages_ms_median": {name: statistics.median(stages[name]) for name in sorted(stages, key=_total_last)},
    }


def _total_last(stage: str) -> bool:
    return stage == "total"


def ratios(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """How many times faster `ours` is than `theirs`: over all rounds, and in the round with the least and the greatest.

    Each is a ratio of medians. A round pairs what both did in the same turn.
    """
    rounds = [
        statistics.median(b["ms"]) / statistics.median(a["ms"])
        for a, b in zip(ours, theirs, strict=True)
        if a["ms"] and b["ms"]
    ]
    all_ours = [ms for answer in ours for ms in answer["ms"]]
    all_theirs = [ms for answer in theirs for ms in answer["ms"]]
    middle = statistics.median(all_theirs) / statistics.median(all_ours)
    return {"median": middle, "least_round": min(rounds), "greatest_round": max(rounds)}


def interleave(workers: Sequence[Worker], frames: Sequence[int], rounds: int) -> list[list[dict[str, Any]]]:
    """Run each worker's `frames` in `rounds` turns (A B A B ...).

    Returns:
        one list of answers per worker, one answer per round.
    """
    answers: list[list[dict[str, Any]]] = [[] for _ in workers]
    for turn in range(rounds):
        for index, worker in enumerate(workers):
            share = frames[index] * (turn + 1) // rounds - frames[index] * turn // rounds
            answers[index].append(worker.run(share))
    return answers


def side_by_side(
    commands: Sequence[Sequence[str]], threads: int, frames: Sequence[int], rounds: int
) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Start a worker for each command, run them in turns, and end them all.

    Args:
        threads: see `Worker`. frames, rounds: see `interleave`.

    Returns:
        for each command: what its worker said about itself, and its answers, one per round.

    Raises:
        WorkerError: one of them ended early.
    """
    with ExitStack() as running:
        workers = [running.enter_context(Worker(command, threads)) for command in commands]
        answers = interleave(workers, frames, rounds)
        return [(worker.about, given) for worker, given in zip(workers, answers, strict=True)]
