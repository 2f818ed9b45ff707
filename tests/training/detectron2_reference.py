"""detectron2's DensePose R-CNN by its own names, written down a second time: what its files hold, and what it computes.

Nothing of training/ is used here. Boxes are (x1, y1, x2, y2); pictures are BGR 0..255.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Tensors = dict[str, Tensor]

_BOTTOM, _HEAD, _PREDICTOR = "backbone.bottom_up", "roi_heads.densepose_head", "roi_heads.densepose_predictor"
_LOG_CLAMP = math.log(1000.0 / 16)


@dataclass(frozen=True)
class Variant:
    """One of the published models.

    Attributes:
        depth: of the ResNet; deep_lab: DensePoseDeepLabHead, or DensePoseV1ConvXHead.
        legacy: no decoder, RoIs of 14x14 by scale, 15 coarse channels.
        confidences: what it predicts beside the maps: "" or "WC1" (sigma), "WC2" (sigma and two kappas), "WC1M".
    """

    depth: int = 50
    deep_lab: bool = False
    legacy: bool = False
    confidences: str = ""

    @property
    def blocks(self) -> tuple[int, int, int, int]:
        return (3, 4, {50: 6, 101: 23}[self.depth], 3)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor of the checkpoint."""
        out: dict[str, tuple[int, ...]] = {}

        def layer(name: str, *shape: int, bias: bool = True) -> None:
            out[f"{name}.weight"] = shape
            if bias:
                out[f"{name}.bias"] = shape[:1]

        self._backbone(out, layer)
        layer("proposal_generator.rpn_head.conv", 256, 256, 3, 3)
        layer("proposal_generator.rpn_head.objectness_logits", 3, 256, 1, 1)
        layer("proposal_generator.rpn_head.anchor_deltas", 12, 256, 1, 1)
        for level in range(5):
            out[f"proposal_generator.anchor_generator.cell_anchors.{level}"] = (3, 4)
        layer("roi_heads.box_head.fc1", 1024, 256 * 49)
        layer("roi_heads.box_head.fc2", 1024, 1024)
        layer("roi_heads.box_predictor.cls_score", 2, 1024)
        layer("roi_heads.box_predictor.bbox_pred", 4, 1024)
        if not self.legacy:
            for name in ("p2.0", "p3.0", "p4.0", "p4.2", "p5.0", "p5.2", "p5.4"):
                layer(f"roi_heads.decoder.{name}", 256, 256, 3, 3)
            layer("roi_heads.decoder.predictor", 256, 256, 1, 1)
        if self.deep_lab:
            for branch, kernel in enumerate((1, 3, 3, 3)):
                layer(f"{_HEAD}.ASPP.convs.{branch}.0", 256, 256, kernel, kernel, bias=False)
                layer(f"{_HEAD}.ASPP.convs.{branch}.1", 256)
            layer(f"{_HEAD}.ASPP.convs.4.1", 256, 256, 1, 1, bias=False)
            layer(f"{_HEAD}.ASPP.convs.4.2", 256)
            layer(f"{_HEAD}.ASPP.project.0", 256, 1280, 1, 1, bias=False)
        for index in range(8):
            layer(f"{_HEAD}.body_conv_fcn{index + 1}", 512, 512 if index else 256, 3, 3, bias=not self.deep_lab)
            if self.deep_lab:
                layer(f"{_HEAD}.body_conv_fcn{index + 1}.norm", 512)
        for name, channels in self._outputs().items():
            out[f"{_PREDICTOR}.{name}_lowres.weight"] = (512, channels, 4, 4)
            out[f"{_PREDICTOR}.{name}_lowres.bias"] = (channels,)
        return out

    def _backbone(self, out: dict[str, tuple[int, ...]], layer) -> None:  # type: ignore[no-untyped-def]
        def normed(name: str, *shape: int) -> None:
            layer(name, *shape, bias=False)
            out.update({f"{name}.norm.{k}": shape[:1] for k in ("weight", "bias", "running_mean", "running_var")})

        normed(f"{_BOTTOM}.stem.conv1", 64, 3, 7, 7)
        before = 64
        for stage, blocks in enumerate(self.blocks):
            inner, outer = 64 * 2**stage, 256 * 2**stage
            for block in range(blocks):
                base = f"{_BOTTOM}.res{stage + 2}.{block}"
                normed(f"{base}.conv1", inner, before, 1, 1)
                normed(f"{base}.conv2", inner, inner, 3, 3)
                normed(f"{base}.conv3", outer, inner, 1, 1)
                if block == 0:
                    normed(f"{base}.shortcut", outer, before, 1, 1)
                before = outer
            layer(f"backbone.fpn_lateral{stage + 2}", 256, outer, 1, 1)
            layer(f"backbone.fpn_output{stage + 2}", 256, 256, 3, 3)

    def _outputs(self) -> dict[str, int]:
        maps = {"ann_index": 15 if self.legacy else 2, "index_uv": 25, "u": 25, "v": 25}
        maps |= {"sigma_2": 25} if self.confidences.startswith("WC") else {}
        maps |= {"kappa_u": 25, "kappa_v": 25} if self.confidences == "WC2" else {}
        maps |= {"fine_segm_confidence": 1, "coarse_segm_confidence": 1} if self.confidences == "WC1M" else {}
        return maps

    def state(self) -> Tensors:
        """Random values, of sizes that neither vanish nor grow on their way, and scores that differ from box to box."""
        generator = torch.Generator().manual_seed(3)
        state = {}
        for name, shape in self.shapes().items():
            value = torch.randn(shape, generator=generator)
            if len(shape) > 1:
                value = value * (2 / np.prod(shape[1:])) ** 0.5
            elif name.endswith(("norm.weight", "running_var")):
                value = 0.75 + 0.1 * value.clamp(-2, 2)
            else:
                value = 0.1 * value
            if ".bbox_pred." in name or ".anchor_deltas." in name:
                value = 0.3 * value
            elif "fpn_lateral" in name:
                value = 0.002 * value  # pixels are in the hundreds
            elif name.endswith("conv3.norm.weight"):
                value = 0.25 * value  # or every block would double the variance
            state[name] = value
        return state

    def backbone(self, state: Tensors, picture: Tensor) -> list[Tensor]:
        """BGR 0..255 [1,3,H,W] -> P2..P6."""

        def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
            weight = state[f"{name}.weight"]
            y = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
            keys = ("running_mean", "running_var", "weight", "bias")
            return F.batch_norm(y, *(state[f"{name}.norm.{key}"] for key in keys), eps=1e-5)

        mean = torch.tensor((103.53, 116.28, 123.675)).view(1, 3, 1, 1)
        x = F.relu(conv(f"{_BOTTOM}.stem.conv1", picture - mean, 2))
        x = F.max_pool2d(x, 3, 2, 1)
        maps = []
        for stage, blocks in enumerate(self.blocks, 2):
            for block in range(blocks):
                base, stride = f"{_BOTTOM}.res{stage}.{block}", 2 if block == 0 and stage > 2 else 1
                y = F.relu(conv(f"{base}.conv1", x, stride))  # the stride is in the 1x1
                y = conv(f"{base}.conv3", F.relu(conv(f"{base}.conv2", y)))
                x = F.relu(y + (conv(f"{base}.shortcut", x, stride) if block == 0 else x))
            maps.append(x)
        found: list[Tensor] = []
        top: Tensor | None = None
        for level in range(5, 1, -1):
            lateral = _affine(state, f"backbone.fpn_lateral{level}", maps[level - 2])
            top = lateral if top is None else lateral + F.interpolate(top, scale_factor=2.0, mode="nearest")
            found.insert(0, _affine(state, f"backbone.fpn_output{level}", top, padding=1))
        return [*found, F.max_pool2d(found[3], kernel_size=1, stride=2, padding=0)]

    def densepose(self, state: Tensors, pyramid: list[Tensor], boxes: Tensor) -> list[Tensor]:
        """P2..P6 and boxes [n,4] -> coarse, fine, U and V as the predictor gives them."""
        x = pooled(pyramid[:4], boxes, 14) if self.legacy else align(self._decoded(state, pyramid), boxes, 28, 4)
        if self.deep_lab:
            x = _aspp(state, x)
        for index in range(8):
            name = f"{_HEAD}.body_conv_fcn{index + 1}"
            x = _affine(state, name, x, padding=1)
            x = F.relu(_group(state, f"{name}.norm", x) if self.deep_lab else x)
        maps = {}
        for name in self._outputs():
            key = f"{_PREDICTOR}.{name}_lowres"
            y = F.conv_transpose2d(x, state[f"{key}.weight"], state[f"{key}.bias"], stride=2, padding=1)
            maps[name] = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
        return [maps[name] for name in ("ann_index", "index_uv", "u", "v")]

    @staticmethod
    def _decoded(state: Tensors, pyramid: list[Tensor]) -> Tensor:
        total: Tensor | float = 0.0
        for level, feature in enumerate(pyramid[:4], 2):
            x = feature
            for step in range(max(1, level - 2)):
                x = F.relu(_affine(state, f"roi_heads.decoder.p{level}.{2 * step}", x, padding=1))
                if level > 2:
                    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            total = total + x
        return _affine(state, "roi_heads.decoder.predictor", total)  # type: ignore[arg-type]


