"""Weights of others compute here what they compute there."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2, keypointrcnn_resnet50_fpn, maskrcnn_resnet50_fpn
from torchvision.models.detection.image_list import ImageList
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from training.checkpoint import CheckpointError, load_model
from training.importers.importer import import_checkpoint
from training.model.box_branch import roi_align_level

Tensors = dict[str, Tensor]


def relative(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / a.abs().max()).item()


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    """Statistics of norms and biases as a trained network has them: not zeros and ones."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif name.endswith(("running_mean", "bias")):
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
        elif name.endswith("cls_logits.weight") or "box_predictor" in name:
            tensor.copy_(0.05 * torch.randn(tensor.shape, generator=generator))
    return model.eval()


@pytest.mark.parametrize("builder", [keypointrcnn_resnet50_fpn, maskrcnn_resnet50_fpn])
def test_torchvision_detectors_find_the_same(tmp_path: Path, builder) -> None:  # type: ignore[no-untyped-def]
    theirs = randomised(builder(weights=None, weights_backbone=None))
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    report = import_checkpoint(tmp_path / "theirs.pth", tmp_path / "own.safetensors")
    assert report.source == "torchvision"
    assert not report.missing
    assert not report.unfit
    assert all(name.startswith("roi_heads.") for name in report.unused)
    own, config = load_model(tmp_path / "own.safetensors")
    assert config.model.backbone == "resnet50"

    picture = torch.rand(1, 3, 256, 320, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        normal = (picture - torch.tensor(theirs.transform.image_mean).view(1, 3, 1, 1)) / torch.tensor(
            theirs.transform.image_std
        ).view(1, 3, 1, 1)
        their_features = list(theirs.backbone(normal).values())
        pyramid = own.pyramid(picture * 255)
        for level, feature in enumerate(their_features, 2):
            assert relative(feature, pyramid[level]) <= 1e-5
        images = ImageList(normal, [(256, 320)])
        named = dict(zip(("0", "1", "2", "3", "pool"), their_features, strict=True))
        (expected,), _ = theirs.rpn(images, named)
        logits, deltas, anchors = own.rpn(pyramid)
        found = own.rpn.propose([x[0] for x in logits], [x[0] for x in deltas], anchors, (256, 320), 1000)
        assert len(found) == len(expected)
        # nearly equal scores may change places
        assert torch.cdist(expected, found, p=torch.inf).min(1).values.max() < 0.05
        pooled = theirs.roi_heads.box_roi_pool(named, [expected], [(256, 320)])
        scores, _ = theirs.roi_heads.box_predictor(theirs.roi_heads.box_head(pooled))
        assert relative(scores[:, :2], own.box(pyramid, [expected])[0]) <= 1e-5


def test_frozen_norms_without_eps_stay_what_they_are(tmp_path: Path) -> None:
    theirs = randomised(keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None))
    state = {k: v for k, v in theirs.state_dict().items() if not k.endswith("num_batches_tracked")}
    key = "backbone.body.layer1.0.bn1.running_var"
    state[key] = torch.full_like(state[key], 1e-6)  # where eps decides
    torch.save(state, tmp_path / "theirs.pth")
    assert "eps 0" in import_checkpoint(tmp_path / "theirs.pth", tmp_path / "own.safetensors").text()
    own, _ = load_model(tmp_path / "own.safetensors")
    norm = own.backbone.stages[0][0].bn1
    x = torch.randn(1, 64, 4, 4)
    weight, bias = state[key.replace("running_var", "weight")], state[key.replace("running_var", "bias")]
    mean = state[key.replace("running_var", "running_mean")]
    wanted = (x - mean.view(1, -1, 1, 1)) / 1e-3 * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)
    assert relative(wanted, norm.eval()(x)) <= 1e-5


