"""Many pictures, some in flight, when the engine goes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from threading import Timer
from types import FrameType
from typing import cast

import numpy as np
import pytest

from parsing_rcnn.analyzer import Analyzer, Options
from parsing_rcnn.codecs import png
from parsing_rcnn.codecs.image import ImageLimits
from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client.predict import predicting
from parsing_rcnn_client.predict.outputs import write_outputs
from parsing_rcnn_client.predict.predicting import predict_all
from parsing_rcnn_client.predict.sources import Source
from parsing_rcnn_client.signals import signals_interrupt

PICTURE = png.encode_rgb(np.zeros((8, 8, 3), np.uint8))


class _Slow:
    """Holds its first picture until it is asked for the last."""

    def __init__(self) -> None:
        self.last = threading.Event()

    def analyze(self, picture: bytes, options: Options) -> People:
        if picture == PICTURE:
            self.last.set()
        assert self.last.wait(60)
        return People.empty((8, 8))


def calls_of_a_run(folder: Path, skipped: int) -> int:
    """How many functions `predict_all` calls in its thread for so many pictures that are done, behind one that is held
    until they were all looked at."""
    count = 0

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call" and frame.f_code.co_filename == predicting.__file__

    done = Source(Path("done.png"), folder / "done", PICTURE)
    sources = [Source(Path("a.png"), folder / "a", PICTURE + b"0"), *[done] * skipped]
    sources.append(Source(Path("b.png"), folder / "b", PICTURE))
    options = Options(tasks=frozenset())
    write_outputs(done.target, People.empty((8, 8)), np.zeros((8, 8, 3), np.uint8), options=options)
    sys.setprofile(profile)
    try:
        report = predict_all(cast(Analyzer, _Slow()), options, sources, in_flight=2, resume=True)
    finally:
        sys.setprofile(None)
    assert len(report.earlier) == skipped
    assert len(report.pictures) == 2
    return count


def test_the_work_grows_with_the_pictures_that_are_skipped_and_not_with_their_square(tmp_path: Path) -> None:
    some, more = calls_of_a_run(tmp_path / "some", 100), calls_of_a_run(tmp_path / "more", 400)
    assert more < 5 * some


class _Going:
    """Answers three pictures and is gone for the first, which it has held until then."""

    def __init__(self) -> None:
        self.others = threading.Barrier(4)

    def analyze(self, picture: bytes, options: Options) -> People:
        self.others.wait(30)
        if picture == PICTURE:
            raise EngineUnavailable("it is gone")
        return People.empty((8, 8))


def test_what_was_answered_before_the_engine_went_is_reported(tmp_path: Path) -> None:
    sources = [Source(Path(f"{i}.png"), tmp_path / str(i), PICTURE + bytes([i] * (i > 0))) for i in range(6)]
    report = predict_all(cast(Analyzer, _Going()), Options(tasks=frozenset()), sources, in_flight=4, resume=False)
    assert report.stopped == "it is gone"
    assert [one["source"] for one in report.pictures] == ["1.png", "2.png", "3.png"]
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["1.json", "2.json", "3.json"]
    assert report.failed == {}


class _Interrupted:
    """Is gone for its first picture. The second one is interrupted while the run waits for it."""

    def __init__(self) -> None:
        self.goes_on, self.second, self.answers = threading.Event(), threading.Event(), 0

    def analyze(self, picture: bytes, options: Options) -> People:
        if picture == PICTURE:
            assert self.second.wait(60)
            raise EngineUnavailable("it is gone")
        self.second.set()
        Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start()  # any moment is one within the run
        self.goes_on.wait(60)
        self.answers += 1
        return People.empty((8, 8))


def test_an_interrupt_ends_the_wait_for_the_rest_of_a_run_that_was_stopped(tmp_path: Path, handlers: None) -> None:
    engine = _Interrupted()
    sources = [Source(Path(f"{i}.png"), tmp_path / str(i), PICTURE + bytes([i] * (i > 0))) for i in range(2)]
    with signals_interrupt():  # as in the command
        report = predict_all(cast(Analyzer, engine), Options(tasks=frozenset()), sources, in_flight=2, resume=False)
    answers = engine.answers
    engine.goes_on.set()
    assert (answers, report.interrupted) == (0, True)
    assert report.stopped in ("it is gone", "interrupted")  # whichever came first


HINT = "; a video is for `parsing-rcnn annotate`"


@pytest.mark.parametrize(
    ("name", "data", "hint"),
    [
        ("walk.mp4", b"\0\0\0\x20ftypisom", HINT),
        ("walk", b"\0\0\0\x20ftypqt  ", HINT),
        ("walk.MKV", b"\x1a\x45\xdf\xa3matroska", HINT),
        ("long.webm", b"\x1a\x45\xdf\xa3" + bytes(1000), HINT),  # too large besides
        ("phone.heic", b"\0\0\0\x20ftypheic", ""),
        ("camera.cr3", b"\0\0\0\x20ftypcrx ", ""),
        ("notes.txt", b"no picture", ""),
        ("picture.mp4", png.encode_rgb(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), ""),
    ],
)
def test_a_video_is_told_where_it_belongs(tmp_path: Path, name: str, data: bytes, hint: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    engine = Pipeline(threads=1, limits=ImageLimits(max_bytes=500))
    report = predict_all(
        engine, Options(frozenset()), [Source(path, tmp_path / "out")], in_flight=1, resume=False, files=frozenset()
    )
    (said,) = report.failed.values()
    if len(data) > 500:
        assert said == f"the image has {len(data)} bytes, the limit is 500: scale it down{hint}"
    else:
        assert said.startswith("the bytes are ")
        assert said.endswith(f": JPEG, PNG and WebP are accepted{hint}")
