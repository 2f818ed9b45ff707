"""The ladder's table, plot and memory, on a tiny run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the ladder trains: it needs torch")

from benchmarks.ladder import CONFIGS, PAPER, Run, main, plot, table


def test_the_rungs_are_the_recipes() -> None:
    assert sorted(path.stem for path in CONFIGS.glob("*.yaml")) == sorted(PAPER)


def test_means_and_spreads(tmp_path: Path) -> None:
    runs = [Run("1_baseline", seed, {"photo_miou": value}, 1.0) for seed, value in ((1, 0.2), (2, 0.3), (3, 0.4))]
    runs.append(Run("2_pss", 1, {"photo_miou": 0.5, "crowd_ap_p_vol": 0.25}, 1.0))
    lines = table(runs).splitlines()
    assert lines[2] == "| baseline | 30.0 ± 10.0 | - | - | - | - | - | 47.2 |"
    assert lines[3] == "| pss | 50.0 | - | - | 25.0 | - | - | 48.2 |"
    plot(runs, tmp_path / "ladder.png")
    assert (tmp_path / "ladder.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = tmp_path / "5_ipbc_7"
    done.mkdir()
    (done / "figures.json").write_text(json.dumps({"figures": {"photo_miou": 0.5}, "minutes": 2.0}))
    arguments = ["ladder", "--data", "nowhere", "--out", str(tmp_path), "--rungs", "5_ipbc", "--seeds", "7"]
    monkeypatch.setattr("sys.argv", arguments)
    main()
    assert json.loads((tmp_path / "ladder.json").read_text())[0]["photo_miou"] == 0.5
    assert "| ipbc | 50.0 |" in (tmp_path / "ladder.md").read_text()


def test_data_that_is_not_there_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = str(tmp_path / "nowhere"), str(tmp_path / "out")
    monkeypatch.setattr("sys.argv", ["ladder", "--data", data, "--out", out, "--rungs", "5_ipbc", "--seeds", "7"])
    with pytest.raises(SystemExit, match=r"^ladder: .*: [^\n]*$"):
        main()
