"""Non-maximum suppression in every picture of a batch at once."""

from __future__ import annotations

import torch
from torch import Tensor

from training.model import boxes as box_ops

_ROUNDS = 8  # rounds before each check whether anything still changes, for which a GPU has to wait


def nms_of_each(boxes: Tensor, usable: Tensor, iou: float) -> Tensor:
    """What torchvision's `nms` keeps of each row, in one computation for all rows.

    A box is kept if no kept box before it overlaps it by more than `iou`. All boxes are kept at first, and every round
    keeps those that none of the boxes kept before it suppresses. A box at the end of a chain of k boxes is right after
    k rounds, and chains are short.

    Args:
        boxes: [B,k,4], the best first; usable: bool [B,k], the others neither stay nor suppress.

    Returns:
        bool [B,k].
    """
    count = boxes.shape[1]
    before = torch.ones(count, count, dtype=torch.bool, device=boxes.device).triu(1)
    suppresses = ((box_ops.iou(boxes, boxes) > iou) & before).to(torch.float32)  # [B, by, whom]
    kept = usable
    while True:
        last = kept
        for _ in range(_ROUNDS):
            kept = usable & (torch.bmm(kept[:, None].float(), suppresses)[:, 0] == 0)
        if torch.equal(kept, last):
            return kept