def _affine(state: Tensors, name: str, x: Tensor, **options: int) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)  # type: ignore[arg-type]


def _group(state: Tensors, name: str, x: Tensor) -> Tensor:
    return F.group_norm(x, 32, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-5)


def _aspp(state: Tensors, x: Tensor) -> Tensor:
    parts = []
    for branch, rate in enumerate((0, 6, 12, 56)):
        y = _affine(state, f"{_HEAD}.ASPP.convs.{branch}.0", x, padding=rate, dilation=max(rate, 1))
        parts.append(F.relu(_group(state, f"{_HEAD}.ASPP.convs.{branch}.1", y)))
    y = _affine(state, f"{_HEAD}.ASPP.convs.4.1", F.adaptive_avg_pool2d(x, 1))
    y = F.relu(_group(state, f"{_HEAD}.ASPP.convs.4.2", y))
    parts.append(F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False))
    return F.relu(_affine(state, f"{_HEAD}.ASPP.project.0", torch.cat(parts, 1)))


def align(feature: Tensor, boxes: Tensor, size: int, stride: int) -> Tensor:
    """RoIAlign, not aligned, two samples a side of a cell: [n,C,size,size] of one picture."""
    low, extent = boxes[:, :2] / stride, ((boxes[:, 2:] - boxes[:, :2]) / stride).clamp(min=1.0)
    steps = (torch.arange(2 * size) + 0.5) / (2 * size)
    x, y = ((low[:, i, None] + steps * extent[:, i, None]) for i in (0, 1))
    places = torch.stack([a.expand(len(boxes), 2 * size, 2 * size) for a in (x[:, None, :], y[:, :, None])], -1)
    whole = torch.tensor([feature.shape[3], feature.shape[2]])
    grid = places / (whole - 1) * 2 - 1  # integers are the centres of cells
    source = feature.expand(len(boxes), -1, -1, -1)
    sampled = F.grid_sample(source, grid, mode="bilinear", padding_mode="border", align_corners=True)
    inside = (places <= whole).all(-1)  # a box of less than a cell is read as one of a cell, and may reach out
    return F.avg_pool2d(sampled * inside[:, None], 2)


