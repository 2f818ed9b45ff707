"""The loop itself: it learns, repeats and resumes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from parsing_rcnn import __version__
from tests.training.helpers import LIGHT, SMALL, measuring, published, recipe
from training.checkpoint import load_model, load_recipe, load_state, load_weights, save_state, save_weights
from training.config import Config, TrainConfig, load_config
from training.data.batch import Batch
from training.data.datasets.check import find_datasets
from training.data.datasets.cihp import RawCihp
from training.data.datasets.records import Record
from training.ema import WeightAverage
from training.engine import TorchAnalyzer, load_checkpoint
from training.errors import BackboneWeightsError, CheckpointError, ConfigError, DatasetError
from training.evaluation.datasets import evaluate_dataset
from training.interruption import TrainingStopped
from training.model.backbones import ResNet
from training.model.parsing_rcnn import build_model
from training.report import sheet_pictures, write_report
from training.run_log import RunLog
from training.train import Trainer, TrainingDiverged


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path, data_folder: Path) -> None:
    config = recipe("train.iterations=6")
    whole = Trainer(config, data_folder, tmp_path / "whole")
    whole.run()
    # stop at the checkpoint of step 3, as a kill between two steps would
    stopped = Trainer(config, data_folder, tmp_path / "stopped")
    for index in range(3):
        stopped.update([Batch.of(stopped.mixture[index])])
    stopped.save()
    resumed = Trainer(config, data_folder, tmp_path / "stopped")
    assert resumed.resume()
    assert resumed.step == 3
    resumed.run()
    for (name, a), (_, b) in zip(whole.model.state_dict().items(), resumed.model.state_dict().items(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_a_run_leaves_weights_recipe_and_log(tmp_path: Path, data_folder: Path) -> None:
    config = recipe("train.iterations=10")
    Trainer(config, data_folder, tmp_path).run()
    assert load_recipe(tmp_path / "weights.safetensors") == config
    beside = json.loads((tmp_path / "weights.json").read_text())
    assert beside["version"] == __version__
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=False, cwd=LIGHT.parent, capture_output=True, text=True)
    assert (beside["revision"] or "").removesuffix("-dirty") == head.stdout.strip()  # both are empty outside of a clone
    model = build_model(config.model)
    load_weights(tmp_path / "weights.safetensors", model)
    row = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert row["step"] == 10
    assert {"rpn_objectness", "rpn_box", "box_class", "box_delta", "parsing"} <= set(row)
    assert any(p.name.startswith("events.out.tfevents") for p in tmp_path.iterdir())


def test_a_run_of_another_recipe_does_not_go_on(tmp_path: Path, data_folder: Path) -> None:
    Trainer(recipe("train.iterations=1"), data_folder, tmp_path).run()
    other = Trainer(recipe("model.branch.conv_channels=64"), data_folder, tmp_path)
    with pytest.raises(CheckpointError, match=r"another recipe.*--fresh"):
        other.resume()


def test_what_makes_it_another_run_is_named(tmp_path: Path, data_folder: Path) -> None:
    Trainer(recipe("train.iterations=1"), data_folder, tmp_path).run()
    for override, said in (
        ("train.seed=7", r"train\.seed was 0, is 7"),
        ("data.colours=false", r"data\.colours was True, is False"),
        ("data.sources={photos: 1.0}", r"data\.sources was"),
        ("train.images_per_process=1", r"steps saw 2 pictures, and would see 1 now"),
    ):
        with pytest.raises(CheckpointError, match=said + r".*--fresh"):
            Trainer(recipe(override), data_folder, tmp_path).resume()
    assert Trainer(recipe("train.images_per_process=1", "train.accumulate=2"), data_folder, tmp_path).resume()


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def test_a_run_goes_on_where_its_data_has_moved(
    tmp_path: Path, data_folder: Path, rendered_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def on(rendered: Path, scenes: Path) -> Config:
        return recipe("train.iterations=1", f"data.rendered={rendered}", f"data.scenes={scenes}")

    Trainer(on(rendered_folder, data_folder / "backgrounds"), data_folder, tmp_path / "run").run()
    rendered = copied(rendered_folder, tmp_path / "elsewhere" / "rendered")
    scenes = copied(data_folder / "backgrounds", tmp_path / "elsewhere" / "scenes")
    capsys.readouterr()
    assert Trainer(on(rendered, scenes), copied(data_folder, tmp_path / "data"), tmp_path / "run").resume()
    said = capsys.readouterr().err
    assert f"data.rendered was {rendered_folder}, is {rendered}" in said
    assert f"data.scenes was {data_folder / 'backgrounds'}, is {scenes}" in said
    # what is there now are other pictures
    next((rendered / "Images").glob("*.jpg")).unlink()
    with pytest.raises(CheckpointError) as caught:
        Trainer(on(rendered, scenes), data_folder, tmp_path / "run").resume()
    assert "data.rendered had 2 pictures or files, has 1 pictures or files" in str(caught.value)
    assert str(caught.value).count("state.pt") == str(caught.value).count("--fresh") == 1  # said once
    with pytest.raises(CheckpointError, match=r"data\.rendered had 2 pictures or files, has nothing"):
        Trainer(recipe(f"data.scenes={scenes}"), data_folder, tmp_path / "run").resume()


def test_a_checkpoint_that_does_not_count_its_data_goes_on_where_it_lay(
    tmp_path: Path, data_folder: Path, rendered_folder: Path
) -> None:
    config = recipe("train.iterations=1", f"data.rendered={rendered_folder}")
    Trainer(config, data_folder, tmp_path / "run").run()
    state = load_state(tmp_path / "run" / "state.pt")
    del state["counts"]  # as it was written before
    save_state(tmp_path / "run" / "state.pt", state)
    assert Trainer(config, data_folder, tmp_path / "run").resume()
    moved = recipe(f"data.rendered={copied(rendered_folder, tmp_path / 'moved')}")
    with pytest.raises(CheckpointError, match=r"data\.rendered was '.*rendered', is '.*moved'"):
        Trainer(moved, data_folder, tmp_path / "run").resume()


def test_the_order_and_sizes_of_datasets_make_the_run(tmp_path: Path, rendered_folder: Path) -> None:
    more = copied(rendered_folder, tmp_path / "more")
    for path in more.glob("*/0000001.*"):
        path.unlink()

    def on(*folders: Path) -> Config:
        listed = ", ".join(map(str, folders))
        return recipe("train.iterations=1", "data.sources={annotated: 1}", f"data.annotated=[{listed}]")

    Trainer(on(rendered_folder, more), tmp_path, tmp_path / "run").run()
    moved = copied(rendered_folder, tmp_path / "moved")
    assert Trainer(on(moved, more), tmp_path, tmp_path / "run").resume()
    with pytest.raises(CheckpointError, match=r"data\.annotated had 2 \+ 1 pictures or files, has 1 \+ 2 pictures"):
        Trainer(on(more, moved), tmp_path, tmp_path / "run").resume()


def test_weights_that_a_run_began_from_may_be_gone(tmp_path: Path, data_folder: Path) -> None:
    Trainer(recipe("train.iterations=1"), data_folder, tmp_path / "first").run()
    weights = tmp_path / "first" / "weights.safetensors"
    begun = recipe("train.iterations=2", f"train.warm_start={weights}")
    Trainer(begun, data_folder, tmp_path / "run").run()
    weights.unlink()
    resumed = Trainer(begun, data_folder, tmp_path / "run")
    assert resumed.resume()
    assert resumed.step == 2
    for out, fresh in (("run", True), ("other", False)):  # a new run needs them
        with pytest.raises(CheckpointError, match="no such checkpoint"):
            Trainer(begun, data_folder, tmp_path / out, fresh=fresh)


def test_imagenet_weights_may_be_gone_too(tmp_path: Path, data_folder: Path) -> None:
    small = ("model.backbone=resnet50", "model.box.channels=64", "model.fpn.channels=32", "train.iterations=1")
    Trainer(recipe(*small, "model.pretrained=false"), data_folder, tmp_path / "run").run()
    gone = recipe(*small, f"model.backbone_weights={tmp_path / 'gone.pth'}")
    assert Trainer(gone, data_folder, tmp_path / "run").resume()
    with pytest.raises(BackboneWeightsError, match=r"gone\.pth"):
        Trainer(gone, data_folder, tmp_path / "run", fresh=True)


def test_a_refusal_is_said_once(tmp_path: Path, data_folder: Path) -> None:
    Trainer(recipe("train.iterations=1"), data_folder, tmp_path).run()
    with pytest.raises(CheckpointError) as caught:
        Trainer(recipe("train.seed=7"), data_folder, tmp_path).resume()
    assert str(caught.value).count("state.pt") == str(caught.value).count("--fresh") == 1


def test_a_run_goes_on_with_the_rates_of_its_recipe_as_it_is_now(tmp_path: Path, data_folder: Path) -> None:
    """What a run that diverged is told: lower train.learning_rate."""
    Trainer(recipe("train.iterations=1", "train.learning_rate=0.02"), data_folder, tmp_path).run()
    lower = recipe("train.iterations=3", "train.learning_rate=0.0001", "train.weight_decay=0.5")
    resumed, begun = (Trainer(lower, data_folder, tmp_path / name) for name in ("", "afresh"))
    assert resumed.resume()
    said, wanted = (
        [(group["base"], group["weight_decay"]) for group in trainer.optimizer.param_groups]
        for trainer in (resumed, begun)
    )
    assert said == wanted
    assert (0.0001, 0.5) in said
    assert any(state["exp_avg"].abs().sum() > 0 for state in resumed.optimizer.state.values())  # and its momentum


def test_it_learns_one_batch(tmp_path: Path, data_folder: Path) -> None:
    wide = load_config(LIGHT, (*SMALL, "train.iterations=40", "data.sources={photos: 1.0}"))
    trainer = Trainer(wide, data_folder, tmp_path)
    batch = Batch.of(trainer.mixture[0])
    first = {k: float(v) for k, v in trainer.update([batch]).items()}
    for _ in range(24):
        last = {k: float(v) for k, v in trainer.update([batch]).items()}
    assert last["parsing"] < 0.6 * first["parsing"]
    assert sum(last.values()) < 0.6 * sum(first.values())


def test_a_batch_without_people_is_finite(tmp_path: Path, data_folder: Path) -> None:
    trainer = Trainer(recipe("train.iterations=2", "data.sources={empty: 1.0}"), data_folder, tmp_path)
    losses = trainer.update([Batch.of(trainer.mixture[0])])
    assert float(losses["parsing"]) == 0
    assert float(losses["box_delta"]) == 0


def test_nan_names_the_batch(tmp_path: Path, data_folder: Path) -> None:
    trainer = Trainer(recipe("train.iterations=2"), data_folder, tmp_path)
    with torch.no_grad():
        trainer.model.rpn.objectness.bias.fill_(float("nan"))
    with pytest.raises((TrainingDiverged, RuntimeError)) as caught:
        trainer.update([Batch.of(trainer.mixture[0])])
    assert isinstance(caught.value, TrainingDiverged)
    assert "batch 0 of seed 0 (" in str(caught.value)
    assert all(sample.origin in ("photos", "crowds", "groups", "empty") for sample in trainer.mixture[0])
    assert ", ".join(sample.origin for sample in trainer.mixture[0]) in str(caught.value)


def test_the_average_follows() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
        average = WeightAverage(model, 0.5)
        model.weight.fill_(1.0)
    average.update(model, 1000)
    assert float(average.model.weight) == pytest.approx(0.5)
    assert WeightAverage(model, 0.0).model is model  # no average, no copy


def test_a_shared_trunk_follows_as_its_heads_do() -> None:
    """A state dict names its tensors twice, as both trunks'."""
    model = build_model(load_config(LIGHT, ["model.share_trunk=true"]).model)
    average = WeightAverage(model, 0.5)
    watched = ("densepose_trunk.convs.0.0.weight", "densepose_head.up.deconv.weight")
    before = {name: model.state_dict()[name].clone() for name in watched}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    average.update(model, 1000)
    for name in watched:
        torch.testing.assert_close(average.model.state_dict()[name], before[name] + 0.5)