def d2_shapes(*, deep_lab: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of detectron2's checkpoints."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, *shape: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = shape
        if bias:
            shapes[f"{name}.bias"] = shape[:1]

    def norm(name: str, width: int) -> None:
        for key in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{key}"] = (width,)

    bottom = "backbone.bottom_up"
    layer(f"{bottom}.stem.conv1", 64, 3, 7, 7, bias=False)
    norm(f"{bottom}.stem.conv1.norm", 64)
    before = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        inner, outer = 64 * 2**stage, 256 * 2**stage
        for block in range(blocks):
            base = f"{bottom}.res{stage + 2}.{block}"
            convs = [("conv1", inner, before, 1), ("conv2", inner, inner, 3), ("conv3", outer, inner, 1)]
            convs += [("shortcut", outer, before, 1)] if block == 0 else []
            for name, outputs, inputs, kernel in convs:
                layer(f"{base}.{name}", outputs, inputs, kernel, kernel, bias=False)
                norm(f"{base}.{name}.norm", outputs)
            before = outer
        layer(f"backbone.fpn_lateral{stage + 2}", 256, outer, 1, 1)
        layer(f"backbone.fpn_output{stage + 2}", 256, 256, 3, 3)
    layer("proposal_generator.rpn_head.conv", 256, 256, 3, 3)
    layer("proposal_generator.rpn_head.objectness_logits", 3, 256, 1, 1)
    layer("proposal_generator.rpn_head.anchor_deltas", 12, 256, 1, 1)
    _d2_heads(shapes, layer, deep_lab=deep_lab)
    return shapes


def _d2_heads(shapes: dict[str, tuple[int, ...]], layer: Callable[..., None], *, deep_lab: bool) -> None:
    for level in range(5):
        shapes[f"proposal_generator.anchor_generator.cell_anchors.{level}"] = (3, 4)
    layer("roi_heads.box_head.fc1", 1024, 256 * 49)
    layer("roi_heads.box_head.fc2", 1024, 1024)
    layer("roi_heads.box_predictor.cls_score", 2, 1024)
    layer("roi_heads.box_predictor.bbox_pred", 4, 1024)
    for name in ("p2.0", "p3.0", "p4.0", "p4.2", "p5.0", "p5.2", "p5.4"):
        layer(f"roi_heads.decoder.{name}", 256, 256, 3, 3)
    layer("roi_heads.decoder.predictor", 256, 256, 1, 1)
    head = "roi_heads.densepose_head"
    if deep_lab:
        for branch, kernel in enumerate((1, 3, 3, 3)):
            layer(f"{head}.ASPP.convs.{branch}.0", 256, 256, kernel, kernel, bias=False)
            layer(f"{head}.ASPP.convs.{branch}.1", 256)
        layer(f"{head}.ASPP.convs.4.1", 256, 256, 1, 1, bias=False)
        layer(f"{head}.ASPP.convs.4.2", 256)
        layer(f"{head}.ASPP.project.0", 256, 1280, 1, 1, bias=False)
    for index in range(8):
        layer(f"{head}.body_conv_fcn{index + 1}", 512, 512 if index else 256, 3, 3, bias=not deep_lab)
        if deep_lab:
            layer(f"{head}.body_conv_fcn{index + 1}.norm", 512)
    for name, outputs in (("ann_index", 2), ("index_uv", 25), ("u", 25), ("v", 25)):
        shapes[f"roi_heads.densepose_predictor.{name}_lowres.weight"] = (512, outputs, 4, 4)
        shapes[f"roi_heads.densepose_predictor.{name}_lowres.bias"] = (outputs,)


def d2_state(*, deep_lab: bool) -> Tensors:
    """Random values of such shapes, of sizes that neither vanish nor grow on their way."""
    shapes = d2_shapes(deep_lab=deep_lab)
    generator = torch.Generator().manual_seed(3)
    state = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            value = value * (2 / np.prod(shape[1:])) ** 0.5
        elif name.endswith("norm.weight") or (name.endswith("running_var")):
            value = 0.75 + 0.1 * value.clamp(-2, 2)
        else:
            value = 0.1 * value
        state[name] = value
    return state


def d2_densepose(state: Tensors, pyramid: list[Tensor], rois: Tensor, *, deep_lab: bool) -> list[Tensor]:
    """detectron2's decoder, head and predictor, by its own names."""

    def conv(name: str, x: Tensor, **options: int) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)

    def group(name: str, x: Tensor) -> Tensor:
        return F.group_norm(x, 32, state[f"{name}.weight"], state[f"{name}.bias"])

    total: Tensor | int = 0
    for level, feature in enumerate(pyramid, 2):
        x = feature
        for step in range(max(1, level - 2)):
            x = F.relu(conv(f"roi_heads.decoder.p{level}.{2 * step}", x, padding=1))
            if level > 2:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + x
    x = roi_align_level(conv("roi_heads.decoder.predictor", total), [rois], 28, 2)  # type: ignore[arg-type]
    head = "roi_heads.densepose_head"
    if deep_lab:
        parts = []
        for branch, rate in enumerate((0, 6, 12, 56)):
            y = conv(f"{head}.ASPP.convs.{branch}.0", x, padding=rate, dilation=max(rate, 1))
            parts.append(F.relu(group(f"{head}.ASPP.convs.{branch}.1", y)))
        y = conv(f"{head}.ASPP.convs.4.1", F.adaptive_avg_pool2d(x, 1))
        y = F.relu(group(f"{head}.ASPP.convs.4.2", y))
        parts.append(F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False))
        x = F.relu(conv(f"{head}.ASPP.project.0", torch.cat(parts, 1)))
    for index in range(8):
        x = conv(f"{head}.body_conv_fcn{index + 1}", x, padding=1)
        x = F.relu(group(f"{head}.body_conv_fcn{index + 1}.norm", x) if deep_lab else x)
    maps = []
    for name in ("ann_index", "index_uv", "u", "v"):
        key = f"roi_heads.densepose_predictor.{name}_lowres"
        y = F.conv_transpose2d(x, state[f"{key}.weight"], state[f"{key}.bias"], stride=2, padding=1)
        maps.append(F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False))
    return maps


