"""Every distinct network learns eight synthetic pictures: minutes long, so outside the quick run (`make test-slow`)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from training.config import load_config
from training.data.batch import Batch
from training.train import Trainer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
SMALL = "aspp_channels: 64, channels: 96, non_local_channels: 48, convs: 2, conv_channels: 128, norm: batch"
LIGHT = {
    "gce": "",
    "aspp": "context: aspp",
    "non_local": "context: non_local",
    "no_context": "context: none",
    "before": "convs_before: 2, convs: 0",
    "both": "convs_before: 2",
    "no_convs": "convs: 0",
    "roi_14": "roi_size: 14",
    "roi_64": "roi_size: 64",
    "by_scale": "levels: [2, 3, 4, 5]",
    "half": "half: true",
    "unpooled_keys": "pool_keys: false",
    "group_norm": "norm: group, non_local_norm: group",
}
PAPER = {
    "gce-paper": "paper/cihp_r50_1x",
    "gce-code": "paper/cihp_r50_code_1x",
    "gce-fast": "paper/cihp_r50_fast_1x",
    "mask-head": "paper/cihp_r50_baseline",
    "pss": "paper/cihp_r50_pss",
    "err": "paper/cihp_r50_err",
}
COMMON = (
    "data.sources={rendered: 1}",
    "data.short_sides=[]",
    "data.canvases=[[128,128]]",
    "data.final_fraction=0",
    "data.colours=false",
    "train.batch_size=8",
    "train.images_per_process=8",
    "train.workers=0",
    "train.densepose=true",
    "train.optimizer=adamw",
    "train.steps=[]",
    "train.warmup=10",
    "train.warmup_start=0",
    "train.iterations=150",
    "train.frozen_stages=0",
    "train.backbone_norm=train",
    # where a processor has no bf16, emulating it takes many times as long
    f"train.autocast={'bf16' if torch.cuda.is_available() or torch.cpu._is_avx512_bf16_supported() else 'none'}",
    "train.device=auto",
    "model.pretrained=false",
    "model.branch.rois_per_image=1",
    "train.half_size_losses=true",
    "model.box.rois_per_image=64",
    "model.rpn.proposals_train=200",
)
FAST = ("train.learning_rate=0.003", "train.backbone_learning_rate=0.003")


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight rendered pictures of one or two people."""
    torch.set_num_threads(2)
    root = tmp_path_factory.mktemp("eight")
    rng = np.random.default_rng(0)
    (root / "backgrounds").mkdir()
    for index in range(4):
        coarse = rng.integers(0, 255, (6, 8, 3)).astype(np.uint8)
        cv2.imwrite(str(root / "backgrounds" / f"{index}.jpg"), cv2.resize(coarse, (320, 240)))
    options = ["--backgrounds", str(root / "backgrounds"), "--cache", str(root / "cache"), "--size", "160x160"]
    result = CliRunner().invoke(
        build(), ["render", *options, "-o", str(root / "people"), "--count", "8", "--workers", "1", "--people", "1"]
    )
    assert result.exit_code == 0, result.output
    return root / "people"


def left(config: str, folder: Path, out: Path, steps: int, enough: float, *overrides: str) -> float:
    """The share of the first loss that is left, the mean over ten steps, as soon as it is `enough` or after `steps`."""
    recipe = load_config(CONFIGS / f"{config}.yaml", (*COMMON, f"data.rendered={folder}", *overrides))
    trainer = Trainer(recipe, folder, out)
    batch = Batch.of(trainer.mixture[0])
    losses: list[float] = []
    share = 1.0
    for _ in range(steps):
        losses.append(float(torch.stack(list(trainer.update([batch]).values())).sum()))
        if len(losses) > 10:
            share = float(np.mean(losses[-10:])) / losses[0]
        if share < enough:
            break
    return share


@pytest.mark.parametrize("switch", LIGHT)
def test_the_light_backbone_with_every_switch(switch: str, eight: Path, tmp_path: Path) -> None:
    branch = ", ".join(part for part in (SMALL, LIGHT[switch]) if part)
    keys = dict(part.split(": ", 1) for part in branch.replace("[2, 3, 4, 5]", "[2;3;4;5]").split(", "))
    overrides = [f"model.branch.{key}={value.replace(';', ',')}" for key, value in keys.items()]
    assert left("light", eight, tmp_path, 150, 0.1, *FAST, *overrides) < 0.1


@pytest.mark.parametrize("backbone", ["efficientnet_lite1", "efficientnet_lite2"])
def test_the_other_light_backbones(backbone: str, eight: Path, tmp_path: Path) -> None:
    assert left("light", eight, tmp_path, 150, 0.1, *FAST, f"model.backbone={backbone}") < 0.1


@pytest.mark.parametrize("profile", PAPER)
def test_resnet_50_with_every_profile(profile: str, eight: Path, tmp_path: Path) -> None:
    rates = ("train.learning_rate=0.0005", "train.backbone_learning_rate=0.0005", "train.iterations=100")
    # of the eight pictures two: with gce-paper a step of eight takes half a minute of a processor without bf16
    two = ("train.batch_size=2", "train.images_per_process=2")
    assert left(PAPER[profile], eight, tmp_path, 100, 0.3, *rates, *two) < 0.3


def test_resnext_101_takes_two_steps(eight: Path, tmp_path: Path) -> None:
    recipe = load_config(CONFIGS / "paper" / "cihp_x101_3x.yaml", (*COMMON, f"data.rendered={eight}"))
    trainer = Trainer(recipe, eight, tmp_path)
    for _ in range(2):
        losses = trainer.update([Batch.of(trainer.mixture[0])])
        assert all(bool(torch.isfinite(loss)) for loss in losses.values())
        assert all(bool(torch.isfinite(p.grad).all()) for p in trainer.model.parameters() if p.grad is not None)
