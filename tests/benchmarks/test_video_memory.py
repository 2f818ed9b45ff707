"""Figures of notes whose line is known."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.video_memory import resident, summarise


def test_the_slope_is_of_what_comes_after_the_first_tenth() -> None:
    notes = [(n, 500.0 if n < 1000 else 200 + n / 1000, 90.0) for n in range(100, 10_001, 100)]
    found = summarise(notes, 10_000)
    assert found["process"] == {
        "mb_at_a_tenth": 201.0,
        "mb_at_the_half": 205.5,
        "mb_at_the_end": 210.0,
        "mb_more_per_1000_frames": pytest.approx(1.0),
    }
    assert found["ffmpeg"]["mb_more_per_1000_frames"] == pytest.approx(0, abs=1e-9)


def test_the_memory_of_children_is_counted_and_what_is_taken_shows() -> None:
    own, children = resident()
    held = bytearray(b"x") * 64_000_000
    with subprocess.Popen([sys.executable, "-c", "print(1, flush=True); input()"], stdin=-1, stdout=-1) as child:
        assert child.stdout is not None
        child.stdout.readline()
        after = resident()
        child.communicate(b"\n")
    assert after[0] - own > 50
    assert after[1] - children > 3
    del held