@pytest.mark.parametrize("only", ["parsing", "densepose"])
def test_one_head_alone_is_not_trained_on_a_trunk_of_both(tmp_path: Path, data_folder: Path, only: str) -> None:
    config = recipe("model.share_trunk=true", f"train.only={only}", "train.densepose=true", "model.pretrained=false")
    save_weights(tmp_path / "weights.safetensors", build_model(config.model), config, {})
    with pytest.raises(ConfigError, match=rf"train\.only={only}.*model\.share_trunk"):
        Trainer(config, data_folder, tmp_path / "run", tmp_path / "weights.safetensors")


def test_a_checkpoint_that_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_weights(tmp_path / "none.safetensors", torch.nn.Linear(1, 1))
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="no safetensors, or cut off"):
        load_weights(tmp_path / "broken.safetensors", torch.nn.Linear(1, 1))
    for content in ("{", "{}", '{"config": {"name": 3}}'):
        (tmp_path / "broken.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"broken\.json: holds no config"):
            load_recipe(tmp_path / "broken.safetensors")
    (tmp_path / "state.pt").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="no state of a run"):
        load_state(tmp_path / "state.pt")
    with pytest.raises(BackboneWeightsError, match="no weights of torchvision's resnet50"):
        ResNet().load_imagenet(tmp_path / "state.pt")


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, (str(self.path),))


