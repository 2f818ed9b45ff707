"""Accuracy against speed, of points made up here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.pareto import Point, front, main


def point(name: str, fps: float, miou: float, groups: float = 0.5) -> Point:
    return Point(name, fps, miou, groups, 0.5)


def test_the_front_holds_what_no_other_beats() -> None:
    points = [
        point("good", 10, 0.6),
        point("fast", 50, 0.4),
        point("beaten", 9, 0.5),
        point("middle", 30, 0.5, 0.7),
    ]
    assert [p.name for p in front(points, "miou")] == ["good", "middle", "fast"]
    assert [p.name for p in front(points, "groups")] == ["middle", "fast"]


def files(folder: Path, fps: float, miou: float) -> list[str]:
    folder.mkdir()
    evaluation = {"photos": {"miou": miou}, "groups": {"ap_50": 0.7}, "synthetic": {"gps_ap": 0.25}}
    (folder / "results.json").write_text(json.dumps(evaluation))
    (folder / "speed.json").write_text(json.dumps({"engine": {"fps_median": fps}}))
    return [str(folder / "results.json"), str(folder / "speed.json")]


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--point", "a", *files(tmp_path / "a", 20, 0.5), "--point", "b", *files(tmp_path / "b", 40, 0.456)]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:4] == ["| b | 40.0 | 45.6 | 70.0 | 25.0 |", "| a | 20.0 | 50.0 | 70.0 | 25.0 |"]


def test_the_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert main(["--point", "a", *files(tmp_path / "a", 20, 0.5), "--out", str(tmp_path / "p.png")]) == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_a_missing_figure_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = files(tmp_path / "a", 20, 0.5)
    Path(paths[0]).write_text("{}")
    assert main(["--point", "a", *paths]) == 1
    assert "'photos' is missing" in capsys.readouterr().err
