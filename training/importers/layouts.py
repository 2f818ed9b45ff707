"""What each source calls its tensors, and the recipe that computes what its network computes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from training.checkpoint import CheckpointError
from training.config import Config, load_config

Source = Literal["detectron2", "torchvision", "zoo"]
Tensors = Mapping[str, Tensor]

_PROFILES = Path(__file__).parents[1] / "configs" / "profiles"
_STD = torch.tensor((58.395, 57.12, 57.375))  # by which this network divides pixels; the zoo does not
_BLOCKS_OF = {6: "resnet50", 23: "resnet101"}  # blocks of the third stage
_DENSEPOSE_OUTPUTS = ("ann_index", "index_uv", "u", "v")
_D2_CONFIDENCES = ("sigma_2", "kappa_u", "kappa_v", "fine_segm_confidence", "coarse_segm_confidence")
_D2_HEAD, _D2_PREDICTOR = "roi_heads.densepose_head", "roi_heads.densepose_predictor"
_ZOO_OUTPUTS = ("Ann", "Index", "U", "V")
_NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass
class Translation:
    """A source's tensors by this network's names.

    Attributes:
        recipe: of the network that they are for.
        tensors: this network's name -> value.
        used: names of the source's tensors that went into them.
        remarks: where the two networks differ.
    """

    recipe: Config
    tensors: dict[str, Tensor] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    remarks: list[str] = field(default_factory=list)

    def take(self, found: Tensors, theirs: str, own: str, change: Callable[[Tensor], Tensor] = lambda x: x) -> bool:
        """Translate one tensor, if the source holds it."""
        if theirs not in found:
            return False
        self.tensors[own] = change(found[theirs])
        self.used.add(theirs)
        return True

    def layer(self, found: Tensors, theirs: str, own: str) -> None:
        """Weight and bias of one layer; a bias that only this network has begins as zeros."""
        if self.take(found, f"{theirs}.weight", f"{own}.weight") and not self.take(
            found, f"{theirs}.bias", f"{own}.bias"
        ):
            self.tensors[f"{own}.bias"] = torch.zeros(len(self.tensors[f"{own}.weight"]))

    def norm(self, found: Tensors, theirs: str, own: str, eps: float = 1e-5) -> None:
        """A batch norm; one without statistics is an affine map. `eps`: the source's; here it is 1e-5."""
        for key in _NORM:
            self.take(found, f"{theirs}.{key}", f"{own}.{key}")
        weight = self.tensors.get(f"{own}.weight")
        if weight is None:
            return
        if f"{own}.running_var" not in self.tensors:
            self.tensors[f"{own}.running_mean"] = torch.zeros_like(weight)
            self.tensors[f"{own}.running_var"] = torch.ones_like(weight)
        elif eps != 1e-5:
            variance = self.tensors[f"{own}.running_var"].double()
            self.tensors[f"{own}.weight"] = (
                weight * ((variance + 1e-5) / (variance + eps).clamp(min=1e-30)).sqrt()
            ).float()
        self.tensors[f"{own}.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
        self.used.update({f"{theirs}.num_batches_tracked"} & found.keys())


def source_of(found: Tensors) -> Source:
    """Whose names these are.

    Raises:
        CheckpointError: nobody's that is known here.
    """
    marks: tuple[tuple[Source, str], ...] = (
        ("detectron2", "backbone.bottom_up."),
        ("torchvision", "backbone.body."),
        ("zoo", "Conv_Body."),
    )
    for source, mark in marks:
        if any(name.startswith(mark) for name in found):
            return source
    raise CheckpointError(
        f"names like {next(iter(found))!r} are those of no known source: detectron2 has backbone.bottom_up.*, "
        "torchvision backbone.body.*, Parsing R-CNN's zoo Conv_Body.*"
    )


def translate(found: Tensors, source: Source, eps: float | None = None) -> Translation:
    """Tensors of a source, by this network's names, with the recipe that they are for.

    Args:
        found: as the source calls them.
        source: whose they are.
        eps: of its batch norms (None: torchvision's COCO detectors have 0 where they were frozen, all others 1e-5).

    Raises:
        CheckpointError: a network of the source that this one cannot be.
    """
    if source == "detectron2":
        return _detectron2(found, 1e-5 if eps is None else eps)
    if source == "torchvision":
        counted = any(name.endswith("num_batches_tracked") for name in found)
        return _torchvision(found, (1e-5 if counted else 0.0) if eps is None else eps)
    return _zoo(found, 1e-5 if eps is None else eps)


def _depth(found: Tensors, pattern: str) -> str:
    """The ResNet whose third stage has as many blocks as are found."""
    blocks = {int(m[1]) for name in found if (m := re.match(pattern, name))}
    member = _BLOCKS_OF.get(len(blocks))
    if member is None:
        raise CheckpointError(
            f"a backbone with {len(blocks)} blocks in its third stage is not known here, only 6 and 23"
        )
    return member


def _recipe(
    profile: str | None, name: str, model: dict[str, object], *, parsing: bool = False, densepose: bool = False
) -> Config:
    config = load_config(_PROFILES / f"{profile}.yaml") if profile else Config()
    document = config.model_dump()
    document["name"] = name
    document["data"] |= {"test_short_side": 800, "test_longest_side": 1333, "test_padding": "mean"}  # all three test so
    document["train"] |= {"parsing": parsing, "densepose": densepose}
    for key, value in model.items():
        document["model"][key] = {**document["model"][key], **value} if isinstance(value, dict) else value
    return Config.model_validate(document)


def _bgr(weight: Tensor, std: Tensor | None = None) -> Tensor:
    """A first convolution for (BGR - mean) / `std` (None: ones), for (RGB - mean) / 58: the mean stays outside, where
    padding is zero too."""
    factor = _STD if std is None else _STD / std.flatten().flip(0)
    return weight[:, [2, 1, 0]] * factor[None, :, None, None]


def _detectron2(found: Tensors, eps: float) -> Translation:
    bottom = "backbone.bottom_up"
    profile = _d2_profile(found, bottom)
    regions = found.get(f"{_D2_PREDICTOR}.ann_index_lowres.weight")
    model: dict[str, object] = {
        "backbone": _depth(found, re.escape(bottom) + r"\.res4\.(\d+)\."),
        "densepose_coarse": 2 if regions is None else regions.shape[1],
    }
    if "pixel_mean" in found:  # files of 2020 hold it, in the order of their pictures: blue, green, red
        model["pixel_mean"] = tuple(round(value, 4) for value in found["pixel_mean"].flatten().flip(0).tolist())
    headed = any(name.startswith(f"{_D2_HEAD}.") for name in found)
    out = Translation(_recipe(profile, "detectron2", model, densepose=headed))
    out.used.update({"pixel_mean", "pixel_std"} & found.keys())
    out.remarks.append("pictures go in as detectron2 has them: shortest side 800, longest 1333, padded by the mean")
    if any(name.startswith(tuple(f"{_D2_PREDICTOR}.{kind}_lowres" for kind in _D2_CONFIDENCES)) for name in found):
        out.remarks.append("its confidences are left out; parts, U and V do not depend on them")
    out.take(found, f"{bottom}.stem.conv1.weight", "backbone.stem.0.weight", lambda x: _bgr(x, found.get("pixel_std")))
    out.norm(found, f"{bottom}.stem.conv1.norm", "backbone.stem.1", eps)
    for name in list(found):
        if m := re.match(re.escape(bottom) + r"\.res([2-5])\.(\d+)\.(conv[123]|shortcut)\.weight$", name):
            block = f"backbone.stages.{int(m[1]) - 2}.{m[2]}"
            theirs = name.removesuffix(".weight")
            conv = "downsample.0" if m[3] == "shortcut" else m[3]
            norm = "downsample.1" if m[3] == "shortcut" else m[3].replace("conv", "bn")
            out.take(found, name, f"{block}.{conv}.weight")
            out.norm(found, f"{theirs}.norm", f"{block}.{norm}", eps)
    for level in range(2, 6):
        out.layer(found, f"backbone.fpn_lateral{level}", f"fpn.lateral.{level - 2}.0")
        out.layer(found, f"backbone.fpn_output{level}", f"fpn.output.{level - 2}.0")
    for theirs, own in (("conv", "conv.0"), ("objectness_logits", "objectness"), ("anchor_deltas", "deltas")):
        out.layer(found, f"proposal_generator.rpn_head.{theirs}", f"rpn.{own}")
    out.used.update(name for name in found if ".anchor_generator." in name)  # computed anew
    out.layer(found, "roi_heads.box_head.fc1", "box.fc1")
    out.layer(found, "roi_heads.box_head.fc2", "box.fc2")
    for key in ("weight", "bias"):  # (person, background) there, (background, person) here
        out.take(found, f"roi_heads.box_predictor.cls_score.{key}", f"box.score.{key}", lambda x: x.flip(0))
        out.take(found, f"roi_heads.box_predictor.bbox_pred.{key}", f"box.delta.{key}")
    _detectron2_branch(out, found, deep_lab=profile == "d2")
    return out


def _d2_profile(found: Tensors, bottom: str) -> str:
    """Which of configs/profiles computes what this file of detectron2 computes.

    Raises:
        CheckpointError: none does.
    """
    wide = found.get(f"{bottom}.res2.0.conv2.weight")
    if wide is not None and wide.shape[1] != wide.shape[0]:
        raise CheckpointError("a ResNeXt of detectron2 is not known here, only ResNet-50 and 101")
    if any(".densepose_head.NLBlock." in name for name in found):
        raise CheckpointError("a DeepLab head of detectron2 with a non-local block is not known here")
    if any(name.startswith("roi_heads.embedder.") for name in found):
        raise CheckpointError("continuous surface embeddings (CSE) of detectron2 are not known here, only charts")
    if any(".densepose_head.ASPP." in name for name in found):
        return "d2"
    headed = any(name.startswith(f"{_D2_HEAD}.") for name in found)
    decoded = any(name.startswith("roi_heads.decoder.") for name in found)
    return "d2-legacy" if headed and not decoded else "d2-v1convx"


def _detectron2_branch(out: Translation, found: Tensors, *, deep_lab: bool) -> None:
    head, trunk = _D2_HEAD, "densepose_trunk"
    for level in range(2, 6):
        for step in range(max(1, level - 2)):
            at = 2 * step  # an upsampling lies between
            out.layer(found, f"roi_heads.decoder.p{level}.{at}", f"decoder.levels.{level - 2}.{at}.0")
    out.layer(found, "roi_heads.decoder.predictor", "decoder.predictor")
    if deep_lab:
        for branch, own in enumerate([f"{trunk}.aspp.branches.{i}" for i in range(4)]):
            out.take(found, f"{head}.ASPP.convs.{branch}.0.weight", f"{own}.0.weight")
            for key in ("weight", "bias"):
                out.take(found, f"{head}.ASPP.convs.{branch}.1.{key}", f"{own}.1.{key}")
        out.take(found, f"{head}.ASPP.convs.4.1.weight", f"{trunk}.aspp.pool.0.weight")
        for key in ("weight", "bias"):
            out.take(found, f"{head}.ASPP.convs.4.2.{key}", f"{trunk}.aspp.pool.1.{key}")
        # the pooled branch is the last of the concatenation there, the first here
        width = out.recipe.model.branch.aspp_channels
        out.take(found, f"{head}.ASPP.project.0.weight", f"{trunk}.fuse.0.weight", lambda x: x.roll(width, 1))
        if f"{trunk}.fuse.0.weight" in out.tensors:
            out.tensors[f"{trunk}.fuse.0.bias"] = torch.zeros(width)
    for index in range(out.recipe.model.branch.convs):
        theirs, own = f"{head}.body_conv_fcn{index + 1}", f"{trunk}.convs.{index}"
        out.take(found, f"{theirs}.weight", f"{own}.0.weight")
        out.take(found, f"{theirs}.bias", f"{own}.0.bias")
        for key in ("weight", "bias"):
            out.take(found, f"{theirs}.norm.{key}", f"{own}.1.{key}")
    _outputs(out, found, [f"{_D2_PREDICTOR}.{name}_lowres" for name in _DENSEPOSE_OUTPUTS])


def _outputs(out: Translation, found: Tensors, layers: list[str]) -> None:
    """Four deconvolutions become one: coarse, index, U, V."""
    for key, axis in (("weight", 1), ("bias", 0)):
        names = [f"{layer}.{key}" for layer in layers]
        if all(name in found for name in names):
            out.tensors[f"densepose_head.up.deconv.{key}"] = torch.cat([found[name] for name in names], axis)
            out.used.update(names)


def _torchvision(found: Tensors, eps: float) -> Translation:
    if any(name.startswith("rpn.head.conv.1.") for name in found):
        raise CheckpointError("a detector of torchvision's second version (_v2) is not known here, only *_resnet50_fpn")
    member = _depth(found, r"backbone\.body\.layer3\.(\d+)\.")
    round_off = {"anchor_offset": 0.0, "round_anchors": True, "least_side": 1e-3, "rank_by_probability": True}
    out = Translation(_recipe(None, "torchvision", {"backbone": member, "rpn": round_off}))
    out.remarks.append(f"batch norms of the file: eps {eps:g}")
    out.take(found, "backbone.body.conv1.weight", "backbone.stem.0.weight")
    out.norm(found, "backbone.body.bn1", "backbone.stem.1", eps)
    for name in list(found):
        if m := re.match(r"backbone\.body\.layer([1-4])\.(\d+)\.(conv\d|downsample\.0)\.weight$", name):
            theirs, own = f"backbone.body.layer{m[1]}.{m[2]}", f"backbone.stages.{int(m[1]) - 1}.{m[2]}"
            norm = "downsample.1" if m[3] == "downsample.0" else m[3].replace("conv", "bn")
            out.take(found, name, f"{own}.{m[3]}.weight")
            out.norm(found, f"{theirs}.{norm}", f"{own}.{norm}", eps)
    for theirs, own in (("inner_blocks", "lateral"), ("layer_blocks", "output")):
        for level in range(4):
            for old in ("", ".0"):  # before 0.13 a layer was not wrapped
                out.layer(found, f"backbone.fpn.{theirs}.{level}{old}", f"fpn.{own}.{level}.0")
    for theirs, own in (
        ("conv", "conv.0"),
        ("conv.0.0", "conv.0"),
        ("cls_logits", "objectness"),
        ("bbox_pred", "deltas"),
    ):
        out.layer(found, f"rpn.head.{theirs}", f"rpn.{own}")
    out.layer(found, "roi_heads.box_head.fc6", "box.fc1")
    out.layer(found, "roi_heads.box_head.fc7", "box.fc2")
    for key in ("weight", "bias"):  # class 1 is a person
        out.take(found, f"roi_heads.box_predictor.cls_score.{key}", f"box.score.{key}", lambda x: x[:2])
        out.take(found, f"roi_heads.box_predictor.bbox_pred.{key}", f"box.delta.{key}", lambda x: x[4:8])
    score = found.get("roi_heads.box_predictor.cls_score.bias")
    if score is not None and len(score) > 2:
        out.remarks.append(
            f"scores: of its {len(score)} classes only background and person are left, so that other things "
            "score higher than there; train the box branch, or take keypointrcnn_resnet50_fpn, which knows no others"
        )
    return out


def _zoo(found: Tensors, eps: float) -> Translation:
    member = _depth(found, r"Conv_Body\.layer3\.(\d+)\.")
    heads = {name.split(".")[0] for name in found}
    classes = found.get("Parsing_RCNN.Output.parsing_score_lowres.weight")
    out = Translation(
        _recipe(
            "zoo",
            "parsing-rcnn-zoo",
            {"backbone": member, "parsing_classes": 20 if classes is None else classes.shape[1]},
            parsing="Parsing_RCNN" in heads,
            densepose="UV_RCNN" in heads,
        )
    )
    out.remarks.append(
        "boxes: its coder counts the last pixel in (+1) and its anchors lie half a pixel higher: up to 1 pixel"
    )
    out.take(found, "Conv_Body.conv1.weight", "backbone.stem.0.weight", _bgr)
    out.norm(found, "Conv_Body.bn1", "backbone.stem.1", eps)
    for name in list(found):
        if m := re.match(r"Conv_Body\.layer([1-4])\.(\d+)\.(conv\d|downsample\.0)\.weight$", name):
            theirs, own = f"Conv_Body.layer{m[1]}.{m[2]}", f"backbone.stages.{int(m[1]) - 1}.{m[2]}"
            norm = "downsample.1" if m[3] == "downsample.0" else m[3].replace("conv", "bn")
            out.take(found, name, f"{own}.{m[3]}.weight")
            out.norm(found, f"{theirs}.{norm}", f"{own}.{norm}", eps)
    for kind, own in (("in", "lateral"), ("out", "output")):
        out.layer(found, f"Conv_Body_FPN.p5_{kind}", f"fpn.{own}.3.0")
        for index in range(3):  # P4, P3, P2
            out.layer(found, f"Conv_Body_FPN.fpn_{kind}.{index}", f"fpn.{own}.{2 - index}.0")
    for theirs, own in (("conv", "conv.0"), ("cls_logits", "objectness"), ("bbox_pred", "deltas")):
        out.layer(found, f"RPN.head.{theirs}", f"rpn.{own}")
    out.layer(found, "Fast_RCNN.Head.fc6", "box.fc1")
    out.layer(found, "Fast_RCNN.Head.fc7", "box.fc2")
    for key in ("weight", "bias"):
        out.take(found, f"Fast_RCNN.Output.cls_score.{key}", f"box.score.{key}")
        out.take(found, f"Fast_RCNN.Output.bbox_pred.{key}", f"box.delta.{key}", lambda x: x[-4:])
    for theirs, own in (("Parsing_RCNN", "parsing"), ("UV_RCNN", "densepose"), ("Keypoint_RCNN", "parsing")):
        if theirs not in heads or (theirs == "Keypoint_RCNN" and "Parsing_RCNN" in heads):
            continue
        head, trunk = f"{theirs}.Head", f"{own}_trunk"
        for index in range(4):
            out.layer(found, f"{head}.asppv3.{index}.0", f"{trunk}.aspp.branches.{index}.0")
        out.layer(found, f"{head}.im_pool.1.0", f"{trunk}.aspp.pool.0")
        out.layer(found, f"{head}.feat.0.0", f"{trunk}.fuse.0")
        for part in ("theta", "phi", "g", "out"):
            out.layer(found, f"{head}.feat.1.{part}", f"{trunk}.non_local.{part}")
        for key in ("weight", "bias"):
            out.take(found, f"{head}.feat.1.gn.{key}", f"{trunk}.non_local.norm.{key}")
        for index in range(4):
            out.layer(found, f"{head}.conv_after_asppv3.{index}.0", f"{trunk}.convs.{index}.0")
    out.layer(found, "Parsing_RCNN.Output.parsing_score_lowres", "parsing_head.up.deconv")
    _outputs(out, found, [f"UV_RCNN.Output.deconv_{name}" for name in _ZOO_OUTPUTS])
    return out
