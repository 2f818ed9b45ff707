"""The training loop: seeded, resumable, in one process or many."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.beginning import recalled, recorded, refuse_random_rest
from training.checkpoint import compare_recipes, load_state, load_weights, save_state, save_weights
from training.config import Config
from training.data.batch import Batch
from training.data.mixture import Mixture
from training.distributed import World
from training.ema import WeightAverage
from training.errors import CheckpointError, ConfigError
from training.files import make_folder, writing
from training.interruption import StopRequest, TrainingStopped
from training.loading import read_batches
from training.model.parsing_rcnn import ParsingRCNN, build_model
from training.objective import Objective, memory_format
from training.optimisation import build_optimizer, prepare, scaled, schedule
from training.resumption import compare
from training.run_log import REPORT_EVERY, RunLog, is_measured
from training.validation import Validation


class TrainingDiverged(RuntimeError):
    """A loss is not finite, and the message names the batch and the loss; or the weights are not."""


class Trainer:
    """A run: its network, optimiser, data and progress, which a checkpoint saves and `resume` restores.

    Args:
        config: the recipe; rates and lengths are scaled to the number of processes (`training.optimisation.scaled`).
        data: folder that holds ccp, groups and backgrounds.
        out: folder of the run.
        warm_start: weights to begin from (None: as the recipe says).
        world: this process among those of the run.
        fresh: begin anew, whatever `out` holds. Otherwise, where `out` holds a run, the caller has to `resume` it; the
            weights that it once began from are then not read, and may be gone.
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
        self._take(config)
        self.out, self.fresh = out, fresh
        make_folder(out)
        torch.manual_seed(config.train.seed)
        self.model = self._first_model(warm_start or config.train.warm_start)
        train = self.config.train
        prepare(self.model, train)
        layout = memory_format(self.config, self.world.device)
        self.model.to(self.world.device, memory_format=layout)
        if train.backbone_norm == "sync":
            if self.world.device.type != "cuda":
                raise ConfigError("train.backbone_norm=sync needs GPUs; on the CPU set train.backbone_norm=train")
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        self.average = WeightAverage(self.model, train.ema_decay)
        self.optimizer = build_optimizer(self.model, train)
        self.scaler = torch.amp.GradScaler(self.world.device.type, enabled=train.autocast == "fp16")
        self.objective = Objective(
            self.model,
            parsing=train.parsing,
            densepose=train.densepose,
            only=train.only,
            half=train.half_size_losses,
            weigh_rare=train.weigh_rare,
            layout=layout,
        ).to(self.world.device)
        # every process reads its own batches of a step, and several where gradients are accumulated
        self.batches = train.accumulate * self.world.size
        self.mixture = Mixture(data, self.config, self.batches)
        self.validation = self._measured_on() if self._begins else None  # `resume` knows what a run that goes on trains
        self.parallel = self._over_processes()
        self.step, self.elapsed = 0, 0.0

    def _take(self, recipe: Config) -> None:
        """The recipe as it is recorded, and `config`, which is scaled to the processes."""
        self.recipe = recipe
        self.config = recipe.model_copy(update={"train": scaled(recipe.train, self.world.size)})

    def _first_model(self, warm_start: Path | None) -> ParsingRCNN:
        """The network, with the weights that the run begins from, unless a checkpoint will replace them (`resume`).

        Raises:
            ConfigError: it needs weights to begin from (`train.only`), and there are none.
            CheckpointError: the weights cannot be read or do not fit.
            BackboneWeightsError: likewise, ImageNet's.
        """
        begins = self._begins
        if begins and warm_start is None:
            refuse_random_rest(self.config.train)
        model = build_model(self.config.model, imagenet=begins and warm_start is None)
        if begins and warm_start is not None:
            anew = load_weights(warm_start, model, other_classes=True)
            compare_recipes(warm_start, self.config)
            self._take(recorded(self.recipe, warm_start, other_classes=bool(anew)))
            if anew and self.world.leads:
                classes = self.config.model.parsing_classes
                print(
                    f"{warm_start} has other part classes: {', '.join(anew)} begin anew, of {classes}", file=sys.stderr
                )
        return model

    def _over_processes(self) -> nn.Module:
        """The objective, whose gradients are averaged over the processes where there are several."""
        if self.world.size == 1:
            return self.objective
        return DistributedDataParallel(
            self.objective,
            device_ids=[self.world.device] if self.world.device.type == "cuda" else None,
            find_unused_parameters=True,  # a batch without people leaves the branches out
        )

    @property
    def _begins(self) -> bool:
        """Whether the run has no checkpoint to go on from, or is not to."""
        return self.fresh or not (self.out / "state.pt").is_file()

    def _measured_on(self) -> Validation | None:
        """What one process measures on. All refuse what it cannot: they would wait for one that has ended."""
        validation = Validation(self.config) if self.config.train.evaluate_every is not None else None
        return validation if self.world.leads else None

    def resume(self) -> bool:
        """Go on from the last checkpoint in the run's folder. Returns whether there was one.

        Rates, their schedule and the length are taken from the recipe as it is now, and the data may have moved. All
        else has to be as it was.

        Raises:
            CheckpointError: it is broken, belongs to another recipe, other data or another number of pictures a step,
                or not all processes find it.
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
            for group, current in zip(self.optimizer.param_groups, rates, strict=True):
                group.update(current)  # the state has the old rates, and the recipe may have changed them
            if state["scaler"]:
                self.scaler.load_state_dict(state["scaler"])
            self.step, self.elapsed = state["step"], state["elapsed"]
            self._take(recalled(self.recipe, state["recipe"]))
        except CheckpointError:
            raise
        except (RuntimeError, KeyError, ValueError) as error:
            first_lines = " ".join(str(error).splitlines()[:2])
            raise CheckpointError(
                f"{path}: a run of another recipe ({first_lines}); take another --out, or --fresh"
            ) from error
        self.validation = self._measured_on()
        for sentence in moved if self.world.leads else ():
            print(sentence, file=sys.stderr)
        return True

    @property
    def pictures(self) -> int:
        """Pictures of a step, over all processes."""
        return (self.config.train.images_per_process or 1) * self.batches

    @property
    def _time_is_over(self) -> bool:
        budget = self.config.train.time_budget_minutes
        return budget is not None and self.elapsed > budget * 60

    @property
    def finished(self) -> str | None:
        """Where the run has ended ("step 4000 of 4000"); None while there is something left to train."""
        config = self.config.train
        if self.step < config.iterations and not self._time_is_over:
            return None
        budget = f", after train.time_budget_minutes={config.time_budget_minutes:g}" if self._time_is_over else ""
        return f"step {self.step} of {config.iterations}{budget}"

    def save(self) -> None:
        """Write a checkpoint: the average as weights.safetensors, which is exported, and all else as state.pt.

        Raises:
            TrainingDiverged: the average is not finite; what was there stays.
        """
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
                "recipe": self.recipe.as_json(),
                "pictures": self.pictures,
                "counts": self.mixture.counts(),
            },
        )

    def _save_weights(self, name: str) -> None:
        values = {key: value for key, value in self.average.model.state_dict().items() if value.is_floating_point()}
        finite = torch.stack([torch.isfinite(value).all() for value in values.values()]).tolist()
        if not all(finite):
            raise TrainingDiverged(
                f"step {self.step}: {list(values)[finite.index(False)]} is not finite: the weights have diverged, and "
                "nothing of this step is written; lower train.learning_rate "
                f"(now {self.config.train.learning_rate}), or go on from weights of before"
            )
        facts = {"step": self.step, "minutes": round(self.elapsed / 60, 1)}
        save_weights(self.out / name, self.average.model, self.recipe, facts)

    def run(self) -> None:
        """Train to the end of the schedule. A run that has got there (`finished`) only gets what it lacks.

        Raises:
            DatasetError: a picture is missing or broken.
            OutputError: `out` cannot be written.
            TrainingDiverged: a loss is not finite, or the weights.
            TrainingStopped: SIGTERM, SIGUSR1 or Ctrl-C asked for it; a checkpoint is written.
        """
        with StopRequest() as request:
            measured = self._train(request) if self.finished is None else self._complete(request)
        if self.world.any(not measured):  # the others wait for the first process, which may still be saving
            raise self._stopped(request, "measures its weights")

    def _complete(self, request: StopRequest) -> bool:
        """Write the weights of a finished run where only state.pt was taken along, and measure its last step where that
        was stopped. Returns whether it is measured now, as far as the recipe asks for it."""
        if not all((self.out / name).is_file() for name in ("weights.safetensors", "weights.json")):
            self.save()
        if self.validation is None or is_measured(self.out, self.step):
            return True
        with RunLog(self.out, self.config.train, self.step) as report:
            return self._validate(report, request)

    def _train(self, request: StopRequest) -> bool:
        """The loop of `run`. Returns whether the last step is measured, as far as the recipe asks for it."""
        config, measured = self.config.train, True
        if self.fresh and self.step == 0 and self.world.leads:
            with writing(self.out):  # a kill before the first checkpoint must not leave the run that lay here to go on
                (self.out / "state.pt").unlink(missing_ok=True)
        numbers = range(self.step * self.batches + self.world.rank, config.iterations * self.batches, self.world.size)
        with ExitStack() as stack:
            report = stack.enter_context(RunLog(self.out, config, self.step)) if self.world.leads else None
            if config.workers:  # a fork does not copy OpenCV's threads, and a worker that ends them would wait for ever
                stack.callback(cv2.setNumThreads, cv2.getNumThreads())
                cv2.setNumThreads(1)
            begin = time.monotonic() - self.elapsed
            batches = read_batches(self.mixture, numbers, config.workers, pin_memory=self.world.device.type == "cuda")
            while self.step < config.iterations:
                losses = self.update([next(batches) for _ in range(config.accumulate)])
                self.elapsed = time.monotonic() - begin
                if config.time_budget_minutes is not None:  # one clock for all: the same rates and the same end
                    self.elapsed = self.world.of_leader(self.elapsed)
                over = self._time_is_over
                last = over or self.step == config.iterations
                if report is not None:
                    report.step(self.step, self.elapsed, losses, last=last)
                due = config.evaluate_every is not None and (last or self.step % config.evaluate_every == 0)
                if due or self.step % config.checkpoint_every == 0:  # before measuring, which may fail
                    self.save()
                if config.keep_every is not None and self.step % config.keep_every == 0 and self.world.leads:
                    self._save_weights(f"weights_{self.step}.safetensors")
                if due and report is not None:
                    measured = self._validate(report, request)
                if over:
                    break
                self._stop_if_asked(request)
        self.save()
        return measured

    def _validate(self, report: RunLog, request: StopRequest) -> bool:
        """Measure the average weights and log the figures. A signal stops this before the next picture: then False."""
        if self.validation is None:
            return True
        try:
            measure = partial(self.validation.measure, self.average.model, lambda: request.signal is not None)
            return report.validated(self.step, measure)
        finally:
            prepare(self.model, self.config.train)  # without an average, the network itself was measured, in eval mode

    def _stop_if_asked(self, request: StopRequest) -> None:
        """Save and stop if a signal has reached any process. They agree on it every ten steps, to stop at the same one.

        Raises:
            TrainingStopped: in all processes, once the checkpoint is written.
        """
        if self.step == self.config.train.iterations or (self.world.size > 1 and self.step % REPORT_EVERY):
            return
        if self.world.any(request.signal is not None):
            self.save()
            self.world.any(False)  # wait for the first process: torchrun ends all when one leaves
            raise self._stopped(request, "goes on from there")

    def _stopped(self, request: StopRequest, then: str) -> TrainingStopped:
        return TrainingStopped(
            f"{request.signal or 'a signal to another process'} asked to stop: step {self.step} of "
            f"{self.config.train.iterations} is saved in {self.out}, and the same command "
            f"{'without --fresh ' if self.fresh else ''}{then}",
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


def _seed(seed: int, batch: int) -> int:
    """The seed of what is drawn in one batch. It needs no saved state: a resumed run draws the same numbers."""
    return int(np.random.SeedSequence([seed, batch]).generate_state(1, np.uint64)[0] >> np.uint64(1))
