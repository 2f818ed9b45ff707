"""From the heads' maps to what leaves the network: the same arithmetic in torch and inside the exported graphs."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def part_answer(probabilities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Class probabilities [n,C,S,S] -> PARTS uint8 [n,S,S], PART_SCORES fp32 [n,C], PART_PROBS uint8 [n,C,S,S].

    PART_SCORES: mean probability of each class over the pixels that it won, 0 for a class that won none.
    """
    best, parts = probabilities.max(1)
    classes = torch.arange(probabilities.shape[1], dtype=torch.int64, device=parts.device)[None, :, None, None]
    won = (parts[:, None] == classes).to(best.dtype)
    scores = (won * best[:, None]).sum((2, 3)) / won.sum((2, 3)).clamp(min=1)
    quantised = torch.round(probabilities * 255).to(torch.uint8)
    return parts.to(torch.float32).to(torch.uint8), scores, quantised


def iuv_answer(
    coarse: Tensor, index: Tensor, u: Tensor, v: Tensor, background: Literal["either", "coarse"] = "either"
) -> Tensor:
    """Coarse [n,15,S,S], part [n,25,S,S] (logits or probabilities), U, V [n,25,S,S] -> IUV uint8 [n,3,S,S].

    Args:
        background: `ModelConfig.densepose_background`.
    """
    best = index.argmax(1, keepdim=True) if background == "either" else index[:, 1:].argmax(1, keepdim=True) + 1
    parts = best * (coarse.argmax(1, keepdim=True) > 0)
    body = (parts > 0).to(u.dtype)
    chosen_u = torch.gather(u, 1, parts).clamp(0, 1) * body
    chosen_v = torch.gather(v, 1, parts).clamp(0, 1) * body
    scaled = torch.cat([chosen_u, chosen_v], 1) * 255
    return torch.cat([parts.to(torch.float32).to(torch.uint8), scaled.to(torch.uint8)], 1)


def keypoint_answer(logits: Tensor, boxes: Tensor) -> Tensor:
    """Where each keypoint lies, as Mask R-CNN's authors read it (He et al. 2017, section 5, and their code).

    A RoI's maps are scaled to the whole pixels of its box (bicubic); the best pixel's middle is the place, and its
    probability, over the map as it was, the score.

    Args:
        logits: [n,K,S,S]; boxes: [n,4] in pixels.

    Returns:
        fp32 [n,K,3]: x, y in the pixels of the boxes, and the score, which scaling may lift above 1.
    """
    sizes = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    out = logits.new_zeros((*logits.shape[:2], 3), dtype=torch.float32)
    for row, (width, height) in enumerate(sizes.ceil().int().tolist()):
        own = logits[row].float()
        scaled = F.interpolate(own[None], size=(height, width), mode="bicubic", align_corners=False)[0]
        best, cell = scaled.flatten(1).max(1)
        middle = torch.stack([cell % width, cell // width], 1) + 0.5
        whole = middle.new_tensor([width, height])
        out[row, :, :2] = boxes[row, :2] + middle * (sizes[row] / whole)
        out[row, :, 2] = torch.exp(best - own.flatten(1).logsumexp(1))
    return out
