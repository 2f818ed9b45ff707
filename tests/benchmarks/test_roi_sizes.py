"""The paper's speed table: every competitor computes what its row says."""

from __future__ import annotations

import pytest

pytest.importorskip("torchvision", reason="the peer and the light network need torch")


@pytest.mark.parametrize(("kind", "cells"), [("light", 14), ("light", 32), ("peer", 14), ("exported", 32)])
def test_every_competitor_computes_so_many_people(kind: str, cells: int) -> None:
    from benchmarks.roi_sizes import KINDS

    about, step = KINDS[kind](cells, 50, 3, 1)
    assert (about["cells"], about["people"]) == (cells, 3)
    assert step() == {}  # raises where it computed another number


def test_the_table() -> None:
    from benchmarks.roi_sizes import table

    row = {"cells": 14, "proposals": 100, "people": 100, "name": "light", "ms_median": 250.0, "fps_median": 4.0}
    lines = table({"machine": {"cpu": "a CPU"}, "threads": 2, "rows": [row]}).splitlines()
    assert lines[0] == "a CPU, 2 threads; 100 people computed."
    assert lines[-1] == "| 14x14 | 100 | light | 250 | 4.00 |"
