"""The training loop: plain, seeded, resumable."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from torch.utils.tensorboard import SummaryWriter

from training.checkpoint import load_state, load_weights, save_state, save_weights
from training.config import Config, TrainConfig
from training.data.mixture import Mixture
from training.ema import WeightAverage
from training.model.backbones import SameConv
from training.model.parsing_rcnn import ParsingRCNN, build_model
from training.objective import Objective


class TrainingDiverged(RuntimeError):
    """A loss is not finite; the message names the batch and the loss."""


class _From(Sampler[int]):
    def __init__(self, start: int, stop: int) -> None:
        self.range = range(start, stop)

    def __iter__(self) -> Any:
        return iter(self.range)

    def __len__(self) -> int:
        return len(self.range)


def parameter_groups(model: ParsingRCNN, config: TrainConfig) -> list[dict[str, Any]]:
    """Backbone and heads with their own rates; no weight decay on biases and norms."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        groups.setdefault((name.startswith("backbone."), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "base": config.backbone_learning_rate if backbone else config.learning_rate,
            "weight_decay": config.weight_decay if matrix else 0.0,
        }
        for (backbone, matrix), parameters in groups.items()
    ]


def schedule(step: int, config: TrainConfig, elapsed_minutes: float) -> float:
    """Factor of the learning rate: linear warm-up, then a cosine over the iterations or the time, whichever is further.

    The mixture switches to its final canvases by iteration, so a time budget should be generous.
    """
    if step < config.warmup:
        return (step + 1) / config.warmup
    progress = step / config.iterations
    if config.time_budget_minutes is not None:
        progress = max(progress, elapsed_minutes / config.time_budget_minutes)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))) + 0.005


def freeze_backbone_statistics(model: ParsingRCNN) -> None:
    """Keep ImageNet's batch-norm statistics: batches here are small and mixed."""
    for module in model.backbone.modules():
        if isinstance(module, SameConv):
            module.norm.eval()
        elif isinstance(module, nn.BatchNorm2d):
            module.eval()


class Trainer:
    """Everything that a run needs to go on after a stop."""

    def __init__(self, config: Config, data: Path, out: Path, warm_start: Path | None = None) -> None:
        self.config, self.out = config, out
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.train.seed)
        self.model = build_model(config.model, imagenet=warm_start is None)
        if warm_start is not None:
            load_weights(warm_start, self.model)
        if config.train.densepose_only:
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad_(name.startswith("densepose_"))
        self.model.to(memory_format=torch.channels_last)
        self.average = WeightAverage(self.model, config.train.ema_decay)
        self.optimizer = torch.optim.AdamW(parameter_groups(self.model, config.train), lr=1.0)
        self.objective = Objective(
            self.model, config.train.seed, densepose=config.train.densepose, half=config.train.half_size_losses
        )
        self.mixture = Mixture(data, config)
        self.step, self.elapsed = 0, 0.0

    def resume(self) -> bool:
        """Go on from the last checkpoint in the run's folder. Returns whether there was one."""
        path = self.out / "state.pt"
        if not path.is_file():
            return False
        state = load_state(path)
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.objective.generator.set_state(state["generator"])
        self.step, self.elapsed = state["step"], state["elapsed"]
        return True

    def save(self) -> None:
        """Checkpoint: the average as weights.safetensors (what is exported), the rest as state.pt."""
        facts = {"step": self.step, "minutes": round(self.elapsed / 60, 1)}
        save_weights(self.out / "weights.safetensors", self.average.model, self.config, facts)
        save_state(
            self.out / "state.pt",
            {
                "model": self.model.state_dict(),
                "average": self.average.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "generator": self.objective.generator.get_state(),
                "step": self.step,
                "elapsed": self.elapsed,
            },
        )

    def run(self) -> None:
        """Train to the end of the schedule.

        Raises:
            TrainingDiverged: a loss is not finite.
        """
        config = self.config.train
        loader = DataLoader(
            self.mixture,
            batch_size=None,
            sampler=_From(self.step, config.iterations),
            num_workers=config.workers,
            prefetch_factor=4 if config.workers else None,
        )
        writer = SummaryWriter(str(self.out), purge_step=self.step)
        log = (self.out / "log.jsonl").open("a")
        self.model.train()
        freeze_backbone_statistics(self.model)
        if config.densepose_only:
            self.model.eval()
            self.model.densepose_trunk.train()
        begin = time.monotonic() - self.elapsed
        last = time.monotonic()
        for samples in loader:
            losses = self._update(samples, self.elapsed / 60)
            self.step += 1
            self.elapsed = time.monotonic() - begin
            if self.step % 10 == 0:
                seconds, last = (time.monotonic() - last) / 10, time.monotonic()
                self._report(losses, seconds, writer, log)
            if self.step % config.checkpoint_every == 0:
                self.save()
            if config.time_budget_minutes is not None and self.elapsed > config.time_budget_minutes * 60:
                break
        self.save()
        writer.close()
        log.close()

    def _update(self, samples: list[Any], minutes: float) -> dict[str, Tensor]:
        config = self.config.train
        factor = schedule(self.step, config, minutes)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * factor
        measure = self.objective.densepose_only if config.densepose_only else self.objective
        with torch.autocast("cpu", torch.bfloat16, enabled=config.autocast == "bf16"):
            losses = measure(samples)
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        if not bool(torch.isfinite(total)):
            bad = ", ".join(name for name, loss in losses.items() if not bool(torch.isfinite(loss)))
            raise TrainingDiverged(
                f"batch {self.step} of seed {config.seed}: {bad} is not finite; lower train.learning_rate "
                f"(now {config.learning_rate}) or look at that batch"
            )
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.optimizer.step()
        self.average.update(self.model, self.step)
        return losses

    def _report(self, losses: dict[str, Tensor], seconds: float, writer: SummaryWriter, log: Any) -> None:
        values = {name: round(float(loss.detach()), 4) for name, loss in losses.items()}
        for name, value in values.items():
            writer.add_scalar(f"loss/{name}", value, self.step)
        left = (self.config.train.iterations - self.step) * seconds / 60
        row = {"step": self.step, "s/batch": round(seconds, 2), "minutes": round(self.elapsed / 60, 1), **values}
        log.write(json.dumps(row) + "\n")
        log.flush()
        print(f"{json.dumps(row)} eta {left:.0f} min", flush=True)
