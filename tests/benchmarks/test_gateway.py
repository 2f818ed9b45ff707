"""The benchmark of the gateway, against a real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.gateway import main, percentile


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(v) for v in range(1, 101)]
    assert percentile(values, 0.99) == 100
    assert percentile(values, 0.5) == 51
    assert percentile([7.0], 0.99) == 7


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


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("no")
    with pytest.raises(SystemExit):
        main(["--photo", str(tmp_path / "x.jpg")])


@pytest.mark.parametrize("wrong", [("--seconds", "1"), ("--people", "0"), ("--people", "65")])
def test_what_cannot_be_measured_is_refused(wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(wrong)
    assert f"{wrong[0]} {wrong[1]}: " in capsys.readouterr().err
