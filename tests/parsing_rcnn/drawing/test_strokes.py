"""What is written on pictures: any text, also one that OpenCV would end the process at."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from parsing_rcnn import draw
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP

ROOT = Path(__file__).resolve().parents[3]
GREY = np.full((80, 120, 3), 100, np.uint8)
ONE = People(np.array([[20, 30, 60, 70]], np.float32), np.ones(1, np.float32), (80, 120))


def test_half_a_character_is_a_question_mark() -> None:
    program = """
import os
import sys
import numpy as np
from tests.parsing_rcnn.drawing.test_strokes import GREY, ONE, named
from parsing_rcnn import draw
for half in ("\\udce9", os.fsdecode(b"T\\xfcr"), "\\ud83d", "a\\0b"):
    ONE.draw(GREY, labels=[half])
    named(half)
assert np.array_equal(ONE.draw(GREY, labels=["T\\udce9"]), ONE.draw(GREY, labels=["T?"]))
assert np.array_equal(named("T\\udce9"), named("T?"))
"""
    # in a process of its own, which is what such a text would end
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def named(name: str) -> np.ndarray:
    """The legend of a class of this name."""
    return draw.legend(replace(CIHP, classes=("Background", name, *CIHP.classes[2:])), [1])


def test_a_text_is_one_line() -> None:
    wanted = ONE.draw(GREY, labels=["Ann 7  x"])
    for label in ("Ann\n7\t\rx", "Ann\u20287\x85\x00x"):
        assert np.array_equal(ONE.draw(GREY, labels=[label]), wanted)
    assert np.array_equal(named("Left\nshoe"), named("Left shoe"))