def d2_backbone(state: Tensors, picture: Tensor) -> list[Tensor]:
    """detectron2's ResNet-50 (BGR, stride in the 1x1) and pyramid, by its own names."""

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        y = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(y, *(state[f"{name}.norm.{key}"] for key in keys))

    mean = torch.tensor((103.53, 116.28, 123.675)).view(1, 3, 1, 1)
    bottom = "backbone.bottom_up"
    x = F.relu(conv(f"{bottom}.stem.conv1", picture[:, [2, 1, 0]] - mean, 2))
    x = F.max_pool2d(x, 3, 2, 1)
    maps = []
    for stage, blocks in enumerate((3, 4, 6, 3), 2):
        for block in range(blocks):
            base, stride = f"{bottom}.res{stage}.{block}", 2 if block == 0 and stage > 2 else 1
            y = F.relu(conv(f"{base}.conv1", x, stride))
            y = conv(f"{base}.conv3", F.relu(conv(f"{base}.conv2", y)))
            x = F.relu(y + (conv(f"{base}.shortcut", x, stride) if block == 0 else x))
        maps.append(x)
    found: list[Tensor] = []
    top: Tensor | None = None
    for level in range(5, 1, -1):
        lateral = F.conv2d(maps[level - 2], *(state[f"backbone.fpn_lateral{level}.{k}"] for k in ("weight", "bias")))
        top = lateral if top is None else lateral + F.interpolate(top, scale_factor=2.0, mode="nearest")
        weights = (state[f"backbone.fpn_output{level}.{k}"] for k in ("weight", "bias"))
        found.insert(0, F.conv2d(top, *weights, padding=1))
    return found


@pytest.mark.parametrize("deep_lab", [True, False])
def test_detectron2_densepose_computes_the_same(tmp_path: Path, deep_lab: bool) -> None:
    state = d2_state(deep_lab=deep_lab)
    with (tmp_path / "model_final.pkl").open("wb") as file:
        document = {"model": {k: v.numpy() for k, v in state.items()}, "__author__": "x", "iteration": np.int64(3)}
        pickle.dump(document, file)
    report = import_checkpoint(tmp_path / "model_final.pkl", tmp_path / "own.safetensors")
    assert report.source == "detectron2"
    assert not report.missing
    assert not report.unfit
    assert not report.unused
    assert report.fresh == ("parsing_head", "parsing_trunk")
    own, config = load_model(tmp_path / "own.safetensors")
    assert config.model.densepose_coarse == 2

    picture = 255 * torch.rand(1, 3, 128, 160, generator=torch.Generator().manual_seed(4))
    rois = torch.tensor([[8.0, 10, 100, 120], [30, 0, 160, 128]])
    with torch.inference_mode():
        expected = d2_backbone(state, picture)
        pyramid = own.pyramid(picture)
        for level, feature in enumerate(expected, 2):
            assert relative(feature, pyramid[level]) <= 1e-4
        maps = own.densepose(own.roi_features(pyramid, [rois]))
        for wanted, found in zip(d2_densepose(state, expected, rois, deep_lab=deep_lab), maps, strict=True):
            assert found.shape == wanted.shape
            assert relative(wanted, found) <= 1e-3
        scores, _ = own.box(pyramid, [rois])
    assert torch.equal(own.box.score.weight, state["roi_heads.box_predictor.cls_score.weight"].flip(0))
    assert scores.shape == (2, 2)
    # anchors of detectron2 begin at the upper left corner of a cell
    assert own.rpn._anchors(pyramid[2], 0, 4)[1].tolist() == pytest.approx([-16, -16, 16, 16])


