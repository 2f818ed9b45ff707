"""The three graphs that are exported, detector, parsing head and DensePose head, as torch modules.

The arithmetic is the model's own (`training.model`). Added is what serving needs inside a graph: uint8 inputs, NMS and
limits, the argmax of parts and the quantisation of IUV, so that a person leaves the graph as kilobytes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import nms

from export.options import Pooling
from export.picked_iuv import PickedIuv
from export.roi_align import LEVEL, roi_align_matmul
from parsing_rcnn.limits import MAX_PEOPLE
from training.model import boxes as box_ops
from training.model.answers import part_answer
from training.model.box_branch import BoxBranch, roi_align_level
from training.model.parsing_rcnn import ParsingRCNN


class StaticBoxBranch(nn.Module):
    """The box branch, with every RoI pooled from every level, and a mask that selects the right one.

    Values are those of `roi_align_pyramid`. No shape depends on the level that a box belongs to, which exporters need,
    and at 7x7 the extra samples cost less than gather and scatter would. INT8 files for CPUs pool each RoI once
    (`export.packed_levels`), and so do TensorRT's engines, by the plugin.
    """

    def __init__(self, branch: BoxBranch) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, pyramid: dict[int, Tensor], rois: Tensor) -> tuple[Tensor, Tensor]:
        """RoIs [r,4] of one image -> logits [r,2], deltas [r,4]."""
        branch, levels = self.branch, self.branch.config.levels
        chosen = box_ops.level_of(rois, levels[0], levels[-1])
        indexed = torch.cat([torch.zeros_like(rois[:, :1]), rois], 1)
        pooled = roi_align_level(pyramid[levels[0]], indexed, branch.config.roi_size, levels[0])
        for level in levels[1:]:
            here = (chosen == level)[:, None, None, None]
            found = roi_align_level(pyramid[level], indexed, branch.config.roi_size, level)
            pooled = torch.where(here, found, pooled)
        x = pooled.flatten(1)
        x = torch.relu(branch.fc2(torch.relu(branch.fc1(x))))
        return branch.score(x), branch.delta(x)


class DetectorGraph(nn.Module):
    """CANVAS uint8 [H,W,3] RGB, LIMITS fp32 [2] -> BOXES [n,4], SCORES [n], COUNT int32 [1], ROI_FEATURES [n,C,32,32].

    LIMITS = (minimum score, most people). 1 <= n <= `most`: without a person there is one dummy row and COUNT is 0.

    Args:
        model: the network with its weights.
        most: the most people, whatever LIMITS allow.
        proposals: the most proposals; None: the recipe's.
        static: n is always `most`; rows from COUNT on are dummies (zero boxes, score 0). No shape depends on what the
            network finds, but for the indices that NMS gives.
        pooling: how ROI_FEATURES are pooled: "roi_align", or "matmul", which is the same as two matrix products.
    """

    def __init__(
        self,
        model: ParsingRCNN,
        most: int = MAX_PEOPLE,
        *,
        proposals: int | None = None,
        static: bool = False,
        pooling: Pooling = "roi_align",
    ) -> None:
        super().__init__()
        self.model = model
        self.box = StaticBoxBranch(model.box)
        self.most, self.static, self.pooling = most, static, pooling
        self.proposals = proposals or model.config.rpn.proposals_test

    def forward(self, canvas: Tensor, limits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        model = self.model
        height, width = canvas.shape[0], canvas.shape[1]
        # as `ParsingRCNN.pyramid`, but channels last up to the network, as the picture comes and as runtimes prefer
        normal = (canvas[None].float() - model.mean.view(1, 1, 1, 3)) / model.std.view(1, 1, 1, 3)
        pyramid = model.fpn(model.backbone(normal.permute(0, 3, 1, 2)))
        logits, deltas, anchors = model.rpn(pyramid)
        proposals = model.rpn.propose(
            [x[0] for x in logits],
            [x[0] for x in deltas],
            anchors,
            (height, width),
            self.proposals,
        )
        found = proposals.shape[0]
        if self.static:
            proposals = _padded(proposals, self.proposals)
        scores, refined = self.box(pyramid, proposals)
        person = torch.softmax(scores, 1)[:, 1]
        boxes = box_ops.clip(box_ops.decode(refined, proposals, box_ops.BOX_WEIGHTS), height, width)
        if self.static:  # padding gets a score below every other and every minimum
            person = torch.where(torch.arange(person.shape[0]) < found, person, -torch.ones_like(person))
        rows = nms(boxes, person, model.config.box.nms_iou)
        boxes, person = boxes[rows], person[rows]
        boxes, person, kept = self._static(boxes, person, limits) if self.static else self._few(boxes, person, limits)
        features = self._pool(pyramid[2], boxes)
        return boxes, person, kept.sum().to(torch.int32)[None], features

    def _few(self, boxes: Tensor, person: Tensor, limits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes and scores of the people within LIMITS, at least one row; and which of the given rows are people."""
        allowed = limits[1].clamp(0, self.most)
        rank = torch.arange(person.shape[0])
        kept = (person >= limits[0]) & (rank < allowed)
        # the scores fall from row to row, so the kept rows come first; a dummy row stands in for nobody
        dummy = torch.cat([~kept[:1], torch.zeros_like(kept[1:])])
        chosen = torch.nonzero(kept | dummy)[:, 0]
        return boxes[chosen], person[chosen], kept

    def _static(self, boxes: Tensor, person: Tensor, limits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`most` boxes and scores, zero but for the people within LIMITS; and which of these rows are people."""
        rank = torch.arange(self.most)
        found = rank < person.shape[0]
        boxes, person = _padded(boxes, self.most), _padded(person, self.most)
        # padded proposals have scores below 0, missing rows are not `found`: nobody, even at a minimum of 0
        kept = found & (person >= limits[0].clamp(min=0)) & (rank < limits[1].clamp(0, self.most))
        return (
            torch.where(kept[:, None], boxes, torch.zeros_like(boxes)),
            torch.where(kept, person, torch.zeros_like(person)),
            kept,
        )

    def _pool(self, finest: Tensor, boxes: Tensor) -> Tensor:
        size = self.model.config.branch.roi_size
        if self.pooling == "matmul":
            return roi_align_matmul(finest, boxes, size)
        return roi_align_level(finest, torch.cat([torch.zeros_like(boxes[:, :1]), boxes], 1), size, LEVEL)


def _padded(rows: Tensor, length: int) -> Tensor:
    """Rows [r,...] -> [length,...]: cut, or followed by zeros."""
    return torch.narrow(torch.cat([rows, rows.new_zeros((length, *rows.shape[1:]))]), 0, 0, length)


class ParsingGraph(nn.Module):
    """ROI_FEATURES [n,C,32,32] -> PARTS uint8 [n,128,128], PART_SCORES fp32 [n,classes], PART_PROBS uint8.

    PART_SCORES: the mean probability of each class over the pixels where it is the likeliest; 0 where it has no pixel.
    """

    def __init__(self, model: ParsingRCNN) -> None:
        super().__init__()
        self.trunk, self.head = model.parsing_trunk, model.parsing_head

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return part_answer(self.head(self.trunk(features)))


class DensePoseGraph(nn.Module):
    """ROI_FEATURES [n,C,32,32] -> IUV uint8 [n,3,128,128], IUV_SCORES fp32 [n,25].

    IUV: the part 0..24, and its U and V times 255. IUV_SCORES: the mean probability of each part where it is shown, 0
    for a part that is not (`training.model.answers.iuv_scores`). `ModelConfig.densepose_background` says what counts as
    background.
    """

    def __init__(self, model: ParsingRCNN) -> None:
        super().__init__()
        self.trunk = model.densepose_trunk
        self.head = PickedIuv(model.densepose_head, model.config.densepose_background)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        iuv, scores = self.head(self.trunk(features))
        return iuv, scores
