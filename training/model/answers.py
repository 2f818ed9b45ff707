"""From the heads' maps to the network's answers: the same arithmetic in torch and in the exported graphs.

Only IUV is computed differently in graphs, by `export.picked_iuv`, with less work and the same numbers.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def part_answer(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Class logits [n,C,S,S] -> PARTS uint8 [n,S,S], PART_SCORES fp32 [n,C], PART_PROBS uint8 [n,C,S,S].

    PART_SCORES: the mean probability of each class over the pixels where it is the best, 0 if there are none.

    Args:
        logits: or the logarithms of probabilities.
    """
    parts, largest = best_channel(logits)
    shares = torch.exp(logits - largest)
    total = shares.sum(1, keepdim=True)
    won = (parts == _channels(logits)).to(logits.dtype)
    # as a matrix product of cells: `won` is read once, and in the order in which it lies (see `best_channel`)
    top = (1 / total).flatten(2)
    summed = torch.cat([top, torch.ones_like(top)], 1) @ won.permute(0, 2, 3, 1).flatten(1, 2)
    scores = summed[:, 0] / summed[:, 1].clamp(min=1)
    quantised = torch.round(shares / total * 255).to(torch.uint8)
    return parts[:, 0].to(torch.uint8), scores, quantised


def iuv_answer(
    coarse: Tensor, index: Tensor, u: Tensor, v: Tensor, background: Literal["either", "coarse"] = "either"
) -> Tensor:
    """Coarse [n,15,S,S], part [n,25,S,S] (logits or probabilities), U, V [n,25,S,S] -> IUV uint8 [n,3,S,S].

    Args:
        background: `ModelConfig.densepose_background`.
    """
    best = best_channel(index)[0] if background == "either" else best_channel(index[:, 1:])[0] + 1
    parts = best * somebody(coarse)
    chosen = (parts == _channels(index)).to(u.dtype)
    body = (parts > 0).to(u.dtype)
    scaled = [(x * chosen).sum(1, keepdim=True).clamp(0, 1) * body * 255 for x in (u, v)]
    return torch.cat([parts, *scaled], 1).to(torch.uint8)


def iuv_scores(coarse: Tensor, index: Tensor, background: Literal["either", "coarse"] = "either") -> Tensor:
    """Coarse [n,15,S,S] and part logits [n,25,S,S] -> IUV_SCORES fp32 [n,25]: how sure the maps are of what they show.

    This is the mean probability of each part over the cells that show it, and 0 for the background and for parts that
    no cell shows. In a cell it is the probability that somebody is there, by the coarse map, times that of the part
    among all 24, by the index. Exported graphs take the maps before the last upsampling by two: a quarter of the cells
    gives the same means.

    Args:
        coarse, index: logits, or logarithms of probabilities.
        background: `ModelConfig.densepose_background`.
    """
    parts = index[:, 1:]
    body = somebody(coarse)
    if background == "either":
        body = body * (parts.amax(1, keepdim=True) > index[:, :1]).to(index.dtype)
    return shown_scores(coarse, parts, body)


def shown_scores(coarse: Tensor, parts: Tensor, body: Tensor) -> Tensor:
    """`iuv_scores` of the logits [n,24,S,S] of the parts alone; `body` [n,1,S,S] is 1 where one is shown, else 0."""
    regions = torch.exp(coarse - coarse.amax(1, keepdim=True))
    there = 1 - regions[:, :1] / regions.sum(1, keepdim=True)
    shares = torch.exp(parts - parts.amax(1, keepdim=True))
    won = torch.floor(shares)  # that of the best part is 1; on CPUs this is cheaper than to compare
    shown = torch.cat([body * there / shares.sum(1, keepdim=True), body], 1).flatten(2)
    summed = shown @ won.permute(0, 2, 3, 1).flatten(1, 2)
    return F.pad(summed[:, 0] / summed[:, 1].clamp(min=1), (1, 0))


def somebody(coarse: Tensor) -> Tensor:
    """1 where the coarse map's largest is not the background, else 0: [n,1,S,S]."""
    # over all channels: on CPUs a slice of the others would be a copy of them
    return (coarse.amax(1, keepdim=True) > coarse[:, :1]).to(coarse.dtype)


def best_channel(x: Tensor) -> tuple[Tensor, Tensor]:
    """The first channel that is largest, fp32 [n,1,S,S], and how large it is.

    argmax, softmax and gather would do. But on CPUs they read maps channel by channel, where the convolutions before
    them write pixel by pixel: reordering 25 maps of 128x128 takes longer than all of this.
    """
    top = x.amax(1, keepdim=True)
    channels = _channels(x)
    return torch.where(x >= top, channels, channels[:, -1:]).amin(1, keepdim=True), top


def _channels(x: Tensor) -> Tensor:
    """0 to C-1, fp32 [1,C,1,1]."""
    return torch.arange(x.shape[1], dtype=torch.float32, device=x.device)[None, :, None, None]


def keypoint_answer(logits: Tensor, boxes: Tensor) -> Tensor:
    """Where each keypoint lies, as Mask R-CNN's authors read it (He et al. 2017, section 5, and their code).

    A RoI's maps are scaled to the whole pixels of its box (bicubic). The place is the middle of the best pixel, the
    score its probability over the map before scaling.

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
