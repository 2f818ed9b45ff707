"""Export-friendly views of the network: detector, parsing head and DensePose head, with the serving tensors.

The arithmetic is the model's own (`training.model`); what is added here is what serving wants inside the graph:
uint8 in, NMS and limits, part argmax and IUV quantisation, so that a person leaves as kilobytes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import nms

from export.options import Pooling
from export.picked_iuv import PickedIuv
from export.roi_align import roi_align_matmul
from parsing_rcnn.runtime import MAX_PEOPLE
from training.model import boxes as box_ops
from training.model.answers import part_answer
from training.model.box_branch import BoxBranch, roi_align_level
from training.model.parsing_rcnn import ParsingRCNN


class StaticBoxBranch(nn.Module):
    """The box branch with every level pooling every RoI and a mask that selects.

    Values are those of `roi_align_pyramid`; the shapes do not depend on which level a box falls into, which
    every exporter needs, and at 7x7 the extra samples cost less than gather and scatter. INT8 files for CPUs pool each
    RoI once (`export.packed_levels`), TensorRT's engines by the plugin.
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
        model: weights.
        most: people at most, whatever LIMITS allow.
        proposals: of the proposal network at most; None: as the model's recipe says.
        static: n is always `most`, rows behind COUNT are dummies (zero boxes, score 0), and no shape depends on what
            the network finds, but for the indices that NMS gives.
        pooling: how ROI_FEATURES are pooled: "roi_align", or "matmul", the same as two matrix products.
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
        # as `ParsingRCNN.pyramid`, but channels last until the network, as the picture comes and as runtimes want it
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
        if self.static:  # what is padding loses against everybody and is below every minimum
            person = torch.where(torch.arange(person.shape[0]) < found, person, -torch.ones_like(person))
        rows = nms(boxes, person, model.config.box.nms_iou)
        boxes, person = boxes[rows], person[rows]
        boxes, person, kept = self._static(boxes, person, limits) if self.static else self._few(boxes, person, limits)
        features = self._pool(pyramid[2], boxes)
        return boxes, person, kept.sum().to(torch.int32)[None], features

    def _few(self, boxes: Tensor, person: Tensor, limits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        allowed = limits[1].clamp(0, self.most)
        rank = torch.arange(person.shape[0])
        kept = (person >= limits[0]) & (rank < allowed)
        # the scores fall from row to row, so the kept rows come first; a dummy row stands in for nobody
        dummy = torch.cat([~kept[:1], torch.zeros_like(kept[1:])])
        chosen = torch.nonzero(kept | dummy)[:, 0]
        return boxes[chosen], person[chosen], kept

    def _static(self, boxes: Tensor, person: Tensor, limits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rank = torch.arange(self.most)
        found = rank < person.shape[0]
        boxes, person = _padded(boxes, self.most), _padded(person, self.most)
        # a score of padding is below 0 and that of missing rows 0: neither is a person, even at a minimum of 0
        kept = found & (person >= limits[0].clamp(min=0)) & (rank < limits[1].clamp(0, self.most))
        return (
            torch.where(kept[:, None], boxes, torch.zeros_like(boxes)),
            torch.where(kept, person, torch.zeros_like(person)),
            kept,
        )

    def _pool(self, finest: Tensor, boxes: Tensor) -> Tensor:
        size = self.model.config.branch.roi_size
        if self.pooling == "matmul":
            return roi_align_matmul(finest, boxes, size, 2)
        return roi_align_level(finest, torch.cat([torch.zeros_like(boxes[:, :1]), boxes], 1), size, 2)


def _padded(rows: Tensor, length: int) -> Tensor:
    """Rows [r,...] -> [length,...]: the first of them, zeros where they end."""
    return torch.narrow(torch.cat([rows, rows.new_zeros((length, *rows.shape[1:]))]), 0, 0, length)


class ParsingGraph(nn.Module):
    """ROI_FEATURES [n,C,32,32] -> PARTS uint8 [n,128,128], PART_SCORES fp32 [n,classes], PART_PROBS uint8.

    PART_SCORES: mean probability of each class over the pixels that it won, 0 for a class that won none.
    """

    def __init__(self, model: ParsingRCNN) -> None:
        super().__init__()
        self.trunk, self.head = model.parsing_trunk, model.parsing_head

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return part_answer(self.head(self.trunk(features)))


class DensePoseGraph(nn.Module):
    """ROI_FEATURES [n,C,32,32] -> IUV uint8 [n,3,128,128], IUV_SCORES fp32 [n,25].

    IUV: part 0..24, U and V of that part times 255. IUV_SCORES: mean probability of each part where it is shown, 0 for
    a part that is not (`training.model.answers.iuv_scores`). What is background: `ModelConfig.densepose_background`.
    """

    def __init__(self, model: ParsingRCNN) -> None:
        super().__init__()
        self.trunk = model.densepose_trunk
        self.head = PickedIuv(model.densepose_head, model.config.densepose_background)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        iuv, scores = self.head(self.trunk(features))
        return iuv, scores