def pooled(pyramid: list[Tensor], boxes: Tensor, size: int) -> Tensor:
    """RoIAlign from the level of each box's scale: a box of 224 pixels is of P4."""
    rows = []
    for box in boxes:
        side = math.sqrt(float((box[2] - box[0]) * (box[3] - box[1])))
        level = min(max(math.floor(4 + math.log2(side / 224 + 1e-8)), 2), 5)
        rows.append(align(pyramid[level - 2], box[None], size, 2**level))
    return torch.cat(rows)


def proposals(state: Tensors, pyramid: list[Tensor], height: int, width: int) -> Tensor:
    """The region proposal network at test time: at most 1000 boxes [n,4] by objectness."""
    boxes, scores = [], []
    for level, feature in enumerate(pyramid, 2):
        hidden = F.relu(_affine(state, "proposal_generator.rpn_head.conv", feature, padding=1))
        logits = _affine(state, "proposal_generator.rpn_head.objectness_logits", hidden)[0]
        deltas = _affine(state, "proposal_generator.rpn_head.anchor_deltas", hidden)[0]
        stride, size = 2**level, 8 * 2**level
        rows, columns = logits.shape[1:]
        anchors = torch.zeros(rows, columns, 3, 4)
        for k, ratio in enumerate((0.5, 1.0, 2.0)):
            w = math.sqrt(size * size / ratio)
            half = torch.tensor([-w / 2, -w * ratio / 2, w / 2, w * ratio / 2])
            ys, xs = torch.meshgrid(torch.arange(rows) * stride, torch.arange(columns) * stride, indexing="ij")
            anchors[:, :, k] = torch.stack([xs, ys, xs, ys], -1) + half
        flat = logits.permute(1, 2, 0).reshape(-1)
        offsets = deltas.view(3, 4, rows, columns).permute(2, 3, 0, 1).reshape(-1, 4)
        best, where = flat.topk(min(1000, len(flat)))
        found = _clipped(_moved(anchors.reshape(-1, 4)[where], offsets[where], (1, 1, 1, 1)), height, width)
        real = ((found[:, 2:] - found[:, :2]) > 0).all(1)
        kept = suppress(found[real].numpy(), best[real].numpy(), 0.7)
        boxes.append(found[real][kept])
        scores.append(best[real][kept])
    order = torch.cat(scores).argsort(descending=True, stable=True)[:1000]
    return torch.cat(boxes)[order]


