"""What each source calls its tensors, and the recipe that computes what its network computes."""

from __future__ import annotations

import re
from typing import Literal

import torch
from torch import Tensor

from training.errors import CheckpointError
from training.importers.translation import Tensors, Translation, depth, recipe_of
from training.model.parsing_rcnn import PIXEL_STD

Source = Literal["detectron2", "torchvision", "zoo"]

_DENSEPOSE_OUTPUTS = ("ann_index", "index_uv", "u", "v")
_D2_CONFIDENCES = ("sigma_2", "kappa_u", "kappa_v", "fine_segm_confidence", "coarse_segm_confidence")
_D2_HEAD, _D2_PREDICTOR = "roi_heads.densepose_head", "roi_heads.densepose_predictor"
_ZOO_OUTPUTS = ("Ann", "Index", "U", "V")
# prefixes of a source's tensors, and the parts of this network that they fill. If one of them has no place here, these
# parts would compute something else
_PLACES: dict[Source, dict[str, tuple[str, ...]]] = {
    "detectron2": {
        "backbone.bottom_up.": ("backbone",),
        "backbone.": ("fpn",),
        "proposal_generator.": ("rpn",),
        "roi_heads.box_": ("box",),
        "roi_heads.decoder.": ("decoder",),
        "roi_heads.densepose_head.": ("densepose_trunk",),
        "roi_heads.densepose_predictor.": ("densepose_head",),
    },
    "torchvision": {
        "backbone.body.": ("backbone",),
        "backbone.": ("fpn",),
        "rpn.": ("rpn",),
        "roi_heads.box_": ("box",),
    },
    "zoo": {
        "Conv_Body.": ("backbone",),
        "Conv_Body_FPN.": ("fpn",),
        "SemSeg.": ("fpn",),  # changes the pyramid that all others see
        "RPN.": ("rpn",),
        "Fast_RCNN.": ("box",),
        "Parsing_RCNN.": ("parsing_trunk", "parsing_head"),
        "UV_RCNN.": ("densepose_trunk", "densepose_head"),
        "Keypoint_RCNN.Head.": ("parsing_trunk",),
    },
}
_OPTIONAL = ("Parsing_RCNN.", "UV_RCNN.", "Keypoint_RCNN.")  # branches that a file of the zoo has or has not
# tensors that may be left out without changing the rest: anchors, counters, confidences, scores of a person's parts
_LEFT_OUT = re.compile(
    r"anchor_generator\.|cell_anchors|num_batches_tracked$|Parsing_RCNN\.ParsingIoU\."
    rf"|densepose_predictor\.({'|'.join(_D2_CONFIDENCES)})_lowres\."
)


def source_of(found: Tensors) -> Source:
    """The source that names tensors like this.

    Raises:
        CheckpointError: it is none that is known here.
    """
    if any(name.startswith("backbone.body.stem.") for name in found):
        raise CheckpointError("names of maskrcnn-benchmark (backbone.body.stem.*), whose files are not known here")
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


def misplaced(found: Tensors, source: Source, used: set[str]) -> dict[str, tuple[str, ...]]:
    """Tensors of layers that this network does not have -> the parts of it (`_PLACES`) that would differ for that."""
    places = dict(_PLACES[source])
    if any(name.startswith("Parsing_RCNN.") for name in found):
        places.pop("Keypoint_RCNN.Head.", None)  # its trunk is then filled from the other branch
    left = [name for name in found if name not in used and not _LEFT_OUT.search(name)]
    return {
        name: next(parts for prefix, parts in places.items() if name.startswith(prefix))
        for name in left
        if name.startswith(tuple(places))
    }


def parts_of(found: Tensors, source: Source) -> set[str]:
    """The parts of this network that a file of this source should fill. That the others begin anew is no fault."""
    absent = tuple(mark for mark in _OPTIONAL if not any(name.startswith(mark) for name in found))
    places = _PLACES[source].items()
    return {part for prefix, parts in places if not prefix.startswith(absent) for part in parts}


def translate(found: Tensors, source: Source, eps: float | None = None) -> Translation:
    """Rename and convert the tensors of a source for this network, with the recipe that it needs.

    Args:
        found: as the source calls them.
        source: whose they are.
        eps: of its batch norms (None: 0 for torchvision's R50 detectors with frozen norms, 1e-5 for all others).

    Raises:
        CheckpointError: this network cannot compute what the source's does.
    """
    if source == "detectron2":
        return _detectron2(found, 1e-5 if eps is None else eps)
    if source == "torchvision":
        return _torchvision(found, eps)
    return _zoo(found, 1e-5 if eps is None else eps)


def _plain(found: Tensors, pattern: str, grouped: str, whose: str) -> str:
    """The ResNet of a source whose ResNeXts are refused: it is not known here which of their layers stride."""
    member = depth(found, pattern, grouped)
    if member.startswith("resnext"):
        raise CheckpointError(f"a ResNeXt of {whose} is not known here, only ResNet-50 and 101")
    return member


