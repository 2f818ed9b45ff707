"""Files of others that this network cannot compute are refused, and what is wrong with them is named."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN, fcos_resnet50_fpn, retinanet_resnet50_fpn
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from tests.training.detectron2_reference import Variant
from tests.training.zoo_names import flat, of_torchvision, zoo_state
from training.checkpoint import load_model, load_recipe
from training.errors import CheckpointError
from training.importers.importer import import_checkpoint
from training.importers.layouts import translate
from training.model.parsing_rcnn import build_model

Tensors = dict[str, Tensor]


def normed_pyramid() -> Tensors:
    """detectron2 with FPN.NORM: GN."""
    state = flat(Variant().shapes())
    for name in [name for name in state if name.startswith("backbone.fpn_") and name.endswith(".bias")]:
        layer = name.removesuffix(".bias")
        state |= {f"{layer}.norm.weight": torch.ones(256), f"{layer}.norm.bias": state.pop(name)}
    return state


def convolved_boxes() -> Tensors:
    """detectron2 with four convolutions before the fully connected layers of its boxes."""
    layers = [f"roi_heads.box_head.conv{index}" for index in range(1, 5)]
    return flat(Variant().shapes()) | {f"{name}.weight": torch.zeros(256, 256, 3, 3) for name in layers}


@pytest.mark.parametrize(
    ("state", "named", "anew"),
    [
        (
            lambda: zoo_state(norms=True, even=True),
            "Parsing_RCNN.Head.asppv3.0.1.weight",
            {"parsing_trunk", "parsing_head"},
        ),
        (
            lambda: zoo_state(even=True) | {"SemSeg.Head.conv.weight": torch.zeros(2)},
            "SemSeg.Head.conv.weight",
            {"fpn"},
        ),
        (normed_pyramid, "backbone.fpn_lateral2.norm.weight", {"fpn"}),
        (convolved_boxes, "roi_heads.box_head.conv1.weight", {"box"}),
    ],
    ids=["zoo GN", "zoo SemSeg", "detectron2 GN", "detectron2 4conv"],
)
def test_half_of_a_layer_is_none(state, named: str, anew: set[str], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    torch.save(state(), tmp_path / "theirs.pth")
    own = tmp_path / "own.safetensors"
    arguments = ["import", str(tmp_path / "theirs.pth"), "-o", str(own)]
    refused = CliRunner().invoke(build(), arguments)
    assert refused.exit_code == 1
    assert f"theirs.pth: layers that this network does not have, without which {', '.join(sorted(anew))} would" in (
        refused.output
    )
    assert named in refused.output
    assert not own.exists()
    report = import_checkpoint(tmp_path / "theirs.pth", own, partial=True)
    assert named in report.misplaced
    model, recipe = load_model(own)
    assert recipe.train.parsing == (report.source == "zoo" and not anew & {"parsing_trunk", "parsing_head"})
    torch.manual_seed(0)
    new = build_model(recipe.model).state_dict()
    for name, value in model.state_dict().items():  # no number of the file, or all of them
        if name.split(".")[0] in anew | {"backbone"} and value.ndim == 4:
            assert torch.equal(value, new[name]) == (name.split(".")[0] in anew), name


def test_what_changes_nothing_may_be_left_out(tmp_path: Path) -> None:
    extra = {f"RPN.anchor_generator.cell_anchors.{level}": torch.zeros(3, 4) for level in range(5)}
    extra |= {"Parsing_RCNN.ParsingIoU.fc1.weight": torch.zeros(2), "Mask_RCNN.Head.conv1.weight": torch.zeros(2)}
    torch.save(zoo_state(even=True) | extra, tmp_path / "zoo.pth")
    report = import_checkpoint(tmp_path / "zoo.pth", tmp_path / "own.safetensors")
    assert report.written
    assert sum(report.unused.values()) == len(extra)
    assert "norms of its backbone: affine maps" in report.text()


def test_norms_of_detectron2_have_statistics() -> None:
    """Without them they are group norms, and no affine maps."""
    state = {name: value for name, value in flat(Variant().shapes()).items() if not name.endswith(("_mean", "_var"))}
    assert not any(name.endswith("running_var") for name in translate(state, "detectron2").tensors)


def test_a_bias_that_the_file_lacks_is_missing(tmp_path: Path) -> None:
    state = zoo_state(even=True)
    del state["Parsing_RCNN.Head.asppv3.1.0.bias"]
    torch.save(state, tmp_path / "zoo.pth")
    report = import_checkpoint(tmp_path / "zoo.pth", tmp_path / "own.safetensors")
    assert not report.written
    assert report.missing == ("parsing_trunk.aspp.branches.1.0.bias",)


@pytest.mark.parametrize("lacks", ["Parsing_RCNN.Output", "Parsing_RCNN.Head.conv_after"])
def test_a_branch_with_gaps_is_not_trained(lacks: str, tmp_path: Path) -> None:
    state = {name: value for name, value in zoo_state(even=True).items() if not name.startswith(lacks)}
    torch.save(state, tmp_path / "zoo.pth")
    assert import_checkpoint(tmp_path / "zoo.pth", tmp_path / "own.safetensors", partial=True).written
    assert not load_recipe(tmp_path / "own.safetensors").train.parsing


def test_other_classes_are_refused_in_a_sentence(tmp_path: Path) -> None:
    torch.save(zoo_state(classes=7, even=True), tmp_path / "zoo.pth")
    arguments = ["import", str(tmp_path / "zoo.pth"), "-o", str(tmp_path / "own.safetensors")]
    refused = CliRunner().invoke(build(), arguments)
    assert isinstance(refused.exception, SystemExit)
    assert refused.exit_code == 1
    assert "zoo.pth: this network cannot be the file's, where model.parsing_classes is 7: 7 classes are of no" in (
        refused.output
    )
    assert "(cihp has 20, mhp has 59), and a file of weights does not say what its classes are called" in refused.output
    assert "model.taxonomy" not in refused.output  # the command takes none
    state = flat(Variant().shapes())
    for key, shape in (("weight", (512, 5, 4, 4)), ("bias", (5,))):
        state[f"roi_heads.densepose_predictor.ann_index_lowres.{key}"] = torch.zeros(shape)
    torch.save(state, tmp_path / "d2.pth")
    with pytest.raises(CheckpointError, match=r"d2\.pth: .*model\.densepose_coarse is 5"):
        import_checkpoint(tmp_path / "d2.pth", tmp_path / "own.safetensors")


def test_tensors_of_other_dimensions_are_refused(tmp_path: Path) -> None:
    state = zoo_state(even=True) | {"Parsing_RCNN.Output.parsing_score_lowres.weight": torch.zeros(20)}
    torch.save(state, tmp_path / "zoo.pth")
    with pytest.raises(CheckpointError, match=r"zoo\.pth: a tensor has another number of dimensions"):
        import_checkpoint(tmp_path / "zoo.pth", tmp_path / "own.safetensors")


@pytest.mark.parametrize("builder", [retinanet_resnet50_fpn, fcos_resnet50_fpn])
def test_detectors_of_one_step_are_no_detectors_of_two(builder, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    torch.save(of_torchvision(lambda: builder(weights=None, weights_backbone=None)), tmp_path / "theirs.pth")
    with pytest.raises(CheckpointError, match=r"theirs\.pth: RetinaNet and FCOS"):
        import_checkpoint(tmp_path / "theirs.pth", tmp_path / "own.safetensors")


def test_names_of_maskrcnn_benchmark_are_known_for_whose_they_are(tmp_path: Path) -> None:
    names = ("module.backbone.body.stem.conv1.weight", "module.backbone.body.layer1.0.conv1.weight")
    torch.save({"model": {name: torch.zeros(2) for name in names}}, tmp_path / "theirs.pth")
    with pytest.raises(CheckpointError, match=r"theirs\.pth: names of maskrcnn-benchmark"):
        import_checkpoint(tmp_path / "theirs.pth", tmp_path / "own.safetensors")


def test_a_resnext_of_torchvision_is_one(tmp_path: Path) -> None:
    def detector() -> MaskRCNN:
        body = resnet_fpn_backbone(backbone_name="resnext101_32x8d", weights=None, trainable_layers=5)
        return MaskRCNN(body, num_classes=2)

    torch.save(of_torchvision(detector), tmp_path / "theirs.pth")
    report = import_checkpoint(tmp_path / "theirs.pth", tmp_path / "own.safetensors")
    assert report.written
    assert "eps 1e-05" in report.text()  # only those of torchvision's own weights have another
    assert load_recipe(tmp_path / "own.safetensors").model.backbone == "resnext101_32x8d"


@pytest.mark.parametrize(
    ("name", "block", "says"),
    [
        ("backbone.body.layer1.0.conv2.weight", "backbone.body.layer3", "groups of 4 channels"),
        ("Conv_Body.layer1.0.conv2.weight", "Conv_Body.layer3", "groups of 4 channels"),
        ("backbone.bottom_up.res2.0.conv2.weight", "backbone.bottom_up.res4", "groups of 4 channels"),
    ],
)
def test_another_resnext_is_none(name: str, block: str, says: str, tmp_path: Path) -> None:
    state = {f"{block}.{index}.conv1.weight": torch.zeros(1, 1, 1, 1) for index in range(6)}
    torch.save(state | {name: torch.zeros(128, 4, 3, 3)}, tmp_path / "theirs.pth")
    with pytest.raises(CheckpointError, match=says):
        import_checkpoint(tmp_path / "theirs.pth", tmp_path / "own.safetensors")


@pytest.mark.parametrize("out", ["theirs.safetensors", "own.json", "own.pth", "own"])
def test_weights_are_written_to_a_file_of_their_own(out: str, tmp_path: Path) -> None:
    file = tmp_path / "theirs.safetensors"
    file.write_bytes(b"as it was")
    refused = CliRunner().invoke(build(), ["import", str(file), "-o", str(tmp_path / out)])
    assert refused.exit_code == 1
    assert f"{tmp_path / out}: " in refused.output
    assert ("name another --out" if out == file.name else "written as .safetensors") in refused.output
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_bytes() == b"as it was"


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, ("ran",))


@pytest.mark.parametrize("content", [{"model": _Evil()}, torch.nn.Linear(1, 1)], ids=["command", "module"])
@pytest.mark.parametrize("form", ["archive", "pickle"])
def test_nobody_is_told_to_run_what_a_file_asks_for(content: object, form: str, tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    if form == "archive":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(CheckpointError, match=r"evil\.pth: not a file of weights alone") as refusal:
        import_checkpoint(path, tmp_path / "own.safetensors")
    said = str(refusal.value)
    assert not any(word in said for word in ("weights_only", "safe_globals", "Weights only load", "\n"))
    if form == "archive":
        assert ("mkdir" if isinstance(content, dict) else "Linear") in said
