"""Loss of the proposal network: binary cross-entropy and smooth L1 (beta 1/9) on sampled anchors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.config import RpnConfig
from training.losses.sampling import LabelledPeople, balanced, match
from training.model import boxes as box_ops


def proposal_loss(
    logits: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    people: LabelledPeople,
    config: RpnConfig,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """(objectness loss, box loss) of a batch: logits [B,A], deltas [B,A,4], anchors [A,4]."""
    labels, index = match(
        anchors[None],
        people,
        config.foreground_iou,
        config.background_iou,
        scores=logits.detach().sigmoid(),
        best_for_each=True,
    )
    drawn = balanced(labels, config.anchors_per_image, 0.5, generator)
    chosen = torch.cat([drawn.positive, drawn.negative], 1)
    mask = torch.cat([drawn.positives, drawn.negatives], 1)
    scale = 1.0 / mask.sum().clamp(min=1)
    answer, target = logits.gather(1, chosen), labels.gather(1, chosen).clamp(min=0).to(logits.dtype)
    objectness = (F.binary_cross_entropy_with_logits(answer, target, reduction="none") * mask).sum() * scale
    if not people.boxes.shape[1]:
        return objectness, deltas.sum() * 0
    own = index.gather(1, drawn.positive)
    wanted = box_ops.encode(_rows(people.boxes, own), anchors[drawn.positive], box_ops.RPN_WEIGHTS)
    error = F.smooth_l1_loss(_rows(deltas, drawn.positive), wanted, beta=1 / 9, reduction="none")
    return objectness, error.sum(2).masked_fill(~drawn.positives, 0.0).sum() * scale


def _rows(values: Tensor, numbers: Tensor) -> Tensor:
    """The rows `numbers` [B,k] of values [B,a,4]: [B,k,4]."""
    return values.gather(1, numbers[..., None].expand(-1, -1, values.shape[2]))
