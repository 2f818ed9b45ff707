"""Triton's repository: what is committed is what is written, and any checkpoint gets its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from export.repository import files, read_shapes, tensors
from parsing_rcnn.cli import build
from parsing_rcnn.repository import ModelRepository
from training.checkpoint import save_weights
from training.config import Config
from training.model.parsing_rcnn import build_model


def test_the_shipped_configurations_are_those_of_the_shipped_graphs() -> None:
    repository = ModelRepository.open().path
    for path, text in files(read_shapes(repository)).items():
        assert (repository / path).read_text() == text, f"{path}: run `parsing-rcnn export --target triton` again"


def test_another_checkpoint_gets_its_own_shapes(tmp_path: Path) -> None:
    model = {
        "backbone": "efficientnet_lite0", "fpn": {"channels": 16}, "box": {"channels": 8}, "parsing_classes": 59,
        "branch": {"roi_size": 32, "aspp_channels": 8, "channels": 8, "non_local_channels": 8, "convs": 0},
    }  # fmt: skip
    config = Config.model_validate({"name": "tiny", "model": model})
    save_weights(tmp_path / "weights.safetensors", build_model(config.model), config, {})
    out = tmp_path / "models"
    arguments = ["export", str(tmp_path / "weights.safetensors"), "--out", str(out), "--target", "triton"]
    result = CliRunner().invoke(build(), arguments)
    assert result.exit_code == 0, result.output
    shapes = read_shapes(out)
    assert (shapes.channels, shapes.roi, shapes.cells, shapes.classes) == (16, 32, 128, 59)
    text = (out / "parsing" / "configs" / "cpu.pbtxt").read_text()
    assert "dims: [16, 32, 32]" in text
    assert "dims: [59, 128, 128]" in text
    assert (out / "preprocess" / "1" / "model.py").is_file()


def test_an_unknown_target_is_refused() -> None:
    result = CliRunner().invoke(build(), ["export", "weights.safetensors", "--target", "tflite"])
    assert result.exit_code == 2
    assert "choose onnx, openvino or triton" in result.output


@pytest.mark.parametrize("ensemble", ["human_analysis", "human_parsing", "densepose"])
def test_an_ensemble_takes_a_picture_and_gives_what_its_heads_give(ensemble: str) -> None:
    shapes = read_shapes(ModelRepository.open().path)
    inputs, outputs = tensors(shapes)[ensemble]
    assert [t.name for t in inputs] == ["IMAGE"]
    assert {t.name for t in outputs} >= {"BOXES", "SCORES", "IMAGE_SIZE"}
    assert ("IUV" in {t.name for t in outputs}) == (ensemble != "human_parsing")
    assert ("PARTS" in {t.name for t in outputs}) == (ensemble != "densepose")
