"""The parity report: it holds for a good export and breaks for a bad one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from export.pictures import render_scene
from export.verify import compare, to_markdown, verify, write_report
from training.model.parsing_rcnn import ParsingRCNN


def test_the_contract_holds(repository: Path, tmp_path: Path) -> None:
    report = verify(repository)
    rows = {r["runtime"].split()[0] + " " + r["runtime"].split()[-1]: r for r in report["runtimes"]}
    assert {"onnxruntime fp32", "openvino fp32"} <= set(rows)
    assert report["passed"], to_markdown(report)
    assert rows["onnxruntime fp32"]["people"] >= 6
    write_report(report, tmp_path / "parity.md")
    assert "held" in (tmp_path / "parity.md").read_text()


def test_other_weights_break_it(repository: Path, model: ParsingRCNN, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = {k: v.clone() for k, v in model.state_dict().items()}
    state["parsing_head.up.deconv.bias"][3] += 5.0
    save_file(state, tmp_path / "other.safetensors")
    report = verify(repository, checkpoint=tmp_path / "other.safetensors")
    assert not report["passed"]


def test_differences_by_hand() -> None:
    def answer(shift: float, label: int) -> dict[str, np.ndarray]:
        return {
            "BOXES": np.array([[10.0 + shift, 10, 110, 210], [200, 10, 300, 200]], np.float32),
            "SCORES": np.array([0.9, 0.8], np.float32),
            "PARTS": np.full((2, 4, 4), label, np.uint8),
            "PART_SCORES": np.zeros((2, 20), np.float32),
            "IUV": np.zeros((2, 3, 4, 4), np.uint8),
        }

    same = compare("x fp32", [answer(0, 1)], [answer(0.05, 1)])
    assert same.held
    assert same.box == pytest.approx(0.05, abs=1e-5)
    assert not compare("x fp32", [answer(0, 1)], [answer(0.2, 1)]).held
    assert not compare("x fp32", [answer(0, 1)], [answer(0, 2)]).held
    lost = {k: v[:1] for k, v in answer(0, 1).items()}
    assert compare("x fp32", [answer(0, 1)], [lost]).unmatched == 1


def test_scenes_repeat() -> None:
    np.testing.assert_array_equal(render_scene(4, 100, 120), render_scene(4, 100, 120))
    assert (render_scene(4, 100, 120) != render_scene(5, 100, 120)).any()


def test_export_and_verify_from_the_command_line(model: ParsingRCNN, tmp_path: Path) -> None:
    import typer

    from export.commands import register
    from parsing_rcnn.repository import ModelRepository
    from training.checkpoint import load_model, save_weights

    app = typer.Typer()
    register(app)
    runner = CliRunner()
    torch.set_num_threads(2)
    _, config = load_model(ModelRepository.open().path)
    save_weights(tmp_path / "weights.safetensors", model, config, {})
    out = tmp_path / "repository"
    done = runner.invoke(app, ["export", str(tmp_path / "weights.safetensors"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    report = tmp_path / "parity.md"
    verified = runner.invoke(app, ["verify", "--repository", str(out), "--out", str(report)])
    assert verified.exit_code == 0, verified.output
    assert report.with_suffix(".json").is_file()
    missing = runner.invoke(app, ["export", str(tmp_path / "none.safetensors")])
    assert missing.exit_code == 1
    assert "none" in missing.output
