"""detectron2's DensePose computes here what it computes there."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from parsing_rcnn.analyzer import Options
from parsing_rcnn.pipeline import Stopwatch
from tests.training.detectron2_reference import Tensors, Variant, detect, proposals
from tests.training.zoo_names import flat
from training.checkpoint import load_model
from training.config import Config
from training.engine import TorchAnalyzer
from training.errors import CheckpointError
from training.evaluation.tta import AugmentedAnalyzer
from training.importers.importer import import_checkpoint
from training.importers.layouts import Source, translate
from training.model.parsing_rcnn import ParsingRCNN

LEGACY = Variant(legacy=True)
PUBLISHED = {
    "R_50_FPN_s1x_legacy": LEGACY,
    "R_101_FPN_s1x_legacy": replace(LEGACY, depth=101),
    "R_50_FPN_s1x": Variant(),
    "R_101_FPN_s1x": Variant(depth=101),
    "R_50_FPN_DL_s1x": Variant(deep_lab=True),
    "R_101_FPN_DL_s1x": Variant(depth=101, deep_lab=True),
    **{
        f"R_{depth}_FPN_{'DL_' if deep_lab else ''}{kind}_s1x": Variant(depth, deep_lab, confidences=kind)
        for depth in (50, 101)
        for deep_lab in (False, True)
        for kind in ("WC1", "WC2", "WC1M")
    },
}
SIZE = (128, 160)


def relative(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / a.abs().max()).item()


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_model_has_its_place(name: str) -> None:
    variant = PUBLISHED[name]
    found = {k: torch.zeros(1).expand(shape) for k, shape in variant.shapes().items()}
    found |= {"pixel_mean": torch.tensor([103.53, 116.28, 123.675]).view(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    translation = translate(found, "detectron2")
    with torch.device("meta"):
        own = ParsingRCNN(translation.recipe.model).state_dict()
    assert translation.recipe.model.pixel_mean == (123.675, 116.28, 103.53)
    wanted = {k: v.shape for k, v in own.items() if not k.startswith(("parsing_trunk.", "parsing_head."))}
    assert {k: v.shape for k, v in translation.tensors.items()} == wanted
    confidences = {k for k in found if any(c in k for c in ("sigma_2", "kappa_", "_confidence_"))}
    assert found.keys() - translation.used == confidences
    assert bool(confidences) == any("confidences" in remark for remark in translation.remarks)


@pytest.mark.parametrize("name", ["R_50_FPN_s1x", "R_50_FPN_DL_WC2_s1x", "R_101_FPN_DL_s1x", "R_50_FPN_s1x_legacy"])
def test_the_whole_inference_is_the_same(name: str, tmp_path: Path) -> None:
    variant = PUBLISHED[name]
    state = variant.state()
    with (tmp_path / "model_final.pkl").open("wb") as file:
        document = {"model": {k: v.numpy() for k, v in state.items()}, "__author__": "x", "iteration": np.int64(3)}
        pickle.dump(document, file)
    report = import_checkpoint(tmp_path / "model_final.pkl", tmp_path / "own.safetensors")
    assert report.source == "detectron2"
    assert not report.missing
    assert not report.unfit
    assert sum(report.unused.values()) == (6 if "WC2" in name else 0)
    assert report.fresh == ("parsing_head", "parsing_trunk")
    own, config = load_model(tmp_path / "own.safetensors")
    assert (config.train.parsing, config.train.densepose, config.data.test_short_side) == (False, True, 800)

    picture = (255 * torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(4))).round()  # BGR
    with torch.inference_mode():
        expected = variant.backbone(state, picture)
        pyramid = own.pyramid(picture[:, [2, 1, 0]])
        for level, feature in enumerate(expected, 2):
            assert relative(feature, pyramid[level]) <= 1e-4
        logits, deltas, anchors = own.rpn(pyramid)
        found = own.rpn.propose([x[0] for x in logits], [x[0] for x in deltas], anchors, SIZE, 1000)
        wanted = proposals(state, expected, *SIZE)
        assert len(found) == len(wanted)
        assert (torch.cdist(wanted, found, p=torch.inf).min(1).values < 0.01).all()
        boxes, scores = detect(state, expected, *SIZE)
        detections = own.detect(pyramid, SIZE)
        sure = detections.scores > 0.05
        assert int(sure[:100].sum()) == len(boxes) > 3
        nearest = torch.cdist(boxes, detections.boxes[sure], p=torch.inf).min(1)
        assert nearest.values.max() < 0.01
        assert (detections.scores[nearest.indices] - scores).abs().max() < 1e-4
        assert scores.std() > 0.01  # they differ, so that the order means something
        people = boxes[:2]
        maps = own.densepose(own.roi_features(pyramid, [people]))
        for theirs, ours in zip(variant.densepose(state, expected, people), maps, strict=True):
            assert theirs.shape[-1] == (56 if variant.legacy else 112)
            assert ours.shape == theirs.shape
            assert relative(theirs, ours) <= 1e-3


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Variant, Tensors, ParsingRCNN, Config]:
    """One of the published models, its weights, and what was made of them."""
    variant, folder = PUBLISHED["R_50_FPN_s1x"], tmp_path_factory.mktemp("imported")
    state = variant.state()
    torch.save({"model": state}, folder / "model_final.pth")
    import_checkpoint(folder / "model_final.pth", folder / "own.safetensors", source="detectron2")
    return variant, state, *load_model(folder / "own.safetensors")


@pytest.mark.parametrize("flip", [False, True])
def test_boxes_end_with_the_picture_and_not_with_its_padding(
    imported: tuple[Variant, Tensors, ParsingRCNN, Config], flip: bool
) -> None:
    """Most of COCO's pictures fill no multiple of 32; theirs are clipped where the picture ends, before NMS."""
    variant, state, own, config = imported
    data = config.data.model_copy(update={"test_short_side": 102, "test_longest_side": 139})
    config = config.model_copy(update={"data": data})
    picture = (255 * torch.rand(102, 139, 3, generator=torch.Generator().manual_seed(4))).byte()  # RGB
    options = Options(frozenset(), confidence=0.05, max_people=64)
    if flip:  # of a view and its mirror image, the first is this one: what it finds is clipped as well
        seen = AugmentedAnalyzer(own, config, flip=True)
        views, _, found, _, _ = seen.look(picture.numpy(), options, Stopwatch())
        assert views[1].canvas.shape == (*SIZE, 3)
        assert (found[:, 2] <= 139.001).all()
        assert (found[:, 3] <= 102.001).all()
        assert (found.max(0).values[2:] > torch.tensor([138.9, 101.9])).all()
        return
    canvas = torch.tensor(np.rint(config.model.pixel_mean), dtype=torch.float32).expand(*SIZE, 3).clone()
    canvas[:102, :139] = picture
    with torch.inference_mode():
        pyramid = variant.backbone(state, canvas[..., [2, 1, 0]].permute(2, 0, 1)[None])
        boxes, scores = detect(state, pyramid, 102, 139)
    people = TorchAnalyzer(own, config).analyze(picture.numpy(), options)
    assert len(people) == min(64, len(boxes)) > 20
    nearest = torch.cdist(torch.from_numpy(people.boxes), boxes, p=torch.inf).min(1)
    assert nearest.values.max() < 0.02
    assert (torch.from_numpy(people.scores) - scores[nearest.indices]).abs().max() < 1e-4


