"""Losses of the DensePose branch (paper 3.5; Guler et al. 2018, section 4): regions, parts, U and V at 128x128.

Where points are annotated (DensePose-COCO), parts, U and V are trained at the points, and regions where they were
painted, with the weights of the paper's code. Where the whole IUV map is known, as for rendered people, every pixel
counts. Where only part labels are known, as in photos with clothes, the part must be one that the label may cover: the
loss is the negative logarithm of the summed probability of these parts, and U and V are not trained. The coarse map,
which can decide alone where somebody is, must show somebody, in any region, wherever a label does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from parsing_rcnn.taxonomy import COARSE_OF_PART
from training.data.sample import PlacedPoints
from training.losses.sampling import pixels_under

INDEX_WEIGHT = 1.0
COARSE_WEIGHT = 0.5
UV_WEIGHT = 6.0
_BETA = 0.1  # of the smooth L1 of U and V, which lie in [0,1]
POINT_COARSE_WEIGHT = 2.0
POINT_INDEX_WEIGHT = 0.3
POINT_UV_WEIGHT = 0.1  # of a sum over the points of two pictures, as in the paper's code (`training.objective`)


def iuv_targets(iuv: Tensor, instances: Tensor, rois: Tensor, pictures: Tensor, ids: Tensor, size: int) -> Tensor:
    """IUV under each RoI, nearest at the centres of a size x size grid.

    Args:
        iuv: uint8 [B,H,W,3]; instances: [B,H,W] person ids.
        rois: [r,4] in canvas pixels; pictures: int64 [r], which of the B each lies on; ids: [r], the person of each.

    Returns:
        uint8 [r,3,size,size]; pixels of other people are background.
    """
    grid = pixels_under(rois, pictures, size, instances.shape)
    own = (instances[grid] == ids[:, None, None])[..., None]
    return (iuv[grid] * own).permute(0, 3, 1, 2)


def densepose_loss(maps: Sequence[Tensor], targets: Tensor) -> dict[str, Tensor]:
    """Losses of RoIs whose IUV is known.

    Args:
        maps: coarse logits [r,15,S,S] (or [r,2,S,S]: somebody or not), part logits [r,25,S,S], U and V [r,25,S,S].
        targets: uint8 [r,3,S,S].

    Without RoIs all losses are zero; without pixels on a person that of U and V is.
    """
    coarse, index, u, v = (m.float() for m in maps)
    part = targets[:, 0].long()
    if not part.numel():
        return {name: coarse.sum() * 0 for name in ("iuv_coarse", "iuv_index", "iuv_uv")}
    region = torch.tensor(COARSE_OF_PART, device=part.device).long()[part]
    person = part > 0
    channel = part.clamp(min=1)[:, None]
    uv = coarse.new_zeros(())
    for predicted, wanted in ((u, targets[:, 1]), (v, targets[:, 2])):
        error = F.smooth_l1_loss(predicted.gather(1, channel)[:, 0], wanted / 255, beta=_BETA, reduction="none")
        uv = uv + (error * person).sum() / person.sum().clamp(min=1)
    return {
        "iuv_coarse": F.cross_entropy(coarse, region.clamp(max=coarse.shape[1] - 1)) * COARSE_WEIGHT,
        "iuv_index": F.cross_entropy(index, part) * INDEX_WEIGHT,
        "iuv_uv": uv * UV_WEIGHT,
    }


def possible_loss(index: Tensor, labels: Tensor, possible: Tensor) -> Tensor:
    """Loss of the part maps of RoIs with part labels alone.

    Args:
        index: part logits [r,25,S,S]; labels: int64 [r,S,S] class ids, 255 ignored.
        possible: bool [256,25], the parts that each class may cover.
    """
    if not labels.numel():
        return index.sum() * 0
    logits = index.float()
    allowed = possible[labels].permute(0, 3, 1, 2)
    among = logits.masked_fill(~allowed, float("-inf")).logsumexp(1)
    return (logits.logsumexp(1) - among).mean() * INDEX_WEIGHT


def somebody_loss(coarse: Tensor, labels: Tensor, possible: Tensor) -> Tensor:
    """Loss of the coarse maps of RoIs with part labels alone: is somebody there, in whatever region?

    Args:
        coarse: logits [r,15,S,S] (or [r,2,S,S]), background first.
        labels: int64 [r,S,S] class ids; those that may cover a part or nobody, like 255, are left out.
        possible: bool [256,25], the parts that each class may cover.
    """
    nobody, somebody = possible[labels][..., 0], possible[labels][..., 1:].any(-1)
    known = nobody != somebody
    if not labels.numel():
        return coarse.sum() * 0
    logits = coarse.float()
    answer = torch.where(nobody, logits[:, 0], logits[:, 1:].logsumexp(1))
    return ((logits.logsumexp(1) - answer) * known).sum() / known.sum().clamp(min=1) * COARSE_WEIGHT


def points_loss(maps: Sequence[Tensor], rois: Tensor, points: Sequence[PlacedPoints]) -> dict[str, Tensor]:
    """Losses of RoIs whose people have annotated points (Guler et al. 2018; weights of the paper's code).

    Args:
        maps: coarse logits [r,15,S,S] (or [r,2,S,S]: somebody or not), part logits [r,25,S,S], U and V [r,25,S,S].
        rois: [r,4] in canvas pixels; points: of the person of each.

    Maps are read bilinearly between the centres of their cells, where the answer pastes them too. Only points inside
    their RoI count (the paper's code also trained on the zeros that fill up its lists). Without any, those of parts, U
    and V are zero; without RoIs all are.
    """
    coarse, index, u, v = (m.float() for m in maps)
    if not len(points):
        return {name: coarse.sum() * 0 for name in ("iuv_coarse", "iuv_index", "iuv_uv")}
    size = coarse.shape[-1]
    regions = torch.stack([_regions(p, roi, size) for p, roi in zip(points, rois.tolist(), strict=True)])
    rows, cells, part, wanted = [], [], [], []
    for row, (placed, roi) in enumerate(zip(points, rois, strict=True)):
        at = torch.from_numpy(np.stack([placed.x, placed.y], 1)).to(roi.device)
        relative = (at - roi[:2]) / (roi[2:] - roi[:2]).clamp(min=1e-3)
        inside = ((relative >= 0) & (relative < 1)).all(1)
        rows.append(torch.full((int(inside.sum()),), row, device=roi.device))
        cells.append(relative[inside] * size - 0.5)
        kept = inside.cpu().numpy()
        part.append(torch.from_numpy(placed.part[kept]).to(roi.device))
        wanted.append(torch.from_numpy(np.stack([placed.u[kept], placed.v[kept]], 1)).to(roi.device))
    row, cell, number, uv = torch.cat(rows), torch.cat(cells), torch.cat(part), torch.cat(wanted)
    losses = {
        "iuv_coarse": F.cross_entropy(coarse, regions.clamp(max=coarse.shape[1] - 1).to(coarse.device))
        * POINT_COARSE_WEIGHT,
        "iuv_index": index.sum() * 0,
        "iuv_uv": (u.sum() + v.sum()) * 0,
    }
    if len(row):
        losses["iuv_index"] = F.cross_entropy(_between(index, row, cell), number) * POINT_INDEX_WEIGHT
        answer = torch.stack([_between(m, row, cell).gather(1, number[:, None])[:, 0] for m in (u, v)], 1)
        losses["iuv_uv"] = F.smooth_l1_loss(answer, uv, reduction="sum", beta=1.0) * POINT_UV_WEIGHT
    return losses


def _between(maps: Tensor, rows: Tensor, cells: Tensor) -> Tensor:
    """Maps [r,C,S,S] read bilinearly at the places `cells` [k,2] (x, y): [k,C]; beyond the outer cells, theirs."""
    last = maps.shape[-1] - 1
    cells = cells.clamp(0, last)
    low = cells.floor().long()
    high = (low + 1).clamp(max=last)
    (wx, wy) = (cells - low).unbind(1)
    found = maps.new_zeros(len(rows), maps.shape[1])
    for x, ax in ((low[:, 0], 1 - wx), (high[:, 0], wx)):
        for y, ay in ((low[:, 1], 1 - wy), (high[:, 1], wy)):
            found = found + maps[rows, :, y, x] * (ax * ay)[:, None]
    return found


def _regions(points: PlacedPoints, roi: Sequence[float], size: int) -> Tensor:
    """The painted regions int64 [size,size] under a RoI, nearest at the centres of its cells; 0 outside the frame."""
    side = points.regions.shape[0]
    steps = (np.arange(size) + 0.5) / size
    x1, y1, x2, y2 = points.frame
    columns = np.floor((roi[0] + steps * (roi[2] - roi[0]) - x1) / (x2 - x1) * side).astype(np.int64)
    lines = np.floor((roi[1] + steps * (roi[3] - roi[1]) - y1) / (y2 - y1) * side).astype(np.int64)
    found = points.regions[lines.clip(0, side - 1)[:, None], columns.clip(0, side - 1)[None]].astype(np.int64)
    outside = ((lines < 0) | (lines >= side))[:, None] | ((columns < 0) | (columns >= side))[None]
    return torch.from_numpy(np.where(outside, 0, found))
