"""IUV of which U and V are interpolated where they are wanted: the numbers of `training.model.answers.iuv_answer`.

A pixel shows the U and V of one part. To interpolate the maps of all 24 first, and to throw 23 away then, takes a third
of the head's time on a CPU. So the best part is found as before; of U and V, what lies around each pixel is looked up
in the maps of that part alone. Maps that no pixel can show, the background's, are not computed. The deconvolution is
one layer of the network and three here: splitting what it gives would be a copy of all of it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.model.answers import best_channel, iuv_scores, shown_scores, somebody
from training.model.branch import DENSEPOSE_PARTS, DensePoseHead, doubled

PARTS = DENSEPOSE_PARTS - 1  # without the background


class PickedIuv(nn.Module):
    """What the DensePose trunk gives, fp32 [n,C,S,S] -> IUV uint8 [n,3,4S,4S] and IUV_SCORES fp32 [n,25].

    Args:
        head: weights. background: `ModelConfig.densepose_background`.
    """

    def __init__(self, head: DensePoseHead, background: Literal["either", "coarse"]) -> None:
        super().__init__()
        self.up, self.background = head.up, background
        coarse, index, u, v = (torch.arange(end - size, end) for size, end in _spans(head.sizes))
        self.coarse, self.index = coarse, index if background == "either" else index[1:]
        self.uv = torch.cat([u[1:], v[1:]])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        regions, parts = self._maps(x, self.coarse), self._maps(x, self.index)
        scores = self._scores(regions, parts)
        coarse, index = doubled(regions), doubled(parts)
        size = coarse.shape[2:]
        best = best_channel(index)[0].flatten(2) + float(self.background == "coarse")
        shown = best * somebody(coarse).flatten(2)
        u, v = self._picked(self._maps(x, self.uv), (best - 1).clamp(min=0))
        body = (shown > 0).to(best.dtype) * 255
        levels = (shown, u.clamp(0, 1) * body, v.clamp(0, 1) * body)
        return torch.cat([level.to(torch.uint8) for level in levels], 1).unflatten(2, size), scores

    def _scores(self, coarse: Tensor, index: Tensor) -> Tensor:
        """IUV_SCORES of the maps before the last x2; those of the index as `self.index` has them."""
        if self.background == "either":
            return iuv_scores(coarse, index, "either")
        return shown_scores(coarse, index, somebody(coarse))

    def _maps(self, x: Tensor, channels: Tensor) -> Tensor:
        """Some of the channels that the deconvolution gives, [n,c,2S,2S]."""
        deconv = self.up.deconv
        assert deconv.bias is not None
        weight, bias = deconv.weight.index_select(1, channels), deconv.bias.index_select(0, channels)
        return F.conv_transpose2d(x, weight, bias, deconv.stride, deconv.padding)

    def _picked(self, uv: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """U and V [n,1,P] of the channels `chosen` [n,1,P] at the P pixels of twice the size of the maps `uv`."""
        size = uv.shape[2]
        cells, shares = _around(size, uv.device)
        flat = uv.permute(0, 2, 3, 1).flatten(1)  # the maps of one cell lie side by side
        places = (cells * uv.shape[1] + chosen.long()).flatten(1)
        u, v = (torch.gather(flat, 1, places + first).unflatten(1, cells.shape) for first in (0, PARTS))
        return (u * shares).sum(1, keepdim=True), (v * shares).sum(1, keepdim=True)


def _spans(sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    """(size, end) of runs of channels that follow each other."""
    return [(size, sum(sizes[: place + 1])) for place, size in enumerate(sizes)]


def _around(size: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """The four cells around each pixel of a map of `size` cells a side at twice the size, and their bilinear shares.

    Returns:
        int64 and fp32 [4,(2 size)**2].
    """
    at = (torch.arange(2 * size, device=device) / 2 - 0.25).clamp(min=0)  # of a pixel's middle, in cells
    low = at.floor().long()
    high, share = (low + 1).clamp(max=size - 1), at - low
    cells = [(y[:, None] * size + x).flatten() for y in (low, high) for x in (low, high)]
    shares = [(y[:, None] * x).flatten() for y in (1 - share, share) for x in (1 - share, share)]
    return torch.stack(cells), torch.stack(shares)
