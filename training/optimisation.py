"""What learns, at which rates: optimiser, schedules, and how they scale with the batch size of a run."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from training.config import TrainConfig
from training.errors import ConfigError
from training.model.parsing_rcnn import ParsingRCNN

_STEP_FACTOR = 0.1  # of the rate at each of `train.steps`


def prepare(model: ParsingRCNN, config: TrainConfig) -> None:
    """Freeze what the recipe does not train, and set the mode of every layer."""
    model.train()
    if config.only is not None:
        if config.only != "detector" and model.config.share_trunk:
            raise ConfigError(
                f"train.only={config.only} would train one head on a trunk that both have (model.share_trunk): leave "
                "one of the two out"
            )
        prefixes = ("rpn.", "box.") if config.only == "detector" else (f"{config.only}_",)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(prefixes))
        model.eval()
        for name, child in model.named_children():
            if f"{name}.".startswith(prefixes):
                child.train()
        return
    backbone = model.backbone
    if config.backbone_norm in ("statistics", "frozen"):
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
                if config.backbone_norm == "frozen":
                    module.requires_grad_(False)
    if config.frozen_stages:
        for part in (backbone.stem, *list(backbone.stages)[: config.frozen_stages - 1]):
            part.eval().requires_grad_(False)


def parameter_groups(model: ParsingRCNN, config: TrainConfig) -> list[dict[str, Any]]:
    """Backbone and heads, each with its rate. Biases and norms have no weight decay, and their rate may differ."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        groups.setdefault((name.startswith("backbone."), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "base": (config.backbone_learning_rate if backbone else config.learning_rate)
            * (1.0 if matrix else config.bias_rate),
            "weight_decay": config.weight_decay if matrix else 0.0,
        }
        for (backbone, matrix), parameters in groups.items()
    ]


def build_optimizer(model: ParsingRCNN, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW, or SGD with momentum 0.9 (the paper's); `schedule` scales the rates."""
    groups = parameter_groups(model, config)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=1.0, momentum=0.9)
    return torch.optim.AdamW(groups, lr=1.0)


def schedule(step: int, config: TrainConfig, elapsed_minutes: float) -> float:
    """Factor of the learning rate: a linear warm-up, then steps or a cosine.

    The cosine runs over the iterations or the time, whichever is further. The mixture switches to its final canvases by
    iteration, so a time budget should be generous.
    """
    if step < config.warmup:
        start = config.warmup_start
        return start + (1 - start) * (step + 1) / config.warmup
    if config.steps:
        return float(_STEP_FACTOR ** sum(step >= at for at in config.steps))
    progress = step / config.iterations
    if config.time_budget_minutes is not None:
        progress = max(progress, elapsed_minutes / config.time_budget_minutes)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))) + 0.005


def scaled(config: TrainConfig, processes: int) -> TrainConfig:
    """The recipe for this many processes: rates grow with the batch size, and lengths shrink with it (linear scaling).

    A step sees `images_per_process` x `accumulate` x processes pictures. The recipe's rates are meant for `batch_size`
    pictures: rates are multiplied by the quotient of the two, and iterations, steps and warm-up divided by it.
    """
    each = config.images_per_process or max(1, config.batch_size // (processes * config.accumulate))
    factor = each * config.accumulate * processes / config.batch_size
    if factor == 1.0:
        return config.model_copy(update={"images_per_process": each})
    return config.model_copy(
        update={
            "images_per_process": each,
            "learning_rate": config.learning_rate * factor,
            "backbone_learning_rate": config.backbone_learning_rate * factor,
            "iterations": math.ceil(config.iterations / factor),
            "warmup": math.ceil(config.warmup / factor),
            "steps": tuple(math.ceil(step / factor) for step in config.steps),
        }
    )


def linear_scaling(recipe: TrainConfig, run: TrainConfig, processes: int) -> str | None:
    """A sentence on what `scaled` changed; None if it changed nothing."""
    pictures = (run.images_per_process or 1) * run.accumulate * processes
    if pictures == recipe.batch_size:
        return None
    return (
        f"{pictures} pictures a step instead of {recipe.batch_size}: learning rate {run.learning_rate:g} instead of "
        f"{recipe.learning_rate:g}, {run.iterations} steps instead of {recipe.iterations} (linear scaling)"
    )