def detect(state: Tensors, pyramid: list[Tensor], height: int, width: int) -> tuple[Tensor, Tensor]:
    """Boxes [n,4] and scores [n] of one picture, by score: above 0.05, NMS 0.5, at most 100."""
    found = proposals(state, pyramid, height, width)
    x = pooled(pyramid[:4], found, 7).flatten(1)
    for name in ("fc1", "fc2"):
        x = F.relu(F.linear(x, *(state[f"roi_heads.box_head.{name}.{k}"] for k in ("weight", "bias"))))
    logits, deltas = (
        F.linear(x, *(state[f"roi_heads.box_predictor.{name}.{k}"] for k in ("weight", "bias")))
        for name in ("cls_score", "bbox_pred")
    )
    person = torch.softmax(logits, 1)[:, 0]  # the background is last
    boxes = _clipped(_moved(found, deltas, (10, 10, 5, 5)), height, width)
    sure = person > 0.05
    kept = suppress(boxes[sure].numpy(), person[sure].numpy(), 0.5)[:100]
    return boxes[sure][kept], person[sure][kept]


def _moved(boxes: Tensor, deltas: Tensor, weights: tuple[float, ...]) -> Tensor:
    extent = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + 0.5 * extent
    shift, growth = deltas[:, :2] / torch.tensor(weights[:2]), deltas[:, 2:] / torch.tensor(weights[2:])
    centre = centre + shift * extent
    extent = growth.clamp(max=_LOG_CLAMP).exp() * extent
    return torch.cat([centre - 0.5 * extent, centre + 0.5 * extent], 1)


def _clipped(boxes: Tensor, height: int, width: int) -> Tensor:
    limit = torch.tensor([width, height, width, height], dtype=boxes.dtype)
    return torch.minimum(boxes.clamp(min=0), limit)


def suppress(boxes: np.ndarray, scores: np.ndarray, limit: float) -> np.ndarray:
    """Greedy non-maximum suppression: indices of what is kept, by score."""
    order = np.argsort(-scores, kind="stable")
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while len(order):
        first, order = order[0], order[1:]
        kept.append(first)
        low, high = np.maximum(boxes[first, :2], boxes[order, :2]), np.minimum(boxes[first, 2:], boxes[order, 2:])
        common = (high - low).clip(min=0).prod(1)
        order = order[common <= limit * (area[first] + area[order] - common)]
    return np.array(kept, int)
