"""Region proposal network: anchors, objectness, box deltas, proposals."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.ops import nms

from training.config import RpnConfig
from training.model import boxes as box_ops
from training.model.layers import conv_block
from training.model.suppression import nms_of_each


class RegionProposals(nn.Module):
    """A 3x3 convolution, objectness and deltas for every anchor of every level."""

    def __init__(self, channels: int, config: RpnConfig) -> None:
        super().__init__()
        self.config = config
        count = len(config.ratios)
        self.conv = conv_block(channels, channels, 3)
        self.objectness = nn.Conv2d(channels, count, 1)
        self.deltas = nn.Conv2d(channels, 4 * count, 1)
        for layer in (self.objectness, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        cells = []
        for level, size in zip(config.levels, config.anchor_sizes, strict=True):
            # in double precision, because the last bit of a square root in single differs between processors
            ratio = torch.tensor(config.ratios, dtype=torch.float64)  # height / width
            if config.round_at_stride:
                width = (2**level / ratio.sqrt()).round()
                half = torch.stack([width, (width * ratio).round()], 1) * (size / 2**level) / 2
            else:
                half = torch.stack([size / ratio.sqrt(), size * ratio.sqrt()], 1) / 2
            cell = torch.cat([-half, half], 1)
            cells.append((cell.round() if config.round_anchors else cell).float())
        self.register_buffer("cells", torch.stack(cells), persistent=False)  # [levels, ratios, 4]
        self.cells: Tensor

    def forward(self, pyramid: Mapping[int, Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Per level: logits [B,a], deltas [B,a,4] and anchors [a,4], a = H*W*ratios in row-major order."""
        logits, deltas, anchors = [], [], []
        for index, level in enumerate(self.config.levels):
            x = pyramid[level]
            hidden = self.conv(x)
            batch = x.shape[0]
            logits.append(self.objectness(hidden).permute(0, 2, 3, 1).reshape(batch, -1))
            deltas.append(self.deltas(hidden).permute(0, 2, 3, 1).reshape(batch, -1, 4))
            anchors.append(self._anchors(x, index, 2**level))
        return logits, deltas, anchors

    def _anchors(self, x: Tensor, index: int, stride: int) -> Tensor:
        ys = (torch.arange(x.shape[2], device=x.device) + self.config.anchor_offset) * stride
        xs = (torch.arange(x.shape[3], device=x.device) + self.config.anchor_offset) * stride
        grid_y, grid_x = torch.meshgrid(ys, xs, indexing="ij")
        centres = torch.stack([grid_x, grid_y, grid_x, grid_y], -1)[:, :, None]
        return (centres + self.cells[index]).reshape(-1, 4)

    def propose(
        self,
        logits: list[Tensor],
        deltas: list[Tensor],
        anchors: list[Tensor],
        size: tuple[int, int],
        limit: int,
    ) -> Tensor:
        """Proposals of ONE image: the best `rpn.pre_nms` of each level, decoded, NMS within a level, the best `limit`.

        Args:
            logits, deltas, anchors: per level [a], [a,4], [a,4].
            size: (height, width) of the canvas.

        Returns:
            fp32 [p,4], p <= limit, by objectness.
        """
        scores, found, shifts = [], [], []
        span = float(2 * max(size)) if isinstance(size[0], int) else 4096.0
        for index, (logit, delta, anchor) in enumerate(zip(logits, deltas, anchors, strict=True)):
            count = min(self.config.pre_nms, logit.shape[0])
            best, where = logit.topk(count)
            decoded = box_ops.decode(delta[where], anchor[where], box_ops.RPN_WEIGHTS)
            scores.append(best)
            found.append(box_ops.clip(decoded, size[0], size[1]))
            shifts.append(torch.full_like(best, index * span))
        score, candidates, shift = torch.cat(scores), torch.cat(found), torch.cat(shifts)
        if self.config.least_side:
            sides = candidates[:, 2:] - candidates[:, :2]
            large = (sides >= self.config.least_side).all(1)
            score, candidates, shift = score[large], candidates[large], shift[large]
        if isinstance(size[0], int):
            keep = self._levels_apart(candidates, score, shift)[:limit]
        else:  # in a graph, one NMS serves all levels: shifted apart, their boxes never meet
            keep = nms(candidates + shift[:, None], score, self.config.nms_iou)[:limit]
        return candidates[keep]

    @torch.no_grad()
    def propose_for_training(
        self, logits: list[Tensor], deltas: list[Tensor], anchors: list[Tensor], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Proposals of every picture of a batch, as `propose` finds them, with the recipe's limits for training.

        Args:
            logits, deltas, anchors: per level [B,a], [B,a,4], [a,4].
            size: (height, width) of the canvases.

        Returns:
            fp32 [B,p,4], p <= `rpn.proposals_train`, by objectness, and bool [B,p], which of them are proposals: a
            picture with fewer is filled up.
        """
        limit = self.config.pre_nms_train or self.config.pre_nms
        scores, boxes, kept = [], [], []
        for logit, delta, anchor in zip(logits, deltas, anchors, strict=True):
            best, where = logit.float().topk(min(limit, logit.shape[1]), 1)
            rows = where[..., None].expand(-1, -1, 4)
            decoded = box_ops.decode(delta.float().gather(1, rows), anchor[where], box_ops.RPN_WEIGHTS)
            found = box_ops.clip(decoded, size[0], size[1])
            usable = torch.ones_like(best, dtype=torch.bool)
            if self.config.least_side:
                usable = (found[..., 2:] - found[..., :2] >= self.config.least_side).all(2)
            scores.append(best.sigmoid() if self.config.rank_by_probability else best)
            boxes.append(found)
            kept.append(nms_of_each(found, usable, self.config.nms_iou))
        score = torch.cat(scores, 1).masked_fill(~torch.cat(kept, 1), float("-inf"))
        best, where = score.topk(min(self.config.proposals_train, score.shape[1]), 1)
        return torch.cat(boxes, 1).gather(1, where[..., None].expand(-1, -1, 4)), best > float("-inf")

    def _levels_apart(self, boxes: Tensor, scores: Tensor, level: Tensor) -> Tensor:
        """Indices of what NMS keeps on each level, by score. One NMS over shifted boxes would round, and cost more."""
        kept = torch.zeros_like(scores, dtype=torch.bool)
        for value in level.unique():
            rows = torch.nonzero(level == value)[:, 0]
            kept[rows[nms(boxes[rows], scores[rows], self.config.nms_iou)]] = True
        rows = torch.nonzero(kept)[:, 0]
        rank = scores[rows].sigmoid() if self.config.rank_by_probability else scores[rows]
        return rows[rank.argsort(descending=True)]