def test_the_zoo_of_parsing_rcnn_fits(tmp_path: Path) -> None:
    body = d2_state(deep_lab=False)
    state: Tensors = {}
    for name, value in body.items():
        if name.startswith("backbone.bottom_up.") and not name.endswith(("running_mean", "running_var")):
            own = name.removeprefix("backbone.bottom_up.").replace("stem.conv1.norm", "bn1").replace("stem.", "")
            for stage in range(2, 6):
                own = own.replace(f"res{stage}.", f"layer{stage - 1}.")
            own = own.replace("shortcut.norm", "downsample.1").replace("shortcut", "downsample.0")
            for index in (1, 2, 3):
                own = own.replace(f"conv{index}.norm", f"bn{index}")
            state[f"Conv_Body.{own}"] = value
    generator = torch.Generator().manual_seed(5)

    def layer(name: str, *shape: int) -> None:
        state[f"{name}.weight"] = 0.02 * torch.randn(shape, generator=generator)
        state[f"{name}.bias"] = 0.02 * torch.randn(shape[:1], generator=generator)

    layer("Conv_Body_FPN.p5_in", 256, 2048, 1, 1)
    layer("Conv_Body_FPN.p5_out", 256, 256, 3, 3)
    for index, width in enumerate((1024, 512, 256)):
        layer(f"Conv_Body_FPN.fpn_in.{index}", 256, width, 1, 1)
        layer(f"Conv_Body_FPN.fpn_out.{index}", 256, 256, 3, 3)
    layer("RPN.head.conv", 256, 256, 3, 3)
    layer("RPN.head.cls_logits", 3, 256, 1, 1)
    layer("RPN.head.bbox_pred", 12, 256, 1, 1)
    layer("Fast_RCNN.Head.fc6", 1024, 256 * 49)
    layer("Fast_RCNN.Head.fc7", 1024, 1024)
    layer("Fast_RCNN.Output.cls_score", 2, 1024)
    layer("Fast_RCNN.Output.bbox_pred", 8, 1024)
    head = "Parsing_RCNN.Head"
    for index, kernel in enumerate((1, 3, 3, 3)):
        layer(f"{head}.asppv3.{index}.0", 256, 256, kernel, kernel)
    layer(f"{head}.im_pool.1.0", 256, 256, 1, 1)
    layer(f"{head}.feat.0.0", 512, 1280, 1, 1)
    for name in ("theta", "phi", "g", "out"):
        layer(f"{head}.feat.1.{name}", 512, 512, 1, 1)
    layer(f"{head}.feat.1.gn", 512)
    for index in range(4):
        layer(f"{head}.conv_after_asppv3.{index}.0", 512, 512, 3, 3)
    state["Parsing_RCNN.Output.parsing_score_lowres.weight"] = torch.randn(512, 20, 4, 4, generator=generator)
    state["Parsing_RCNN.Output.parsing_score_lowres.bias"] = torch.zeros(20)
    torch.save({"model": {f"module.{k}": v for k, v in state.items()}, "iter": 3}, tmp_path / "zoo.pth")
    report = import_checkpoint(tmp_path / "zoo.pth", tmp_path / "own.safetensors")
    assert report.source == "zoo"
    assert not report.missing
    assert not report.unfit
    assert not report.unused
    assert report.fresh == ("densepose_head", "densepose_trunk")
    own, config = load_model(tmp_path / "own.safetensors")
    assert config.model.stride_in_1x1
    assert torch.equal(own.box.delta.bias, state["Fast_RCNN.Output.bbox_pred.bias"][4:])
    assert torch.equal(own.fpn.lateral[0][0].weight, state["Conv_Body_FPN.fpn_in.2.weight"])


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, (str(self.path),))


def test_files_that_are_no_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"model": _Evil(tmp_path / "ran")}))
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 broken")
    (tmp_path / "text.pkl").write_bytes(b"hello")
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    save_file({"layer.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    for name in ("evil.pkl", "cut.pth", "text.pkl", "none.pth", "other.safetensors", "absent.pth"):
        with pytest.raises(CheckpointError):
            import_checkpoint(tmp_path / name, tmp_path / "own.safetensors")
    assert not (tmp_path / "own.safetensors").exists()
    assert not (tmp_path / "ran").exists()


def test_a_part_of_a_file_is_reported_and_only_written_on_request(tmp_path: Path) -> None:
    state = d2_state(deep_lab=True)
    del state["roi_heads.box_head.fc2.weight"]
    state["backbone.fpn_output3.weight"] = torch.zeros(128, 256, 3, 3)
    state["roi_heads.densepose_predictor.sigma_2_lowres.weight"] = torch.zeros(512, 25, 4, 4)
    save_file(state, tmp_path / "part.safetensors")
    arguments = ["import", str(tmp_path / "part.safetensors"), "-o", str(tmp_path / "own.safetensors")]
    refused = CliRunner().invoke(build(), arguments)
    assert refused.exit_code == 1
    assert "box.fc2.weight" in refused.output
    assert "(128, 256, 3, 3) for (256, 256, 3, 3)" in refused.output
    assert "roi_heads.densepose_predictor (1)" in refused.output
    assert not (tmp_path / "own.safetensors").exists()
    taken = CliRunner().invoke(build(), [*arguments, "--partial"])
    assert taken.exit_code == 0
    assert load_model(tmp_path / "own.safetensors")[1].name == "detectron2"


def test_a_second_version_of_torchvision_is_refused(tmp_path: Path) -> None:
    torch.save(fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None).state_dict(), tmp_path / "v2.pth")
    with pytest.raises(CheckpointError, match="second version"):
        import_checkpoint(tmp_path / "v2.pth", tmp_path / "own.safetensors")
