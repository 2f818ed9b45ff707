"""Zones on a frame: their names may be anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_a_name_that_is_no_utf_8_is_drawn() -> None:
    program = """
import os
import numpy as np
from parsing_rcnn_client.video.pictures import draw_zones
from parsing_rcnn_client.video.zones import Counts, Line, Zone, ZoneCounter, Zones

def drawn(name):
    canvas = np.full((120, 200, 3), 100, np.uint8)
    zones = Zones([Zone(name, [(10, 10), (100, 10), (100, 90)])], [Line(name, [(120, 20), (120, 100)])])
    counts = Counts({name: [1]}, {name: {"in": 1, "out": 0}})
    draw_zones(canvas, ZoneCounter(zones, (120, 200)), counts)
    return canvas

assert np.array_equal(drawn(os.fsdecode(b"T\\xfcr")), drawn("T?r"))
"""
    # in a process of its own, which is what such a name would end
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
