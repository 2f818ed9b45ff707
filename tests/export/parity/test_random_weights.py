"""The paper's sizes with random weights: settled so that they compute like trained ones, exported, in parity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from export.parity.random_weights import main, small_situations, verify_random
from export.rendered.pictures import render_scene
from training.config import Config, load_config
from training.model.branch import NonLocal
from training.random_weights import random_model

PAPER = Path("training/configs/paper")


def narrow(config: Config) -> Config:
    """The recipe's own layers, with few channels behind its backbone."""
    model = config.model
    changed = {
        "fpn": model.fpn.model_copy(update={"channels": 32}),
        "box": model.box.model_copy(update={"channels": 64}),
        "rpn": model.rpn.model_copy(update={"proposals_test": 100}),
        "branch": model.branch.model_copy(
            update={"aspp_channels": 16, "channels": 32, "non_local_channels": 16, "conv_channels": 32}
        ),
    }
    return config.model_copy(update={"model": model.model_copy(update=changed)})


def test_random_weights_are_settled() -> None:
    config = narrow(load_config(PAPER / "cihp_r50_1x.yaml"))
    model = random_model(config, (128, 160))
    assert not model.training
    with torch.inference_mode():
        image = torch.from_numpy(render_scene(5, 128, 160)).permute(2, 0, 1)[None]
        pyramid = model.pyramid(image)
        for level in pyramid.values():  # plain random weights reach thousands here
            assert 0.05 < float(level.std()) < 50
        people = model.detect(pyramid, (128, 160))
        assert float(people.scores.max()) > 0.6
        assert float(people.scores.std()) > 0.05
        logits = model.parsing(model.roi_features(pyramid, [people.boxes[:2]]))
    assert 0.01 < float(logits.std()) < 100
    assert len(logits.argmax(1).unique()) > 3
    block = next(m for m in model.modules() if isinstance(m, NonLocal))
    start = block.out if isinstance(block.norm, nn.Identity) else block.norm
    assert float(start.weight.detach().abs().max()) > 0  # training starts it as the identity


def test_the_same_seed_gives_the_same_weights() -> None:
    config = narrow(load_config(Path("training/configs/light.yaml")))
    first, again, other = (random_model(config, (64, 96), seed).state_dict() for seed in (0, 0, 1))
    for name, value in first.items():
        assert torch.equal(value, again[name]), name
    assert not torch.equal(first["parsing_head.up.deconv.weight"], other["parsing_head.up.deconv.weight"])


@pytest.mark.slow
def test_parity_at_a_tiny_width() -> None:
    report = verify_random(narrow(load_config(PAPER / "cihp_r50_1x.yaml")), (64, 96))
    assert report["passed"], report["pairs"]
    assert [s["people_found"] for s in report["situations"][:3]] == [0, 1, 5]


@pytest.mark.parametrize("passed", [True, False])
def test_the_program_fails_where_the_contract_is_broken(
    passed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report is made up: a real one takes minutes (`test_parity_of_the_paper_sizes`)."""
    verified = []

    def made_up(config: Config, canvas: tuple[int, int], seed: int) -> dict[str, Any]:
        verified.append((config.model.backbone, canvas, seed))
        nothing = {"situations": [], "pairs": [], "tolerances": {}, "absent": {}, "miou": None}
        model = {"name": "cihp", "version": "random", "precision": "fp32"}
        return {"model": model, "reference": "torch", "passed": passed, **nothing}

    monkeypatch.setattr("export.parity.random_weights.verify_random", made_up)
    recipe = PAPER / "cihp_r50_1x.yaml"
    assert main([str(recipe), "--canvas", "64", "96", "--seed", "3"]) == (0 if passed else 1)
    assert verified == [(load_config(recipe).model.backbone, (64, 96), 3)]
    printed = capsys.readouterr().out
    assert ("**Held.**" if passed else "**Broken.**") in printed
    assert "peak memory: " in printed


def test_situations_fit_the_canvas() -> None:
    for situation in small_situations((64, 96)):
        for canvas in situation.canvases:
            assert sorted(canvas.shape[:2]) in ([64, 96], [64, 64])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("recipe", ["cihp_r50_1x", "cihp_x101_3x"])
def test_parity_of_the_paper_sizes(recipe: str) -> None:
    report = verify_random(load_config(PAPER / f"{recipe}.yaml"))
    assert report["passed"], report["pairs"]
    for pair in report["pairs"]:
        assert pair["difference"]["parts"] >= 0.999
