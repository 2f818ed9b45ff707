"""The IUV answer, with U and V interpolated for the shown part only: numbers as `training.model.answers.iuv_answer`.

A pixel shows the U and V of one part. To interpolate the maps of all 24 parts and then drop 23 takes a third of the
head's time on a CPU. So first the best part of each pixel is found; then U and V are interpolated from that part's maps
alone. The background's maps, which no pixel can show, are not computed. The network's one deconvolution is three here,
because splitting its result would copy all of it.
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
    """Features of the DensePose trunk fp32 [n,C,S,S] -> IUV uint8 [n,3,4S,4S] and IUV_SCORES fp32 [n,25].

    Args:
        head: its weights are used.
        background: `ModelConfig.densepose_background`.
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
        """IUV_SCORES, from the maps before they are enlarged by 2; the index maps are those of `self.index`."""
        if self.background == "either":
            return iuv_scores(coarse, index, "either")
        return shown_scores(coarse, index, somebody(coarse))

    def _maps(self, x: Tensor, channels: Tensor) -> Tensor:
        """Some channels of the deconvolution's result, [n,c,2S,2S]."""
        deconv = self.up.deconv
        assert deconv.bias is not None
        weight, bias = deconv.weight.index_select(1, channels), deconv.bias.index_select(0, channels)
        return F.conv_transpose2d(x, weight, bias, deconv.stride, deconv.padding)

    def _picked(self, uv: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """U and V [n,1,P] of the parts `chosen` [n,1,P], at the P pixels of a map twice the size of `uv`."""
        size = uv.shape[2]
        cells, shares = _around(size, uv.device)
        flat = uv.permute(0, 2, 3, 1).flatten(1)  # all maps of a cell side by side
        places = (cells * uv.shape[1] + chosen.long()).flatten(1)
        u, v = (torch.gather(flat, 1, places + first).unflatten(1, cells.shape) for first in (0, PARTS))
        return (u * shares).sum(1, keepdim=True), (v * shares).sum(1, keepdim=True)


def _spans(sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    """(size, end) of consecutive runs of channels."""
    return [(size, sum(sizes[: place + 1])) for place, size in enumerate(sizes)]


def _around(size: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """What bilinear enlargement by 2 reads of a map of `size` x `size` cells.

    Returns:
        for each pixel the numbers of the four cells around it, int64 [4,(2 size)**2], and their shares, fp32 of that
        shape.
    """
    at = (torch.arange(2 * size, device=device) / 2 - 0.25).clamp(min=0)  # where the middle of a pixel lies, in cells
    low = at.floor().long()
    high, share = (low + 1).clamp(max=size - 1), at - low
    cells = [(y[:, None] * size + x).flatten() for y in (low, high) for x in (low, high)]
    shares = [(y[:, None] * x).flatten() for y in (1 - share, share) for x in (1 - share, share)]
    return torch.stack(cells), torch.stack(shares)
