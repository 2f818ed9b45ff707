"""Weights of a run that has diverged: nothing crashes, and whoever computes with them is told so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from parsing_rcnn.analyzer import Options
from parsing_rcnn.cli import build
from tests.training.helpers import measuring, published
from tests.training.tiny import tiny_network, tiny_recipe
from training.config import TrainConfig
from training.engine import TorchAnalyzer
from training.errors import DivergedError
from training.evaluation.keypoint_analyzer import KeypointAnalyzer
from training.evaluation.tta import AugmentedAnalyzer
from training.model.box_branch import roi_align_level
from training.run_log import RunLog
from training.train import Trainer, TrainingDiverged

CANVASES = ((64, 64),)
PICTURE = np.full((60, 60, 3), 90, np.uint8)
SAID = "these weights give numbers that are not finite: the run has diverged; take an earlier checkpoint"


@pytest.mark.parametrize(
    "layer", ["box.delta", "box.score", "rpn.deltas", "parsing_head.up.deconv", "densepose_head.up.deconv", "fpn"]
)
@pytest.mark.parametrize("kind", ["plain", "augmented"])
def test_what_they_find_is_refused(kind: str, layer: str) -> None:
    recipe = tiny_recipe({"densepose": True})
    network = tiny_network(recipe)
    with torch.no_grad():
        next(iter(network.get_submodule(layer).parameters())).fill_(float("nan"))
    options = Options(confidence=0.0, max_people=3)
    analyzer = (
        TorchAnalyzer(network, recipe, "", CANVASES)
        if kind == "plain"
        else AugmentedAnalyzer(network, recipe, "", CANVASES, flip=True)
    )
    with pytest.raises(DivergedError, match=SAID):
        analyzer.analyze(PICTURE, options)


def test_keypoints_are_refused_too() -> None:
    recipe = tiny_recipe({"parsing": False, "densepose": False}, keypoints=True)
    network = tiny_network(recipe)
    assert network.keypoint_head is not None
    with torch.no_grad():
        next(iter(network.keypoint_head.parameters())).fill_(float("nan"))
    with pytest.raises(DivergedError, match=SAID):
        KeypointAnalyzer(network, recipe, "", CANVASES).locate(PICTURE, Options(frozenset(), confidence=0.0))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_roi_that_is_none_reads_no_memory_that_is_not_the_maps(value: float) -> None:
    """torchvision's kernel ends the process there."""
    feature = torch.rand(1, 2, 8, 8)
    boxes = torch.tensor([[1.0, 1.0, 6.0, 6.0], [value, 1.0, value, 6.0]])
    found = roi_align_level(feature, [boxes], 4, 0)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[:1], roi_align_level(feature, [boxes[:1]], 4, 0))
    flat = torch.cat([torch.zeros(2, 1), boxes], 1)
    torch.testing.assert_close(roi_align_level(feature, flat, 4, 0), found)


def test_measuring_on_the_way_notes_it_and_goes_on(tmp_path: Path) -> None:
    def measure() -> dict[str, dict[str, float]]:
        raise DivergedError(SAID)

    with RunLog(tmp_path, TrainConfig(), 0) as log:
        assert log.validated(1, measure)
    assert json.loads((tmp_path / "log.jsonl").read_text())["validation_failed"] == SAID


def test_a_step_whose_weights_are_not_finite_is_not_saved(tmp_path: Path) -> None:
    data, out = published(tmp_path / "cihp"), tmp_path / "run"
    trainer = Trainer(measuring(data, "train.iterations=2", "train.keep_every=1"), tmp_path, out)
    trainer.save()
    before = {name: (out / name).read_bytes() for name in ("weights.safetensors", "state.pt")}
    update = trainer.update

    def diverging(batches: list) -> dict:  # type: ignore[type-arg]
        losses = update(batches)
        with torch.no_grad():
            trainer.model.box.fc1.bias[0] = float("nan")
        trainer.average.update(trainer.model, trainer.step)
        return losses

    trainer.update = diverging  # type: ignore[method-assign]
    with pytest.raises(TrainingDiverged, match=r"step 1: box\.fc1\.bias is not finite: .*lower train\.learning_rate"):
        trainer.run()
    assert {name: (out / name).read_bytes() for name in before} == before
    assert not (out / "weights_1.safetensors").exists()


def test_the_commands_say_it_of_a_run_that_diverges_in_its_last_step(tmp_path: Path) -> None:
    data, run = published(tmp_path / "cihp"), tmp_path / "run"
    recipe = measuring(
        data, "train.iterations=1", "train.learning_rate=1e25", "train.warmup=0", "model.pretrained=false"
    )
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())  # JSON is YAML
    weights = str(run / "weights.safetensors")
    train = ["train", str(tmp_path / "recipe.json"), "--data", str(tmp_path), "--out", str(run)]
    evaluate = ["evaluate", "--checkpoint", weights, "--dataset", str(data), "--out", str(tmp_path / "out")]
    for words in (train, evaluate):
        done = CliRunner().invoke(build(), words)
        assert done.exit_code == 1, done.output
        assert f"error: {SAID}" in done.output
