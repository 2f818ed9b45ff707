"""Rates, schedules, and the linear scaling rule."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.config import Config, load_config
from training.model.parsing_rcnn import build_model
from training.optimisation import build_optimizer, linear_scaling, prepare, scaled, schedule

LIGHT = Path(__file__).parents[2] / "training" / "configs" / "light.yaml"


def recipe(*overrides: str) -> Config:
    return load_config(LIGHT, ("data.rendered=null", "data.sources={photos: 1}", "train.densepose=false", *overrides))


def test_the_cosine_warms_up_and_ends() -> None:
    config = recipe("train.iterations=100", "train.warmup=2").train
    assert schedule(0, config, 0.0) == pytest.approx(0.5)
    assert schedule(50, config, 0.0) == pytest.approx(0.505)
    assert schedule(100, config, 0.0) == pytest.approx(0.005)
    assert schedule(50, config, 1e6) == pytest.approx(0.005)  # the time budget is spent


def test_the_papers_steps() -> None:
    config = recipe("train.iterations=90", "train.warmup=10", "train.warmup_start=0.01", "train.steps=[60,80]").train
    assert schedule(0, config, 0.0) == pytest.approx(0.01 + 0.99 * 0.1)
    assert schedule(9, config, 0.0) == pytest.approx(1.0)
    assert [schedule(step, config, 1e6) for step in (59, 60, 79, 80)] == pytest.approx([1.0, 0.1, 0.1, 0.01])


@pytest.mark.parametrize(
    ("processes", "overrides", "pictures", "factor"),
    [
        (8, (), 2, 1.0),  # the paper's 8 GPUs with 2 pictures each
        (1, (), 16, 1.0),  # one process sees them all, unless it is told how many fit
        (1, ("train.images_per_process=2",), 2, 1 / 8),
        (1, ("train.images_per_process=2", "train.accumulate=8"), 2, 1.0),
        (16, ("train.images_per_process=2",), 2, 2.0),
    ],
)
def test_another_batch_scales_rates_and_lengths(
    processes: int, overrides: tuple[str, ...], pictures: int, factor: float
) -> None:
    config = recipe(
        "train.batch_size=16",
        "train.learning_rate=0.02",
        "train.backbone_learning_rate=0.02",
        "train.iterations=45000",
        "train.steps=[30000,40000]",
        "train.warmup=500",
        *overrides,
    ).train
    run = scaled(config, processes)
    assert run.images_per_process == pictures
    said = linear_scaling(config, run, processes)
    if factor == 1:
        assert said is None
    else:
        wanted = f"{16 * factor:g} pictures a step instead of 16: learning rate {0.02 * factor:g} instead of 0.02, "
        assert said == wanted + f"{45000 / factor:.0f} steps instead of 45000 (linear scaling)"
    assert run.learning_rate == pytest.approx(0.02 * factor)
    assert run.backbone_learning_rate == pytest.approx(0.02 * factor)
    assert run.iterations == 45000 / factor
    assert run.steps == (30000 / factor, 40000 / factor)
    assert run.warmup == 500 / factor


def test_sgd_doubles_the_rate_of_biases_and_spares_them_the_decay() -> None:
    config = recipe(
        "train.optimizer=sgd", "train.bias_rate=2", "train.learning_rate=0.02", "train.backbone_learning_rate=0.01"
    )
    optimizer = build_optimizer(build_model(config.model), config.train)
    assert isinstance(optimizer, torch.optim.SGD)
    groups = {(round(g["base"], 6), g["weight_decay"], g["params"][0].ndim > 1) for g in optimizer.param_groups}
    assert groups == {(0.02, 1e-4, True), (0.04, 0.0, False), (0.01, 1e-4, True), (0.02, 0.0, False)}
    assert all(group["momentum"] == 0.9 for group in optimizer.param_groups)


def test_what_is_frozen_stays_out_of_the_optimiser() -> None:
    config = recipe("train.frozen_stages=2", "train.backbone_norm=frozen")
    model = build_model(config.model)
    prepare(model, config.train)
    assert not any(p.requires_grad for p in model.backbone.stem.parameters())
    assert not any(p.requires_grad for p in model.backbone.stages[0].parameters())
    trained = {name for name, p in model.backbone.stages[1].named_parameters() if p.requires_grad}
    assert trained
    assert not any(".norm." in name for name in trained)
    before = model.backbone.stages[3][0].layers[0].norm.running_mean.clone()
    model.pyramid(torch.rand(1, 3, 64, 64) * 255)
    assert torch.equal(model.backbone.stages[3][0].layers[0].norm.running_mean, before)


@pytest.mark.parametrize("only", ["detector", "parsing", "densepose"])
def test_only_a_part_learns(only: str) -> None:
    prefixes = ("rpn.", "box.") if only == "detector" else (f"{only}_",)
    config = recipe(f"train.only={only}", "train.densepose=true")
    model = build_model(config.model)
    prepare(model, config.train)
    assert all(p.requires_grad == name.startswith(prefixes) for name, p in model.named_parameters())
    assert model.parsing_trunk.training == (only == "parsing")
    assert model.densepose_trunk.training == (only == "densepose")
