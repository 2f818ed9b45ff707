"""Weights begin a network that computes what they were made for, by the recipe beside them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from tests.training.tiny import tiny_recipe
from training.checkpoint import compare_recipes, load_weights, save_weights
from training.config import Config, load_config
from training.errors import CheckpointError
from training.importers.layouts import translate
from training.importers.translation import recipe_of
from training.model.parsing_rcnn import build_model

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "training" / "configs"
TRAINED: dict[str, Any] = {"parsing": True, "densepose": True}


def written(path: Path, recipe: Config) -> Path:
    """The recipe beside weights, which are nothing that is compared."""
    save_weights(path, torch.nn.Linear(1, 1), recipe, {})
    return path


def test_settings_that_shapes_do_not_show_are_named_and_made_equal(tmp_path: Path) -> None:
    made = tiny_recipe(TRAINED, pixel_mean=[122.5, 115.5, 102.5])
    weights = tmp_path / "zoo.safetensors"
    save_weights(weights, build_model(made.model), made, {})
    (tmp_path / "own.json").write_text(tiny_recipe(TRAINED, pretrained=False).model_dump_json())  # JSON is YAML
    arguments = ["train", str(tmp_path / "own.json"), "--warm-start", str(weights), "--out", str(tmp_path / "run")]
    arguments += ["--data", str(tmp_path / "no data")]
    refused = CliRunner().invoke(build(), arguments)
    assert refused.exit_code == 1
    assert f"{weights}: weights of a network that computes otherwise" in refused.output
    assert "model.pixel_mean is [122.5,115.5,102.5] there and [123.675,116.28,103.53] here" in refused.output
    (setting,) = re.findall(r"--set '([^']+)'", refused.output)
    equal = CliRunner().invoke(build(), [*arguments, "--set", setting])
    assert "computes otherwise" not in equal.output
    assert "no data" in equal.output  # what comes next
    weights.with_suffix(".json").unlink()
    unknown = CliRunner().invoke(build(), arguments)
    assert "computes otherwise" not in unknown.output


@pytest.mark.parametrize(
    "setting",
    [
        "stride_in_1x1=true",
        "pixel_mean=[1.0,2.0,3.0]",
        "rpn.anchor_sizes=[16.0,64.0,128.0,256.0,512.0]",
        "rpn.ratios=[0.5,1.0,3.0]",
        "rpn.anchor_offset=0.0",
        "rpn.round_anchors=true",
        "rpn.round_at_stride=true",
        "branch.roi_size=14",
        "branch.levels=[3]",
        "branch.aspp_rates=[6,12,56]",
        "branch.pool_keys=true",
    ],
)
def test_every_such_setting_counts(setting: str, tmp_path: Path) -> None:
    recipe = CONFIGS / "paper" / "cihp_r50_1x.yaml"
    weights = written(tmp_path / "weights.safetensors", load_config(recipe, (f"model.{setting}",)))
    with pytest.raises(CheckpointError, match=re.escape(f"model.{setting}")):
        compare_recipes(weights, load_config(recipe))
    compare_recipes(weights, load_config(recipe, (f"model.{setting}",)))


def test_a_branch_that_was_not_trained_does_not_count(tmp_path: Path) -> None:
    made = load_config(CONFIGS / "paper" / "cihp_r50_1x.yaml", ("model.branch.roi_size=14", "train.parsing=false"))
    compare_recipes(
        written(tmp_path / "weights.safetensors", made), load_config(CONFIGS / "paper" / "cihp_r50_1x.yaml")
    )


def test_what_the_zoo_needs_is_said(tmp_path: Path) -> None:
    weights = written(tmp_path / "zoo.safetensors", recipe_of("zoo", "zoo", {}, parsing=True))
    with pytest.raises(CheckpointError) as refusal:
        compare_recipes(weights, load_config(CONFIGS / "paper" / "cihp_r50_code_1x.yaml"))
    settings = re.findall(r"--set '?([^ ')]+)", str(refusal.value))
    assert {item.split("=")[0] for item in settings} == {
        "model.stride_in_1x1", "model.pixel_mean", "model.rpn.round_at_stride",
    }  # fmt: skip
    compare_recipes(weights, load_config(CONFIGS / "paper" / "cihp_r50_code_1x.yaml", tuple(settings)))


def test_what_a_detector_of_torchvision_needs_is_what_the_manual_says(tmp_path: Path) -> None:
    found = {f"backbone.body.layer3.{index}.conv1.weight": torch.zeros(1) for index in range(6)}
    weights = written(tmp_path / "tv.safetensors", translate(found, "torchvision").recipe)
    recipe = CONFIGS / "paper" / "cihp_r50_1x.yaml"
    (command,) = re.findall(r"--warm-start weights/tv.*\n(.*)", (ROOT / "training" / "README.md").read_text())
    settings = tuple(re.findall(r"--set (\S+)", command))
    assert len(settings) == 2
    with pytest.raises(CheckpointError, match=r"round_anchors is true there"):
        compare_recipes(weights, load_config(recipe))
    compare_recipes(weights, load_config(recipe, settings))


@pytest.mark.parametrize("recipe", ["light", "light_gpu"])
def test_the_shipped_weights_begin_the_shipped_recipes(recipe: str) -> None:
    compare_recipes(ROOT / "model_repository", load_config(CONFIGS / f"{recipe}.yaml"))


def test_two_trunks_are_not_made_one(tmp_path: Path) -> None:
    weights = written(tmp_path / "weights.safetensors", tiny_recipe(TRAINED))
    with pytest.raises(CheckpointError, match=r"--set model\.share_trunk=false"):
        compare_recipes(weights, tiny_recipe(TRAINED, share_trunk=True))
    compare_recipes(written(tmp_path / "one.safetensors", tiny_recipe(TRAINED, share_trunk=True)), tiny_recipe(TRAINED))


@pytest.mark.parametrize(("before", "after"), [(20, 59), (59, 20)])
def test_weights_of_the_other_taxonomy_begin_all_but_its_classes(tmp_path: Path, before: int, after: int) -> None:
    made, recipe = (tiny_recipe(TRAINED, parsing_classes=classes, pretrained=False) for classes in (before, after))
    weights = tmp_path / "weights.safetensors"
    save_weights(weights, build_model(made.model), made, {})
    given, network = load_file(weights), build_model(recipe.model)
    own = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(CheckpointError, match="do not fit this recipe"):  # not a warm start
        load_weights(weights, network)
    anew = load_weights(weights, network, other_classes=True)
    assert anew
    assert all(name.startswith("parsing_head.") for name in anew)
    for name, value in network.state_dict().items():
        assert torch.equal(value, (own if name in anew else given)[name]), name
    (tmp_path / "own.json").write_text(recipe.model_dump_json())
    arguments = ["train", str(tmp_path / "own.json"), "--warm-start", str(weights), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(build(), [*arguments, "--data", str(tmp_path / "no data")])
    assert f"{weights} has other part classes: {', '.join(anew)} begin anew, of {after}" in result.output
    assert "do not fit" not in result.output


def test_a_head_of_another_form_is_refused(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    made = tiny_recipe(TRAINED)
    save_weights(weights, build_model(made.model), made, {})
    branch = made.model.branch.model_dump(mode="json") | {"conv_channels": 16}
    with pytest.raises(CheckpointError, match="do not fit this recipe"):
        load_weights(
            weights, build_model(tiny_recipe(TRAINED, branch=branch, parsing_classes=59).model), other_classes=True
        )


def test_places_that_are_no_checkpoint_are_named_with_the_one_that_is(tmp_path: Path) -> None:
    run, config = tmp_path / "run", tiny_recipe({})
    run.mkdir()
    save_weights(run / "weights.safetensors", build_model(config.model), config, {})
    (run / "state.pt").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for path, says in (
        (tmp_path / "nope", "no such checkpoint"),
        (run, f"a folder without the graphs of a model repository; take {run / 'weights.safetensors'}"),
        (run / "state.pt", f"what a run goes on from; take {run / 'weights.safetensors'}"),
        (tmp_path / "empty", "take the weights.safetensors of a run, or a model repository"),
    ):
        for command in (["export", str(path)], ["evaluate", "--checkpoint", str(path)]):
            done = CliRunner().invoke(build(), [*command, "--out", str(tmp_path / "out")])
            assert done.exit_code == 1, done.output
            assert f"error: {path}: {says}"[:70] in done.output
            assert says in done.output.replace("\n", " ")
        with pytest.raises(CheckpointError) as refusal:
            load_weights(path, build_model(config.model), other_classes=True)
        assert str(refusal.value).startswith(f"{path}: ")
        assert says in str(refusal.value)
