"""What the benchmark of Triton writes."""

from __future__ import annotations

import csv
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.triton_report import write

STAGES = {"detector": 5.0, "detector queue": 1.5}


def row(system: str, people: int, concurrency: int, per_second: float, **more: Any) -> dict[str, Any]:
    own = {"system": system, "asked": people, "people": people, "concurrency": concurrency, "per_second": per_second}
    times = {"p50_ms": 20.0, "p95_ms": 22.5, "client": "pa", "people_per_execution": None, "stages": {}}
    return {**own, **times, **more}


def test_every_file_says_the_same(tmp_path: Path) -> None:
    rows = [
        row("embedded engine", 1, 1, 50.0),
        row("Triton, grpc", 1, 1, 40.0, people_per_execution=1.0, stages=STAGES),
        row("Triton, grpc", 1, 8, 60.0, people_per_execution=2.25, stages=STAGES),
        row("Triton, grpc", 4, 8, 20.0, asked=5, people_per_execution=9.0),
    ]
    machine = {"cpu": "a CPU", "cores": 2, "load_before": 0.1}
    result = {"machine": machine, "runtime": "openvino", "model": "human_analysis", "rows": rows}
    text = write(result, tmp_path / "bench" / "triton")
    lines = text.splitlines()
    assert "Triton asked by perf_analyzer" in lines[0]
    assert lines[2:] == [
        "| people found | 1 at once | 8 at once |",
        "|---|---:|---:|",
        "| 1: embedded engine | 50.0 (20.0) | – |",
        "| 1: Triton, grpc | 40.0 (20.0); 1.0 | 60.0 (20.0); 2.2 |",
        "| 4: Triton, grpc | – | 20.0 (20.0); 9.0 |",
    ]
    folder = tmp_path / "bench"
    assert (folder / "triton.md").read_text() == text
    assert json.loads((folder / "triton.json").read_text()) == result
    with (folder / "triton.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [line["detector queue ms"] for line in table] == ["", "1.5", "1.5", ""]
    assert [line["per_second"] for line in table] == ["50.0", "40.0", "60.0", "20.0"]
    assert (folder / "triton.png").is_file() == (find_spec("matplotlib") is not None)
