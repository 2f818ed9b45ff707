"""Zones on a frame: their names may be anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.people import People
from parsing_rcnn_client.video.follow import Tracked
from parsing_rcnn_client.video.layers import Look
from parsing_rcnn_client.video.media import Frame
from parsing_rcnn_client.video.pictures import pictured
from parsing_rcnn_client.video.zones import Line, ZoneCounter, Zones

ROOT = Path(__file__).resolve().parents[3]


def test_a_name_that_is_no_utf_8_is_drawn() -> None:
    program = """
import os
import numpy as np
from parsing_rcnn_client.video.pictures import draw_counts
from parsing_rcnn_client.video.zones import Counts, Line, Zone, ZoneCounter, Zones

def drawn(name):
    canvas = np.full((120, 200, 3), 100, np.uint8)
    zones = Zones([Zone(name, [(10, 10), (100, 10), (100, 90)])], [Line(name, [(120, 20), (120, 100)])])
    counts = Counts({name: [1]}, {name: {"in": 1, "out": 0}})
    draw_counts(canvas, ZoneCounter(zones, (120, 200)), counts)
    return canvas

assert np.array_equal(drawn(os.fsdecode(b"T\\xfcr")), drawn("T?r"))
"""
    # in a process of its own, which is what such a name would end
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def shown(person: list[float], *, hidden: bool = False, line: bool = True) -> NDArray[np.uint8]:
    """A grey frame with one person, and a line across the number of the person."""
    box = np.array([person], np.float32)
    people = People(box, np.ones(1, np.float32), (120, 200))
    tracked = Tracked(Frame(0, 0.0, np.full((120, 200, 3), 100, np.uint8)), people, np.array([7]), box)
    counter = ZoneCounter(Zones(lines=[Line("gate", [(0, 40), (199, 40)])] if line else []), (120, 200))
    look = Look(layers=("anonymise", "boxes") if hidden else ("boxes",), hide="people")
    return pictured(tracked.counted(counter), look, counter)


def test_lines_lie_under_the_numbers_of_people() -> None:
    for hidden in (False, True):
        person = [20.0, 46.0, 70.0, 110.0]
        with_line, without = shown(person, hidden=hidden), shown(person, hidden=hidden, line=False)
        np.testing.assert_array_equal(with_line[34:46, 22:40], without[34:46, 22:40])  # the number
        assert (with_line[40, 120:] != without[40, 120:]).any(axis=1).all()
    inside = shown([20.0, 20.0, 70.0, 110.0], hidden=True)
    assert (inside[40, 30:60] != shown([20.0, 20.0, 70.0, 110.0], hidden=True, line=False)[40, 30:60]).any()
