"""Profiles of the branch: their sizes are those of the paper and of the released code, and every switch builds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from training.config import BranchConfig, load_config
from training.errors import ConfigError
from training.model.branch import BranchTrunk, ParsingHead
from training.model.parsing_rcnn import build_model
from training.optimisation import scaled

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


def branch(recipe: str, *profiles: str) -> BranchConfig:
    if not profiles:
        return load_config(CONFIGS / recipe).model.branch
    path = CONFIGS / "profiles" / f"{profiles[0]}.yaml"
    return load_config(path).model.branch


def cost(config: BranchConfig) -> tuple[float, float]:
    """(millions of parameters, billions of multiplications a RoI) of trunk and parsing head."""
    trunk = BranchTrunk(256, config).eval()
    head = ParsingHead(trunk.outputs, 20).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        out = head(trunk(torch.zeros(1, 256, config.roi_size, config.roi_size)))
    assert out.shape == (1, 20, 4 * config.roi_size, 4 * config.roi_size)
    parameters = sum(p.numel() for module in (trunk, head) for p in module.parameters())
    return parameters / 1e6, counter.get_total_flops() / 2e9


@pytest.mark.parametrize(
    ("recipe", "profile", "millions", "billions"),
    [
        ("paper/cihp_r50_1x.yaml", None, 10.9, 11.6),
        ("paper/cihp_r50_code_1x.yaml", None, 13.2, 13.3),
        ("", "gce-code", 13.2, 13.3),
        ("", "gce-fast", 16.42, 4.31),
        ("", "mask-head", 17.9, 3.5),
    ],
)
def test_sizes_of_the_profiles(recipe: str, profile: str | None, millions: float, billions: float) -> None:
    config = branch(recipe) if profile is None else branch(recipe, profile)
    parameters, multiplications = cost(config)
    assert parameters == pytest.approx(millions, abs=0.06)
    assert multiplications == pytest.approx(billions, abs=0.06)


RECIPES = sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent.name != "profiles")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_table_of_recipes_has_their_sizes(path: Path) -> None:
    name = path.relative_to(CONFIGS).with_suffix("").as_posix()
    (row,) = (line for line in (CONFIGS / "README.md").read_text().splitlines() if line.startswith(f"| `{name}` |"))
    stated = [float(cell) for cell in row.split("|")[2:5]]
    config = load_config(path)
    assert config.name == path.stem
    with torch.device("meta"):
        model = build_model(config.model)
        iuv = path.stem.startswith("densepose")
        trunk = model.densepose_trunk if iuv else model.parsing_trunk
        head = model.keypoint_head or (model.densepose_head if iuv else model.parsing_head)
        counter = FlopCounterMode(display=False)
        side = config.model.branch.roi_size
        with counter, torch.inference_mode():
            head.eval()(trunk.eval()(torch.zeros(1, config.model.fpn.channels, side, side)))
    whole = sum(p.numel() for p in model.parameters()) / 1e6
    own = sum(p.numel() for module in (trunk, head) for p in module.parameters()) / 1e6
    assert [whole, own, counter.get_total_flops() / 2e9] == pytest.approx(stated, abs=0.051)


def test_the_papers_schedule() -> None:
    config = load_config(CONFIGS / "paper" / "cihp_r50_3x.yaml").train
    assert (config.iterations, config.steps, config.batch_size) == (135_000, (105_000, 125_000), 16)
    assert scaled(config, 8).learning_rate == 0.02  # eight GPUs with two pictures each
    alone = scaled(config, 1)
    assert (alone.learning_rate, alone.iterations, alone.steps) == (0.0025, 1_080_000, (840_000, 1_000_000))


def test_the_fast_head_costs_a_quarter() -> None:
    full, fast = cost(branch("", "gce-code"))[1], cost(branch("", "gce-fast"))[1]
    assert 0.2 < fast / full < 0.35


SWITCHES = [
    "context=aspp",
    "context=non_local",
    "context=none",
    "convs_before=2",
    "convs=0",
    "roi_size=14",
    "levels=[2, 3, 4, 5]",
    "half=true",
    "norm=group",
]


@pytest.mark.parametrize("switch", SWITCHES)
def test_every_switch_builds_and_learns(switch: str) -> None:
    small = ("aspp_channels=8", "channels=16", "non_local_channels=8", "conv_channels=16", "convs=2")
    keys = [f"model.branch.{key}" for key in (*small, switch)]
    config = load_config(CONFIGS / "light.yaml", tuple(keys))
    model = build_model(config.model)
    pyramid = model.pyramid(torch.zeros(1, 3, 128, 96))
    rois = [torch.tensor([[0.0, 0.0, 50.0, 90.0], [10.0, 10.0, 60.0, 60.0]])]
    logits = model.parsing(model.roi_features(pyramid, rois))
    side = 4 * config.model.branch.roi_size
    assert logits.shape == (2, 20, side, side)
    logits.square().mean().backward()
    # a non-local block starts as the identity, so its inner convolutions learn from the second step on
    learning = [n for n, p in model.parsing_trunk.named_parameters() if p.grad is None]
    assert not learning


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_valid(path: Path) -> None:
    assert load_config(path).name


def test_bases_are_merged_and_circles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "low.yaml").write_text("name: low\nmodel: {share_trunk: true, branch: {convs: 1}}\n")
    (tmp_path / "high.yaml").write_text("base: low.yaml\nmodel: {branch: {channels: 8}}\n")
    config = load_config(tmp_path / "high.yaml")
    assert (config.name, config.model.share_trunk) == ("low", True)
    assert (config.model.branch.convs, config.model.branch.channels) == (1, 8)
    (tmp_path / "low.yaml").write_text("base: high.yaml\n")
    with pytest.raises(ConfigError, match="its own base"):
        load_config(tmp_path / "high.yaml")
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1")
    with pytest.raises(ConfigError, match="not YAML"):
        load_config(tmp_path / "broken.yaml")


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("train.learning_rat=1", r"train\.learning_rat: Extra inputs"),
        ("train.iterations=0", r"train\.iterations: .*greater than or equal to 1"),
        ("train.optimizer=adam", r"train\.optimizer: .*'adamw' or 'sgd'"),
        ("model.branch.roi_size=wide", r"model\.branch\.roi_size: .*integer"),
        ("data.sources={phots: 1}", r"data\.sources\.phots"),
        ("model.backbone.depth=50", r"model\.backbone is one value, and holds no depth"),
        ("train.steps=[1", r"'\[1' is not YAML"),
        ("train.steps", r"write it as section\.key=value"),
    ],
)
def test_a_wrong_key_is_named(item: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config(CONFIGS / "light.yaml", (item,))


@pytest.mark.parametrize(
    ("items", "says"),
    [
        (("train.iteration=5",), "--set 'train.iteration=5': train.iteration: Extra inputs"),
        (("train.seed=1", "train=3", "name=a"), "--set 'train=3': train: "),
        (("train.seed=0", "train.seed=-1"), "--set 'train.seed=-1': train.seed: "),
        (("train={seed: -1}",), "--set 'train={seed: -1}': train.seed: "),
        (("name=a", "train.seed=-1", "train.seed=0", "name=[]"), "--set 'name=[]': name: "),
        (("train=3", "train.seed=1"), "--set 'train.seed=1': train is one value by --set 'train=3', and holds no seed"),
        (("=3",), "--set '=3': write it as section.key=value"),
        (("train.=3",), "--set 'train.=3': write it as section.key=value"),
        # of levels and sizes, one each, the levels are set
        (("model.rpn.levels=[2, 3]",), "own.yaml with --set 'model.rpn.levels=[2, 3]': model.rpn.anchor_sizes: "),
    ],
)
def test_a_wrong_override_is_named_and_not_the_file(items: tuple[str, ...], says: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("name: own\n")
    with pytest.raises(ConfigError) as refusal:
        load_config(path, items)
    assert str(refusal.value).removeprefix(f"{tmp_path}/").startswith(says)
    path.write_text("train: {iterations: 0}\n")
    with pytest.raises(ConfigError, match=r"^.*own\.yaml: train\.iterations: "):
        load_config(path, ("train.seed=1",))


@pytest.mark.parametrize("content", ["[1, 2]", "base: 3", "base: [3]", "just words"])
def test_files_that_are_no_recipes_are_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"odd\.yaml: a recipe is"):
        load_config(tmp_path / "odd.yaml")
