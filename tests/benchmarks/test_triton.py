"""The benchmark of Triton: its table, and what it says when nobody is there."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import cv2
import pytest

from benchmarks.embedded import drawn_person
from benchmarks.triton import Row, load, main, table


def test_the_table() -> None:
    rows = [asdict(Row("embedded engine", 1, 50.0, 20.0, 22.5)), asdict(Row("Triton, grpc", 8, 60, 130, 150, 2.25))]
    lines = table({"people": 1, "model": "human_analysis", "rows": rows}).splitlines()
    assert lines[2] == "| embedded engine | 1 | 50.0 | 20.0 | 22.5 |  |"
    assert lines[3] == "| Triton, grpc | 8 | 60.0 | 130.0 | 150.0 | 2.2 |"


def test_load_counts_every_answer() -> None:
    asked: list[int] = []
    per_second, p50, p95 = load(lambda: asked.append(1), 2, 0.05)
    assert len(asked) >= 2
    assert per_second > 0
    assert 0 <= p50 <= p95


def test_without_a_server_it_says_so(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    cv2.imwrite(str(photo), drawn_person())
    with pytest.raises(SystemExit, match="error: "):
        main(["--photo", str(photo), "--seconds", "0.1", "--grpc", "127.0.0.1:1", "--http", "127.0.0.1:1"])