def test_a_state_that_asks_to_run_code_runs_none(tmp_path: Path) -> None:
    for name, content in (("a", Harmful(tmp_path / "ran")), ("b", {"model": {}, "step": Harmful(tmp_path / "ran")})):
        for legacy in (False, True):
            torch.save(content, tmp_path / f"{name}.pt", _use_new_zipfile_serialization=not legacy)
            with pytest.raises(CheckpointError, match=f"{name}\\.pt: no state of a run"):
                load_state(tmp_path / f"{name}.pt")
    # with weights likewise: safetensors hold no code, and nothing else is read
    torch.save({"layer.weight": Harmful(tmp_path / "ran")}, tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match="no safetensors"):
        load_weights(tmp_path / "weights.safetensors", torch.nn.Linear(1, 1))
    torch.save(Harmful(tmp_path / "ran"), tmp_path / "resnet50.pth")
    with pytest.raises(BackboneWeightsError, match="no weights of torchvision's resnet50"):
        ResNet().load_imagenet(tmp_path / "resnet50.pth")
    assert not (tmp_path / "ran").exists()


def test_a_run_that_its_time_ends_says_where_it_got(tmp_path: Path, data_folder: Path) -> None:
    trainer = Trainer(recipe("train.iterations=50", "train.time_budget_minutes=0.0001"), data_folder, tmp_path / "run")
    trainer.run()
    assert trainer.step == 1
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1]
    write_report(tmp_path / "run", [])
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_weights_of_some_steps_stay(tmp_path: Path, data_folder: Path) -> None:
    Trainer(recipe("train.iterations=5", "train.keep_every=2", "train.checkpoint_every=1"), data_folder, tmp_path).run()
    assert sorted(path.name for path in tmp_path.glob("weights*.safetensors")) == [
        *("weights.safetensors", "weights_2.safetensors", "weights_4.safetensors")
    ]
    assert json.loads((tmp_path / "weights_4.json").read_text())["step"] == 4
    kept, last = (load_model(tmp_path / name)[0] for name in ("weights_2.safetensors", "weights.safetensors"))
    assert not torch.equal(kept.box.score.weight, last.box.score.weight)
    assert Trainer(recipe("train.iterations=6"), data_folder, tmp_path).resume()  # and may be kept no longer


