"""Loss of the proposal network: binary cross-entropy and smooth L1 (beta 1/9) on sampled anchors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.config import RpnConfig
from training.losses.sampling import People, balanced, match
from training.model import boxes as box_ops


def proposal_loss(
    logits: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    people: list[People],
    config: RpnConfig,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """(objectness loss, box loss) of a batch: logits [B,A], deltas [B,A,4], anchors [A,4]."""
    objectness, regression, total = [], [], 0
    for logit, delta, labelled in zip(logits, deltas, people, strict=True):
        labels, index = match(
            anchors,
            labelled,
            config.foreground_iou,
            config.background_iou,
            scores=logit.detach().sigmoid(),
            best_for_each=True,
        )
        positive, negative = balanced(labels, config.anchors_per_image, 0.5, generator)
        chosen = torch.cat([positive, negative])
        total += len(chosen)
        target = labels[chosen].to(logit.dtype)
        objectness.append(F.binary_cross_entropy_with_logits(logit[chosen], target, reduction="sum"))
        if len(positive):
            wanted = box_ops.encode(labelled.boxes[index[positive]], anchors[positive], box_ops.RPN_WEIGHTS)
            regression.append(F.smooth_l1_loss(delta[positive], wanted, beta=1 / 9, reduction="sum"))
    scale = 1.0 / max(total, 1)
    zero = deltas.sum() * 0
    return torch.stack(objectness).sum() * scale, (torch.stack(regression).sum() if regression else zero) * scale
