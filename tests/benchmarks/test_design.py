"""The cost of each choice: every design is another network, and computes as many people as it says."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from benchmarks.frames import drawn_person, frame_of

pytest.importorskip("torchvision", reason="designs are exported from torch")


def test_every_design_changes_the_network() -> None:
    from benchmarks.design import AS_SHIPPED, DESIGNS, RECIPE
    from training.config import load_config

    models = {name: load_config(RECIPE, overrides).model for name, overrides in DESIGNS.items()}
    shipped = models.pop(AS_SHIPPED)
    assert shipped == load_config(RECIPE).model
    assert all(model != shipped for model in models.values())
    assert len({model.model_dump_json() for model in models.values()}) == len(models)


def test_a_design_computes_as_many_people_as_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.design import DESIGNS, RECIPE, prepare, write_design
    from export.cost import gigaflops
    from training.config import load_config
    from training.model.parsing_rcnn import build_model

    # a quarter of the arithmetic between the heads' own channels, half of it at their borders, the detector as it was
    monkeypatch.chdir(tmp_path)  # from any folder, and relative to it
    cost = write_design(DESIGNS["heads of half the width"], Path("narrow"))
    whole = gigaflops(build_model(load_config(RECIPE).model), [(384, 640)])
    heads = whole["parsing"]["a person"] + whole["densepose_head"]["a person"]
    assert cost["gflop_canvas"] == pytest.approx(whole["detector"]["384x640"], rel=0.01)  # three digits are said
    assert 0.25 * heads < cost["gflop_person"] < 0.5 * heads
    files = sum(path.stat().st_size for path in (tmp_path / "narrow").glob("*/1/model.onnx"))
    assert cost["mb"] == pytest.approx(files / 1e6, abs=0.16)
    frame = tmp_path / "frame.jpg"
    cv2.imwrite(str(frame), frame_of(drawn_person()))
    about, step = prepare(tmp_path / "narrow", frame, 3, 2)
    assert about["runtime"]
    assert {"detector", "parsing", "densepose", "total"} <= step().keys()  # raises where it computed another number


def test_the_table() -> None:
    from benchmarks.design import table

    figures = {
        "ms_median": 50.0,
        "peak_rss_mb": 250.0,
        "times_the_time": {"median": 1.25, "least_round": 1.2, "greatest_round": 1.3},
    }
    design = {"1 people": figures, "mb": 10.75, "gflop_canvas": 4.0, "gflop_person": 1.5}
    lines = table({"designs": {"wide": design}}, [1]).splitlines()
    assert lines[0].startswith("| design | 1 person: ms | times | peak MB |")
    assert lines[1].count("---") == lines[0].count("|") - 1
    assert lines[2] == "| wide | 50.0 | 1.25 (1.20-1.30) | 250 | 10.8 | 4.00 | 1.50 |"
