"""The training loop: plain, seeded, resumable, on one process or many."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, Sampler

from training.checkpoint import compare_recipes, load_state, load_weights, save_state, save_weights
from training.config import Config, ConfigError, TrainConfig
from training.data.batch import Batch
from training.data.mixture import Mixture
from training.data.sources import DatasetError
from training.distributed import World
from training.ema import WeightAverage
from training.files import make_folder
from training.interruption import StopRequest, TrainingStopped, obey_parent_alone
from training.model.parsing_rcnn import ParsingRCNN, build_model
from training.objective import Objective
from training.optimisation import build_optimizer, scaled, schedule
from training.resumption import compare
from training.run_log import REPORT_EVERY, RunLog
from training.tensor_files import CheckpointError
from training.validation import Validation


class TrainingDiverged(RuntimeError):
    """A loss is not finite; the message names the batch and the loss."""


class _Batches(Sampler[int]):
    """Numbers of the batches that one process reads: every `stride`-th from `first` on."""

    def __init__(self, first: int, stop: int, stride: int) -> None:
        self.range = range(first, stop, stride)

    def __iter__(self) -> Any:
        return iter(self.range)

    def __len__(self) -> int:
        return len(self.range)


class _Reading(Dataset[Any]):
    """Batches of a mixture, or what is wrong with one: raised in a loader's process, it would come with tracebacks."""

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture

    def __len__(self) -> int:
        return len(self.mixture)

    def __getitem__(self, index: int) -> Batch | DatasetError:
        try:
            return Batch.of(self.mixture[index])
        except DatasetError as error:
            return error


def _read(batch: Batch | DatasetError) -> Batch:
    if isinstance(batch, DatasetError):
        raise batch
    return batch


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


def memory_format(config: Config, device: torch.device) -> torch.memory_format:
    """Channels last, but for a ResNet in fp32 on a CPU: RoIAlign and its gradient want the other order there, and
    turning maps over costs more than convolutions gain."""
    plain = device.type == "cpu" and config.train.autocast == "none"
    return torch.contiguous_format if plain and config.model.backbone.startswith("res") else torch.channels_last