def validations(out: Path) -> dict[int, dict[str, object]]:
    """Rows of the log that are of validation pictures, by step."""
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return {row["step"]: row for row in rows if "validation" in row}


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_validation_pictures_are_measured_on_the_way(tmp_path: Path, average: float) -> None:
    """With the figures of `evaluate --dataset`; and the weights become what they would have become without."""
    data = published(tmp_path / "CIHP")
    common = (f"data.annotated={data}", "data.sources={annotated: 1}", "train.iterations=5", "train.keep_every=2")
    common = (*common, f"train.ema_decay={average}", "model.rpn.proposals_test=4")
    measured = recipe(*common, "train.evaluate_every=2", "train.evaluate_pictures=2")
    Trainer(measured, tmp_path, tmp_path / "measured").run()
    rows = [json.loads(line) for line in (tmp_path / "measured" / "log.jsonl").read_text().splitlines()]
    noted = {row["step"]: row["validation"] for row in rows if "validation" in row}
    assert list(noted) == [2, 4, 5]  # the last weights, too
    assert [row["step"] for row in rows if "validation" not in row] == [5]
    (reader,) = (reader for reader in find_datasets(data) if reader.validation)
    for step, figures in noted.items():
        weights = f"weights_{step}.safetensors" if step < 5 else "weights.safetensors"
        analyzer = TorchAnalyzer(*load_checkpoint(tmp_path / "measured" / weights))
        wanted = evaluate_dataset(analyzer, reader, lambda items, _: items, most=2).figures
        assert wanted["pictures"] == 2
        assert set(figures["CIHP, Validation"]) >= {"miou", "pixel_accuracy", "ap_p_50", "ap_r_50", "box_ap"}
        for name, value in figures["CIHP, Validation"].items():
            assert value == pytest.approx(wanted[name], abs=1e-4), name
    Trainer(recipe(*common), tmp_path, tmp_path / "plain").run()
    first, second = (load_model(tmp_path / run / "weights.safetensors")[0] for run in ("measured", "plain"))
    for (name, a), (_, b) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    write_report(tmp_path / "measured", [])
    assert (tmp_path / "measured" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert Trainer(recipe(*common), tmp_path, tmp_path / "measured").resume()  # and may be measured no longer


def test_nothing_to_measure_on_is_said_at_once(tmp_path: Path, data_folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"train\.evaluate_every: no folder in data\.annotated has a split"):
        Trainer(recipe("train.evaluate_every=2"), data_folder, tmp_path)


@pytest.mark.parametrize(
    "hunger",
    [
        lambda: torch.empty(1 << 50, dtype=torch.uint8),
        lambda: np.zeros(1 << 50, np.uint8),
        lambda: cv2.resize(np.zeros((1 << 14, 1 << 14), np.uint8), (1 << 30, 1 << 20)),
    ],
    ids=["torch", "numpy", "opencv"],
)
def test_a_shortage_of_memory_while_measuring_is_noted(tmp_path: Path, hunger: Callable[[], Any]) -> None:
    def measure() -> dict[str, dict[str, float]]:
        hunger()
        return {}

    def broken() -> dict[str, dict[str, float]]:
        raise RuntimeError("shapes cannot be multiplied")

    with RunLog(tmp_path, TrainConfig(), 0) as log:
        log.validated(1, measure)
        with pytest.raises(RuntimeError, match="cannot be multiplied"):
            log.validated(2, broken)
    assert list(validations(tmp_path)) == [1]
    assert validations(tmp_path)[1]["validation_failed"]


def test_a_broken_validation_picture_leaves_the_run_as_it_is(tmp_path: Path) -> None:
    data = published(tmp_path / "CIHP")
    image = data / "Validation" / "Images" / "0000001.jpg"
    image.write_bytes(image.read_bytes()[:-40])  # its header is whole
    common = ("train.iterations=3", "train.ema_decay=0", "train.checkpoint_every=1000")
    Trainer(measuring(data, *common, "train.evaluate_every=1"), tmp_path, tmp_path / "broken").run()
    noted = validations(tmp_path / "broken")
    assert list(noted) == [1, 2, 3]
    assert {row["validation_failed"] for row in noted.values()} == {
        f"{image}: cut off, a JPEG without its end; the rest of it would be grey"
    }
    Trainer(measuring(data, *common), tmp_path, tmp_path / "plain").run()
    first, second = (load_model(tmp_path / run / "weights.safetensors")[0] for run in ("broken", "plain"))
    for (name, a), (_, b) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    write_report(tmp_path / "broken", [])
    assert (tmp_path / "broken" / "curves.png").read_bytes().startswith(b"\x89PNG")


class Interrupting(RawCihp):
    """Pictures during whose reading something comes: a signal, or the end."""

    def __init__(self, folder: Path, error: type[BaseException] | None = None) -> None:
        super().__init__(folder)
        self.error = error
        self.reads: list[int] = []

    def read(self, index: int) -> Record:
        self.reads.append(index)
        if self.error is not None:
            raise self.error
        signal.raise_signal(signal.SIGTERM)
        return super().read(index)


@pytest.mark.parametrize(("error", "wanted"), [(None, TrainingStopped), (KeyboardInterrupt, KeyboardInterrupt)])
def test_measuring_can_be_interrupted(
    error: type[BaseException] | None, wanted: type[BaseException], tmp_path: Path
) -> None:
    """A signal does not wait for the rest of the pictures, and whatever comes, what was learnt is saved."""
    data, out = published(tmp_path / "CIHP"), tmp_path / "run"
    overrides = ("train.iterations=4", "train.evaluate_every=2", "train.checkpoint_every=1000")
    trainer = Trainer(measuring(data, *overrides), tmp_path, out)
    assert trainer.validation is not None
    reader = Interrupting(data / "Validation", error)
    trainer.validation.readers = {reader.name: reader}
    with pytest.raises(wanted):
        trainer.run()
    assert reader.reads == [0]
    assert not validations(out)
    assert load_state(out / "state.pt")["step"] == 2
    resumed = Trainer(measuring(data, *overrides), tmp_path, out)
    assert resumed.resume()
    resumed.run()
    assert list(validations(out)) == [4]


@pytest.mark.parametrize("end", ["train.iterations=10", "train.time_budget_minutes=0.0001"])
def test_figures_of_the_last_step_that_a_signal_stopped_are_made_up_for(end: str, tmp_path: Path) -> None:
    data, out = published(tmp_path / "CIHP"), tmp_path / "run"
    config = measuring(data, "train.iterations=50", end, "train.evaluate_every=100")

    def opened() -> tuple[Trainer, Interrupting]:
        trainer, reader = Trainer(config, tmp_path, out), Interrupting(data / "Validation")
        trainer.resume()
        assert trainer.validation is not None
        trainer.validation.readers = {reader.name: reader}
        return trainer, reader

    for _ in range(2):  # the first is stopped as well while it makes up for them
        trainer, reader = opened()
        with pytest.raises(TrainingStopped, match=r"^SIGTERM asked to stop: step \d+ of .* the same command measures"):
            trainer.run()
        assert (trainer.finished is not None, reader.reads) == (True, [0])
        assert not validations(out)
    weights = (out / "weights.safetensors").read_bytes()
    for _ in range(2):
        trainer = Trainer(config, tmp_path, out)
        assert trainer.resume()
        trainer.run()
        assert list(validations(out)) == [trainer.step]
    assert (out / "weights.safetensors").read_bytes() == weights
    assert len((out / "log.jsonl").read_text().splitlines()) == 2  # the last step, and its figures, once
    board = EventAccumulator(str(out)).Reload()
    assert [event.step for event in board.Scalars("loss/parsing")] == [trainer.step]
    assert [event.step for event in board.Scalars("CIHP, Validation/box_ap")] == [trainer.step]


def test_splits_of_one_name_are_told_apart(tmp_path: Path) -> None:
    first, second = published(tmp_path / "a" / "CIHP"), published(tmp_path / "b" / "CIHP")
    config = measuring(f"[{first}, {second}]", "train.iterations=1", "train.evaluate_every=2")
    Trainer(config, tmp_path, tmp_path / "run").run()
    figures = validations(tmp_path / "run")[1]["validation"]
    assert isinstance(figures, dict)
    assert set(figures) == {f"{first}: CIHP, Validation", f"{second}: CIHP, Validation"}


def test_other_classes_to_measure_on_are_refused_at_once(tmp_path: Path) -> None:
    cihp, mhp = published(tmp_path / "CIHP"), tmp_path / "MHP"
    for folder, name in (("images", "0.jpg"), ("parsing_annos", "0_01_01.png")):
        (mhp / "val" / folder).mkdir(parents=True)
        cv2.imwrite(str(mhp / "val" / folder / name), np.full((96, 96, 3), 7, np.uint8))
    config = measuring(f"[{cihp}, {mhp}]", "train.evaluate_every=2")
    with pytest.raises(DatasetError, match=r"MHP: MHP v2, val has 59 part classes, and model\.parsing_classes is 20"):
        Trainer(config, tmp_path, tmp_path / "run")


def test_a_log_is_of_one_run(tmp_path: Path, data_folder: Path) -> None:
    def steps() -> list[int]:
        return [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]

    Trainer(recipe("train.iterations=1"), data_folder, tmp_path).run()
    resumed = Trainer(recipe("train.iterations=2"), data_folder, tmp_path)
    assert resumed.resume()
    resumed.run()
    assert steps() == [1, 2]
    Trainer(recipe("train.iterations=3"), data_folder, tmp_path, fresh=True).run()
    assert steps() == [3]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("source", ["photos", "annotated"])
def test_a_broken_picture_ends_a_run_with_one_sentence(
    source: str, workers: int, tmp_path: Path, data_folder: Path, rendered_folder: Path
) -> None:
    data = copied(data_folder, tmp_path / "data")
    for path in (*(data / "ccp/images").glob("*.jpg"), *(rendered_folder / "Images").glob("*.jpg")):
        path.write_bytes(b"no")
    config = recipe(f"train.workers={workers}", f"data.sources={{{source}: 1}}", f"data.annotated=[{rendered_folder}]")
    with pytest.raises(DatasetError) as caught:
        Trainer(config, data, tmp_path / "run").run()
    folder = data / "ccp/images" if source == "photos" else rendered_folder / "Images"
    assert str(caught.value).startswith(f"{folder}/0")
    assert "read" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_both_branches_learn_from_rendered_people(tmp_path: Path, data_folder: Path, rendered_folder: Path) -> None:
    config = recipe(
        "train.iterations=10",
        "train.densepose=true",
        "data.sources={rendered: 1.0, photos: 1.0}",
        f"data.rendered={rendered_folder}",
    )
    trainer = Trainer(config, data_folder, tmp_path / "run")
    before = trainer.model.densepose_head.up.deconv.weight.detach().clone()
    trainer.run()
    assert (trainer.model.densepose_head.up.deconv.weight != before).any()
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert {"iuv_coarse", "iuv_index", "iuv_uv", "iuv_possible", "parsing"} <= set(rows[-1])
    write_report(tmp_path / "run", sheet_pictures(config, data_folder))
    for name in ("curves.png", "sheet.png"):
        assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("branch", ["parsing", "densepose"])
def test_a_branch_alone(branch: str, tmp_path: Path, data_folder: Path, rendered_folder: Path) -> None:
    config = recipe(
        "train.iterations=4",
        "train.densepose=true",
        f"train.only={branch}",
        "data.sources={rendered: 1.0, photos: 1.0, empty: 1.0}",
        f"data.rendered={rendered_folder}",
    )
    save_weights(tmp_path / "weights.safetensors", build_model(config.model), config, {})
    trainer = Trainer(config, data_folder, tmp_path / "run", tmp_path / "weights.safetensors")
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.run()
    changed = {n for n, value in trainer.model.state_dict().items() if not torch.equal(value, before[n])}
    assert changed
    assert all(name.startswith(f"{branch}_") for name in changed)