def test_pixels_that_were_divided_are() -> None:
    generator = torch.Generator().manual_seed(3)
    stem = {"backbone.bottom_up.stem.conv1.weight": torch.randn(64, 3, 7, 7, generator=generator)}
    state = flat(Variant().shapes()) | stem
    std = torch.tensor([57.375, 57.12, 58.395]).view(3, 1, 1)  # BGR
    plain = translate(state, "detectron2").tensors["backbone.stem.0.weight"]
    divided = translate(state | {"pixel_std": std}, "detectron2").tensors["backbone.stem.0.weight"]
    torch.testing.assert_close(divided * std.flip(0).view(1, 3, 1, 1), plain)


@pytest.mark.parametrize(
    ("source", "stem", "norm", "block"),
    [
        (
            "detectron2",
            "backbone.bottom_up.stem.conv1",
            "backbone.bottom_up.stem.conv1.norm",
            "backbone.bottom_up.res4",
        ),
        ("zoo", "Conv_Body.conv1", "Conv_Body.bn1", "Conv_Body.layer3"),
    ],
)
@pytest.mark.parametrize("eps", [0.0, None, 1e-3])
def test_the_eps_of_norms_is_what_it_is_said_to_be(
    source: Source, stem: str, norm: str, block: str, eps: float | None
) -> None:
    found = {f"{stem}.weight": torch.zeros(64, 3, 7, 7)}
    found |= {f"{block}.{index}.conv1.weight": torch.zeros(1, 1, 1, 1) for index in range(6)}
    found |= {f"{norm}.{key}": torch.zeros(64) for key in ("bias", "running_mean")}
    found |= {f"{norm}.weight": torch.ones(64), f"{norm}.running_var": torch.full((64,), 1e-6)}  # where eps decides
    tensors = translate(found, source, eps).tensors
    gain = tensors["backbone.stem.1.weight"] / (tensors["backbone.stem.1.running_var"] + 1e-5).sqrt()
    wanted = (1e-6 + (1e-5 if eps is None else eps)) ** -0.5
    torch.testing.assert_close(gain, torch.full((64,), wanted))


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ("roi_heads.densepose_head.NLBlock.g.0.weight", "non-local"),
        ("roi_heads.embedder.embedder_0.features", "CSE"),
    ],
)
def test_what_it_cannot_be_is_refused(extra: str, says: str, tmp_path: Path) -> None:
    torch.save({**flat(LEGACY.shapes()), extra: torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=says):
        import_checkpoint(tmp_path / "other.pth", tmp_path / "own.safetensors")
    assert not (tmp_path / "own.safetensors").exists()
