"""The benchmark of Triton: its pictures, differences of counters, and what it says when nobody is there."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from benchmarks import perf
from benchmarks.crowd import NobodyFound, crowd, cut_out
from benchmarks.perf import threads_load
from benchmarks.triton import STEPS, WORKERS, differences, main
from parsing_rcnn.pipeline import Pipeline
from server.settings import Settings


def test_a_crowd_is_found_again(pipeline: Pipeline, photo_jpeg: bytes) -> None:
    photo = np.asarray(cv2.imdecode(np.frombuffer(photo_jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)
    pixels, share = cut_out(pipeline, photo)
    assert pixels.shape[:2] == share.shape[:2]
    assert share.max() == pytest.approx(1)
    pictures = {count: crowd(photo, (pixels, share), count) for count in (0, 1, 5, 20)}
    for count in (0, 1, 5):
        assert len(pipeline.analyze(pictures[count])) == count
    # half a person, small, is not always found: the rows say how many were
    assert 5 < len(pipeline.analyze(pictures[20])) <= 20
    sizes = {cv2.imdecode(np.frombuffer(picture, np.uint8), 1).shape for picture in pictures.values()}
    assert sizes == {(1080, 1920, 3)}


def test_a_photo_of_nobody_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(NobodyFound, match="--photo"):
        cut_out(pipeline, np.full((200, 300, 3), 90, np.uint8))


def test_people_and_milliseconds_are_differences_of_counters() -> None:
    names = ("requests", "people", "executions", "queue", "compute")
    before = {step: dict.fromkeys(names, 100) for step in STEPS}
    after = {step: dict(own) for step, own in before.items()}
    # four requests of three people each, computed in two executions by one head and in four by the other
    for head, executions in (("parsing", 2), ("densepose_head", 4)):
        after[head] = {"requests": 104, "people": 112, "executions": 100 + executions,
                       "queue": 100 + 8_000_000, "compute": 100 + 20_000_000}  # fmt: skip
    people, stages = differences(before, after)
    assert people == pytest.approx(24 / 6)
    assert stages == {head: 5.0 for head in ("parsing", "densepose_head")} | {
        f"{head} queue": 2.0 for head in ("parsing", "densepose_head")
    }
    assert differences(before, before) == (None, {})


def test_the_engine_is_asked_as_its_gateway_asks_it() -> None:
    assert Settings().workers == WORKERS


def test_load_counts_every_answer_of_every_thread() -> None:
    closed: list[int] = []

    class Ask:
        def __call__(self) -> None:
            pass

        def close(self) -> None:
            closed.append(1)

    load = threads_load(Ask, 3, 0.05)
    assert load.per_second > 0
    assert 0 <= load.p50_ms <= load.p95_ms
    assert closed == [1, 1, 1]


def test_the_last_answers_are_waited_for_and_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only answers move: they take 10 ms each, and the last ones a second."""
    clock, lock, begun = SimpleNamespace(now=0.0, asked=0), threading.Lock(), threading.Event()

    def perf_counter() -> float:
        if threading.current_thread() is threading.main_thread():
            begun.set()
        return clock.now

    def ask() -> None:
        with lock:
            clock.asked += 1
            if clock.asked <= 2:  # before the measurement
                return
        assert begun.wait(60)
        with lock:
            clock.now += 0.01 if clock.now < 0.19 else 1

    monkeypatch.setattr(perf, "time", SimpleNamespace(perf_counter=perf_counter))
    load = threads_load(lambda: ask, 2, 0.2)
    assert clock.now > 1
    assert load.per_second > 2 * clock.asked / clock.now


def test_a_client_that_fails_ends_the_measurement() -> None:
    def ask() -> None:
        raise OSError("nobody there")

    with pytest.raises(RuntimeError, match="a client failed: nobody there"):
        threads_load(lambda: ask, 2, 0.05)


def test_without_a_server_it_says_so(tmp_path: Path, photo_jpeg: bytes) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(photo_jpeg)
    arguments = ["--photo", str(photo), "--seconds", "0.1", "--people", "1", "--concurrency", "1"]
    with pytest.raises(SystemExit, match="error: "):
        main([*arguments, "--grpc", "127.0.0.1:1", "--http", "127.0.0.1:1"])