class Trainer:
    """Everything that a run needs to go on after a stop.

    Args:
        config: the recipe; rates and lengths are scaled to the processes (`training.optimisation.scaled`).
        world: this process among those of the run.
        fresh: begin anew, whatever lies in `out`. Otherwise a run that lies there has to be gone on with (`resume`),
            and the weights that it once began from are not read: they may be gone.
    """

    def __init__(
        self,
        config: Config,
        data: Path,
        out: Path,
        warm_start: Path | None = None,
        world: World | None = None,
        *,
        fresh: bool = False,
    ) -> None:
        self.world = world or World()
        self.recipe = config
        config = config.model_copy(update={"train": scaled(config.train, self.world.size)})
        self.config, self.out, self.fresh = config, out, fresh
        make_folder(out)
        torch.manual_seed(config.train.seed)
        begins = fresh or not (out / "state.pt").is_file()
        warm_start = warm_start or config.train.warm_start
        self.model = build_model(config.model, imagenet=begins and warm_start is None)
        if begins and warm_start is not None:
            anew = load_weights(warm_start, self.model, other_classes=True)
            compare_recipes(warm_start, config)
            if anew and self.world.leads:
                classes = config.model.parsing_classes
                print(
                    f"{warm_start} has other part classes: {', '.join(anew)} begin anew, of {classes}", file=sys.stderr
                )
        prepare(self.model, config.train)
        layout = memory_format(config, self.world.device)
        self.model.to(self.world.device, memory_format=layout)
        if config.train.backbone_norm == "sync":
            if self.world.device.type != "cuda":
                raise ConfigError("train.backbone_norm=sync needs GPUs; on the CPU set train.backbone_norm=train")
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        self.average = WeightAverage(self.model, config.train.ema_decay)
        self.optimizer = build_optimizer(self.model, config.train)
        self.scaler = torch.amp.GradScaler(self.world.device.type, enabled=config.train.autocast == "fp16")
        self.objective = Objective(
            self.model,
            parsing=config.train.parsing,
            densepose=config.train.densepose,
            only=config.train.only,
            half=config.train.half_size_losses,
            weigh_rare=config.train.weigh_rare,
            layout=layout,
        ).to(self.world.device)
        # every process reads its own batches of a step, and several where gradients are accumulated
        self.batches = config.train.accumulate * self.world.size
        self.mixture = Mixture(data, config, self.batches)
        validation = Validation(config) if config.train.evaluate_every is not None else None
        # all refuse what cannot be measured on, and would wait for each other otherwise; one measures
        self.validation = validation if self.world.leads else None
        self.parallel: nn.Module = self.objective
        if self.world.size > 1:
            self.parallel = DistributedDataParallel(
                self.objective,
                device_ids=[self.world.device] if self.world.device.type == "cuda" else None,
                find_unused_parameters=True,  # a batch without people leaves the branches out
            )
        self.step, self.elapsed = 0, 0.0

    def resume(self) -> bool:
        """Go on from the last checkpoint in the run's folder. Returns whether there was one.

        Rates, their schedule and the length are those of the recipe as it is now, and data may lie elsewhere; anything
        else has to be as it was.

        Raises:
            CheckpointError: it is broken, of another recipe, of other data or of more or fewer pictures a step, or not
                there for all processes.
        """
        path = self.out / "state.pt"
        state = load_state(path) if path.is_file() else None
        steps = self.world.gathered(None if state is None else state.get("step"))
        if len(set(steps)) > 1:
            raise CheckpointError(
                f"{path}: the hosts of this run see different ones (none, or other steps); --out has to be one folder "
                "for all hosts, or state.pt has to be copied to each"
            )
        if state is None:
            return False
        try:
            moved = compare(path, state, self.recipe, self.pictures, self.mixture.counts())
            rates = [{key: group[key] for key in ("base", "weight_decay")} for group in self.optimizer.param_groups]
            self.model.load_state_dict(state["model"])
            self.average.model.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            for group, own in zip(self.optimizer.param_groups, rates, strict=True):
                group.update(own)  # the checkpoint's own would hold over a recipe whose rates were changed
            if state["scaler"]:
                self.scaler.load_state_dict(state["scaler"])
            self.step, self.elapsed = state["step"], state["elapsed"]
        except CheckpointError:
            raise
        except (RuntimeError, KeyError, ValueError) as error:
            said = str(error).splitlines()[:2]
            raise CheckpointError(
                f"{path}: a run of another recipe ({' '.join(said)}); take another --out, or --fresh"
            ) from error
        for said in moved if self.world.leads else ():
            print(said, file=sys.stderr)
        return True

    @property
    def pictures(self) -> int:
        """Pictures of a step, over all processes."""
        return (self.config.train.images_per_process or 1) * self.batches

    def save(self) -> None:
        """Checkpoint: the average as weights.safetensors (what is exported), the rest as state.pt."""
        if not self.world.leads:
            return
        self._save_weights("weights.safetensors")
        save_state(
            self.out / "state.pt",
            {
                "model": self.model.state_dict(),
                "average": self.average.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "step": self.step,
                "elapsed": self.elapsed,
                "recipe": self.recipe.digest_json(),
                "pictures": self.pictures,
                "counts": self.mixture.counts(),
            },
        )

    def _save_weights(self, name: str) -> None:
        facts = {"step": self.step, "minutes": round(self.elapsed / 60, 1)}
        save_weights(self.out / name, self.average.model, self.recipe, facts)

    def run(self) -> None:
        """Train to the end of the schedule.

        Raises:
            DatasetError: a picture is missing or broken, or `out` cannot be written.
            TrainingDiverged: a loss is not finite.
            TrainingStopped: SIGTERM, SIGUSR1 or Ctrl-C asked for it; a checkpoint is written.
        """
        config = self.config.train
        loader = DataLoader(
            _Reading(self.mixture),
            batch_size=None,
            sampler=_Batches(
                self.step * self.batches + self.world.rank, config.iterations * self.batches, self.world.size
            ),
            num_workers=config.workers,
            prefetch_factor=4 if config.workers else None,
            pin_memory=self.world.device.type == "cuda",
            worker_init_fn=_prepare_loader,
        )
        with ExitStack() as stack:
            report = stack.enter_context(RunLog(self.out, config, self.step)) if self.world.leads else None
            request = stack.enter_context(StopRequest())
            if config.workers:  # threads of OpenCV do not come through a fork, and who stops them there waits for ever
                stack.callback(cv2.setNumThreads, cv2.getNumThreads())
                cv2.setNumThreads(1)
            begin = time.monotonic() - self.elapsed
            batches = iter(loader)
            while self.step < config.iterations:
                losses = self.update([_read(next(batches)) for _ in range(config.accumulate)])
                self.elapsed = time.monotonic() - begin
                if config.time_budget_minutes is not None:  # one clock: rates and the end are the same everywhere
                    self.elapsed = self.world.of_leader(self.elapsed)
                over = config.time_budget_minutes is not None and self.elapsed > config.time_budget_minutes * 60
                last = over or self.step == config.iterations
                if report is not None:
                    report.step(self.step, self.elapsed, losses, last=last)
                measured = config.evaluate_every is not None and (last or self.step % config.evaluate_every == 0)
                if measured or self.step % config.checkpoint_every == 0:  # whatever comes of measuring
                    self.save()
                if config.keep_every is not None and self.step % config.keep_every == 0 and self.world.leads:
                    self._save_weights(f"weights_{self.step}.safetensors")
                if measured and report is not None:
                    self._validate(report, request)
                if over:
                    break
                self._stop_if_asked(request)
        self.save()
        self.world.any(False)  # the first process may still have measured and saved: they part together

    def _validate(self, report: RunLog, request: StopRequest) -> None:
        """Measure the average weights and note what comes of it; a signal ends that before the next picture."""
        if self.validation is None:
            return
        try:
            measure = partial(self.validation.measure, self.average.model, lambda: request.signal is not None)
            report.validated(self.step, measure)
        finally:
            prepare(self.model, self.config.train)  # without an average it is the network itself that was measured

    def _stop_if_asked(self, request: StopRequest) -> None:
        """Save and stop where a signal has asked any process: they agree on it every ten steps, to save the same one.

        Raises:
            TrainingStopped: in all processes, once the checkpoint is written.
        """
        if self.step == self.config.train.iterations or (self.world.size > 1 and self.step % REPORT_EVERY):
            return
        if self.world.any(request.signal is not None):
            self.save()
            self.world.any(False)  # who left before the first process has saved would have it ended
            raise TrainingStopped(
                f"{request.signal or 'a signal to another process'} asked to stop: step {self.step} of "
                f"{self.config.train.iterations} is saved in {self.out}, and the same command "
                f"{'without --fresh ' if self.fresh else ''}goes on from there",
                by_hand=request.signal == "SIGINT",
            )

    def update(self, batches: list[Batch]) -> dict[str, Tensor]:
        """One step on this process's batches: the mean of their losses, detached.

        Raises:
            TrainingDiverged: a loss is not finite.
        """
        config = self.config.train
        factor = schedule(self.step, config, self.elapsed / 60)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * factor
        self.optimizer.zero_grad(set_to_none=True)
        mean: dict[str, Tensor] = {}
        for number, each in enumerate(batches):
            with ExitStack() as stack:
                if isinstance(self.parallel, DistributedDataParallel) and number + 1 < len(batches):
                    stack.enter_context(self.parallel.no_sync())
                for name, loss in self._backward(each, number, len(batches)).items():
                    mean[name] = mean.get(name, 0) + loss.detach() / len(batches)
        if config.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        if self.world.leads:
            self.average.update(self.model, self.step - 1)
        return mean

    def _backward(self, pictures: Batch, number: int, count: int) -> dict[str, Tensor]:
        config = self.config.train
        batch = self.step * self.batches + number * self.world.size + self.world.rank
        kind = {"none": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[config.autocast]
        with torch.autocast(self.world.device.type, kind, enabled=config.autocast != "none"):
            losses: dict[str, Tensor] = self.parallel(pictures, _seed(config.seed, batch))
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        if not bool(torch.isfinite(total)):
            bad = ", ".join(name for name, loss in losses.items() if not bool(torch.isfinite(loss)))
            origins = ", ".join(pictures.origins)
            raise TrainingDiverged(
                f"batch {batch} of seed {config.seed} ({origins}): {bad} is not finite; lower train.learning_rate "
                f"(now {config.learning_rate}) or look at that batch"
            )
        self.scaler.scale(total / count).backward()
        return losses


def _prepare_loader(_: int) -> None:
    """Loaders are as many as the cores that they may use: OpenCV's own threads would crowd each other out."""
    cv2.setNumThreads(1)
    obey_parent_alone()


def _seed(seed: int, batch: int) -> int:
    """A seed for what is drawn in one batch: no state to save, and a run resumes at any step to the same numbers."""
    return int(np.random.SeedSequence([seed, batch]).generate_state(1, np.uint64)[0] >> np.uint64(1))
