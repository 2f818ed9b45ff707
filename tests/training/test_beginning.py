"""What a run begins from: named beside its weights, needed by `train.only`, and what is trained because of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from parsing_rcnn.cli import build
from parsing_rcnn.repository import CARD
from tests.training.helpers import measuring, published, recipe
from training.beginning import recorded
from training.checkpoint import load_recipe, save_weights
from training.config import Config
from training.engine import TorchAnalyzer, load_checkpoint
from training.errors import CheckpointError
from training.model.parsing_rcnn import build_model

SHIPPED = Path(__file__).parents[2] / "model_repository"


def trained(path: Path, *overrides: str) -> Path:
    """Weights of a run with such a recipe."""
    made = recipe("model.pretrained=false", *overrides)
    path.parent.mkdir()
    save_weights(path, build_model(made.model), made, {})
    return path


def train(config: Config, data: Path, out: Path, *words: str) -> Result:
    """`parsing-rcnn train` of a recipe."""
    path = out.parent / "recipe.json"
    path.write_text(config.model_dump_json())  # JSON is YAML
    return CliRunner().invoke(build(), ["train", str(path), "--data", str(data), "--out", str(out), *words])


@pytest.mark.parametrize("only", ["detector", "parsing", "densepose"])
def test_a_part_alone_needs_weights_of_the_rest(only: str, tmp_path: Path, data_folder: Path) -> None:
    config = recipe("train.iterations=1", "train.densepose=true", f"train.only={only}")
    refused = train(config, data_folder, tmp_path / "run")
    assert refused.exit_code == 1
    assert f"error: train.only={only} " in refused.output
    assert "--warm-start" in refused.output
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_a_part_alone_goes_on_without_the_weights_that_it_began_from(tmp_path: Path, data_folder: Path) -> None:
    weights = trained(tmp_path / "first" / "weights.safetensors")
    begun = train(
        recipe("train.iterations=1", "train.only=parsing"), data_folder, tmp_path / "run", f"--warm-start={weights}"
    )
    assert begun.exit_code == 0, begun.output
    weights.unlink()
    longer = recipe("train.iterations=2", "train.only=parsing")
    gone_on = train(longer, data_folder, tmp_path / "run")
    assert gone_on.exit_code == 0, gone_on.output
    assert "at step 1" in gone_on.output
    afresh = train(longer, data_folder, tmp_path / "run", "--fresh")
    assert afresh.exit_code == 1
    assert "--warm-start" in afresh.output


def test_the_weights_that_the_command_named_are_recorded(tmp_path: Path, data_folder: Path) -> None:
    weights, run = trained(tmp_path / "first" / "weights.safetensors"), tmp_path / "run"

    def said() -> str | None:
        assert str(tmp_path) not in (run / "weights.json").read_text()
        name: str | None = json.loads((run / "weights.json").read_text())["config"]["train"]["warm_start"]
        return name

    other = recipe("train.iterations=1", "train.warm_start=runs/other/weights.safetensors")
    assert train(other, data_folder, run, f"--warm-start={weights}").exit_code == 0
    assert said() == "first/weights.safetensors"
    for steps, words in ((2, ()), (3, ("--warm-start=none",))):  # what goes on has begun
        assert train(recipe(f"train.iterations={steps}"), data_folder, run, *words).exit_code == 0
        assert json.loads((run / "weights.json").read_text())["step"] == steps
        assert said() == "first/weights.safetensors"
    assert train(recipe("train.iterations=1"), data_folder, run, "--fresh").exit_code == 0
    assert said() is None


@pytest.mark.parametrize("says", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_another_head_is_trained_as_the_weights_have_it(
    before: bool, says: bool, tmp_path: Path, data_folder: Path
) -> None:
    weights = trained(tmp_path / "first" / "weights.safetensors", f"train.densepose={before}")
    for steps, words in ((1, (f"--warm-start={weights}",)), (2, ())):
        config = recipe(f"train.iterations={steps}", f"train.densepose={says}", "train.only=parsing")
        result = train(config, data_folder, tmp_path / "run", *words)
        assert result.exit_code == 0, result.output
        assert (
            load_recipe(tmp_path / "run" / "weights.safetensors").train.densepose == before
        )  # an export's card says so
        analyzer = TorchAnalyzer(*load_checkpoint(tmp_path / "run" / "weights.safetensors"))
        assert analyzer.info.tasks == {"parsing": True, "densepose": before}


def test_a_head_that_begins_anew_and_learns_nothing_is_not_trained(tmp_path: Path, data_folder: Path) -> None:
    weights = trained(tmp_path / "first" / "weights.safetensors", "model.parsing_classes=59", "train.densepose=true")
    config = recipe("train.iterations=1", "train.densepose=true", "train.only=detector")
    result = train(config, data_folder, tmp_path / "run", f"--warm-start={weights}")
    assert result.exit_code == 0, result.output
    own = load_recipe(tmp_path / "run" / "weights.safetensors").train
    assert (own.parsing, own.densepose) == (False, True)


def test_the_card_of_a_repository_says_what_is_trained(tmp_path: Path) -> None:
    config = recipe("train.densepose=true", "train.only=detector")
    both = recorded(config, SHIPPED, other_classes=False).train
    assert (both.parsing, both.densepose, both.warm_start) == (True, True, Path("model_repository"))
    card = json.loads((SHIPPED / CARD).read_text())
    card["tasks"]["densepose"]["trained"] = False
    (tmp_path / CARD).write_text(json.dumps(card))
    one = recorded(config, tmp_path, other_classes=False).train
    assert (one.parsing, one.densepose) == (True, False)
    (tmp_path / CARD).write_text(json.dumps(card | {"tasks": ["parsing"]}))
    with pytest.raises(CheckpointError, match=r"model_card\.json: tasks"):
        recorded(config, tmp_path, other_classes=False)


def test_weights_without_a_recipe_are_taken_as_they_are(tmp_path: Path) -> None:
    weights = trained(tmp_path / "first" / "weights.safetensors", "train.densepose=false")
    weights.with_suffix(".json").unlink()
    assert recorded(recipe("train.densepose=true", "train.only=parsing"), weights, other_classes=False).train.densepose


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (("train.iterations=1",), "step 1 of 1"),
        (
            ("train.iterations=50", "train.time_budget_minutes=0.0001"),
            "step 1 of 50, after train.time_budget_minutes=0.0001",
        ),
    ],
)
def test_the_same_command_again_leaves_a_finished_run_as_it_is(
    end: tuple[str, ...], said: str, tmp_path: Path, data_folder: Path
) -> None:
    run = tmp_path / "run"

    def files() -> dict[str, tuple[bytes, int]]:
        return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in run.iterdir() if p.suffix != ".png"}

    assert train(recipe(*end), data_folder, run).exit_code == 0
    before = files()
    assert {"weights.safetensors", "weights.json", "state.pt", "log.jsonl"} <= set(before)
    again = train(recipe(*end), data_folder, run)
    assert again.exit_code == 0, again.output
    assert f"{run} is finished, at {said}:" in again.output
    assert "resuming" not in again.output
    assert files() == before
    for absent in (("weights.safetensors",), ("weights.json",)):  # a copy without them
        for name in absent:
            (run / name).unlink()
        completed = train(recipe(*end), data_folder, run)
        assert completed.exit_code == 0, completed.output
        assert files()["weights.safetensors"][0] == before["weights.safetensors"][0]
        assert json.loads(files()["weights.json"][0]) == json.loads(before["weights.json"][0])
    longer = train(recipe("train.iterations=2"), data_folder, run)
    assert f"resuming {run} at step 1" in longer.output
    assert json.loads((run / "weights.json").read_text())["step"] == 2


def test_of_a_finished_run_only_its_state_has_to_be_taken_along(tmp_path: Path, data_folder: Path) -> None:
    once, copy = recipe("train.iterations=1"), tmp_path / "copy"
    assert train(once, data_folder, tmp_path / "run").exit_code == 0
    copy.mkdir()
    shutil.copy(tmp_path / "run" / "state.pt", copy)
    again = train(once, data_folder, copy)
    assert again.exit_code == 0, again.output
    assert f"there is no curves.png: it is drawn from {copy / 'log.jsonl'}, which is not there" in again.output
    assert {"weights.safetensors", "weights.json", "sheet.png"} <= {path.name for path in copy.iterdir()}


def test_a_fresh_run_that_ends_before_its_first_checkpoint_is_not_taken_for_the_one_before(
    tmp_path: Path, data_folder: Path
) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(data_folder, data)
    assert train(recipe("train.iterations=1"), data, run).exit_code == 0
    assert train(recipe("data.sources={rendered: 1}"), data, run, "--fresh").exit_code == 1  # there are none
    longer = recipe("train.iterations=2")
    assert f"resuming {run} at step 1" in train(longer, data, run).output  # that one did not begin
    for path in (*(data / "ccp/images").iterdir(), *(data / "groups/images").iterdir()):
        path.write_bytes(b"no")
    longer = recipe("train.iterations=3")
    assert train(longer, data, run, "--fresh").exit_code == 1
    shutil.rmtree(data)
    shutil.copytree(data_folder, data)
    gone_on = train(longer, data, run)
    assert gone_on.exit_code == 0, gone_on.output
    assert "resuming" not in gone_on.output
    assert json.loads((run / "weights.json").read_text())["step"] == 3


def test_no_time_is_left_once_the_budget_is_over(tmp_path: Path, data_folder: Path) -> None:
    budget = recipe("train.iterations=50", "train.time_budget_minutes=0.0001")
    result = train(budget, data_folder, tmp_path / "run")
    assert " eta 0 min" in result.output


def test_a_run_that_measures_what_it_trains_goes_on_with_it(tmp_path: Path, data_folder: Path) -> None:
    """The labels that it is measured on have fewer classes than the parsing head, which the weights never trained."""
    data, both = published(tmp_path / "cihp"), ("train.densepose=true", "model.parsing_classes=59")
    weights = trained(tmp_path / "first" / "weights.safetensors", "train.parsing=false", *both)
    given = ("train.only=detector", *both, "train.evaluate_every=1", "train.evaluate_pictures=1")
    warm = (f"--warm-start={weights}",)
    for count, words, told in ((1, warm, "box_ap"), (2, (), "at step 1"), (2, (), "is finished, at step 2 of 2")):
        done = train(measuring(data, f"train.iterations={count}", *given), data_folder, tmp_path / "run", *words)
        assert done.exit_code == 0, done.output
        assert told in done.output