def _bgr(weight: Tensor, std: Tensor | None = None) -> Tensor:
    """The first convolution for (BGR - mean) / `std` (None: ones), converted for (RGB - mean) / `PIXEL_STD`. The mean
    cannot go into the weights, since padding is zero after it is subtracted."""
    factor = torch.tensor(PIXEL_STD) / (1 if std is None else std.flatten().flip(0))
    return weight[:, [2, 1, 0]] * factor[None, :, None, None]


def _detectron2(found: Tensors, eps: float) -> Translation:
    bottom = "backbone.bottom_up"
    profile = _d2_profile(found)
    regions = found.get(f"{_D2_PREDICTOR}.ann_index_lowres.weight")
    model: dict[str, object] = {
        "backbone": _plain(
            found, re.escape(bottom) + r"\.res4\.(\d+)\.", f"{bottom}.res2.0.conv2.weight", "detectron2"
        ),
        "densepose_coarse": 2 if regions is None else regions.shape[1],
    }
    if "pixel_mean" in found:  # files of 2020 hold it, in the order of their pictures: blue, green, red
        model["pixel_mean"] = tuple(round(value, 4) for value in found["pixel_mean"].flatten().flip(0).tolist())
    headed = any(name.startswith(f"{_D2_HEAD}.") for name in found)
    out = Translation(recipe_of(profile, "detectron2", model, densepose=headed))
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


def _d2_profile(found: Tensors) -> str:
    """Which of configs/profiles computes what this file of detectron2 computes.

    Raises:
        CheckpointError: none does.
    """
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
    """Join the four deconvolutions of a head into one: coarse, index, U, V."""
    for key, axis in (("weight", 1), ("bias", 0)):
        names = [f"{layer}.{key}" for layer in layers]
        if all(name in found for name in names):
            out.tensors[f"densepose_head.up.deconv.{key}"] = torch.cat([found[name] for name in names], axis)
            out.used.update(names)


def _torchvision(found: Tensors, eps: float | None) -> Translation:
    if any(name.startswith("head.classification_head.") for name in found):
        raise CheckpointError("RetinaNet and FCOS of torchvision have no boxes in two steps, as this network has")
    if any(name.startswith("rpn.head.conv.1.") for name in found):
        raise CheckpointError("a detector of torchvision's second version (_v2) is not known here, only *_resnet50_fpn")
    member = depth(found, r"backbone\.body\.layer3\.(\d+)\.", "backbone.body.layer1.0.conv2.weight")
    if eps is None:  # of its own detectors, those that were frozen
        counted = any(name.endswith("num_batches_tracked") for name in found)
        eps = 0.0 if member == "resnet50" and not counted else 1e-5
    round_off = {"anchor_offset": 0.0, "round_anchors": True, "least_side": 1e-3, "rank_by_probability": True}
    out = Translation(recipe_of(None, "torchvision", {"backbone": member, "rpn": round_off}))
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
    member = _plain(found, r"Conv_Body\.layer3\.(\d+)\.", "Conv_Body.layer1.0.conv2.weight", "Parsing R-CNN's zoo")
    heads = {name.split(".")[0] for name in found}
    classes = found.get("Parsing_RCNN.Output.parsing_score_lowres.weight")
    out = Translation(
        recipe_of(
            "zoo",
            "parsing-rcnn-zoo",
            {"backbone": member, "parsing_classes": 20 if classes is None else classes.shape[1]},
            parsing="Parsing_RCNN" in heads,
            densepose="UV_RCNN" in heads,
        )
    )
    out.remarks.append(
        "boxes: its coder counts the last pixel in (+1): there they end up to a pixel earlier, right and below"
    )
    if "Conv_Body.bn1.running_var" not in found:
        out.remarks.append("norms of its backbone: affine maps, since they hold no statistics")
    out.take(found, "Conv_Body.conv1.weight", "backbone.stem.0.weight", _bgr)
    out.norm(found, "Conv_Body.bn1", "backbone.stem.1", eps, affine=True)
    for name in list(found):
        if m := re.match(r"Conv_Body\.layer([1-4])\.(\d+)\.(conv\d|downsample\.0)\.weight$", name):
            theirs, own = f"Conv_Body.layer{m[1]}.{m[2]}", f"backbone.stages.{int(m[1]) - 1}.{m[2]}"
            norm = "downsample.1" if m[3] == "downsample.0" else m[3].replace("conv", "bn")
            out.take(found, name, f"{own}.{m[3]}.weight")
            out.norm(found, f"{theirs}.{norm}", f"{own}.{norm}", eps, affine=True)
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
    _zoo_branches(out, found, heads)
    return out


def _zoo_branches(out: Translation, found: Tensors, heads: set[str]) -> None:
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
