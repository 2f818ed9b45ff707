"""The benchmark of the gateway: against a real one, and what it says of given answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gateway import Answer, load_figures, main, table


def test_every_request_is_accounted_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--rounds", "2", "--seconds", "2", "--people", "3", "--out", str(tmp_path / "gateway.json")])
    document = json.loads((tmp_path / "gateway.json").read_text())
    assert document["people"] == 3
    for row in document["overhead"]:
        assert 0 < row["engine_ms_median"] < row["ms_median"]
        assert {"decode", "encode", "queue"} <= row["stages_ms_median"].keys()
    load = document["overload"]
    sent = int(load["offered_per_second"] * 4)
    assert load["onset"]["count"] + load["accepted"]["count"] + load["refused"]["count"] + load["neither"] == sent
    assert load["neither"] == 0
    assert document["memory_mb"]["peak"] >= document["memory_mb"]["now"] > 50
    assert "| JSON, label PNGs |" in capsys.readouterr().out


def answers(status: int, ms: float, *due: float) -> list[Answer]:
    return [Answer(status, ms, {}, 0, when) for when in due]


def page_of(load: dict[str, Any]) -> str:
    return table({"overhead": [], "overload": load, "memory_mb": {"now": 1, "peak": 2}})


def test_what_is_accepted_in_the_first_moments_is_told_apart() -> None:
    offered = [
        *answers(200, 300, 100.0, 101.4),
        *answers(200, 100, 101.5, 103.9),
        *answers(503, 2, 101.0, 103.0),
        *answers(0, 9, 102),
    ]
    load = load_figures(answers(200, 50, 1, 2), answers(200, 90, 3, 4, 5), offered, 2)
    assert load["onset"] == {"seconds": 1.5, "count": 2, "ms_most": 300}
    assert load["accepted"] == {"count": 2, "ms_median": 100, "ms_p99": 100}
    assert load["refused"] == {"count": 2, "ms_median": 2, "ms_p99": 2}
    assert (load["most_per_second"], load["offered_per_second"], load["p99_ratio"], load["neither"]) == (1.5, 3, 2, 1)
    assert "0.8 answered, 100 ms, p99 100 ms (2.0 times that of one alone)" in page_of(load)


def test_a_gateway_that_accepts_nothing_is_told_of() -> None:
    load = load_figures(answers(200, 50, 1), answers(200, 90, 2, 3), answers(503, 2, 100.0, 102.0, 103.9), 2)
    assert (load["accepted"], load["p99_ratio"], load["neither"]) == ({"count": 0}, None, 0)
    page = page_of(load)
    assert "One client alone: 50 ms, p99 50 ms. Two at once: 1.0 pictures a second." in page
    assert "a second offered: none answered; in the first 1.5 s, when the places for bursts fill, up to 0 ms." in page
    assert "3 refused (503) after 2.0 ms" in page


def test_a_load_without_answers_is_told_of() -> None:
    load = load_figures([], [], [], 2)
    assert (load["alone"], load["p99_ratio"], load["onset"]["count"]) == ({"count": 0}, None, 0)
    assert "One client alone: none answered. Two at once: 0.0 pictures a second." in page_of(load)
    late = load_figures([], [], answers(200, 70, 100.0, 102.0), 2)
    assert late["p99_ratio"] is None
    assert "0.4 answered, 70 ms, p99 70 ms; in the first" in page_of(late)


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("no")
    with pytest.raises(SystemExit):
        main(["--photo", str(tmp_path / "x.jpg")])


@pytest.mark.parametrize("wrong", [("--seconds", "1"), ("--people", "0"), ("--people", "65")])
def test_what_cannot_be_measured_is_refused(wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(wrong)
    assert f"{wrong[0]} {wrong[1]}: " in capsys.readouterr().err
