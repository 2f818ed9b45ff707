"""Loss of the keypoint branch (He et al. 2017, section 5): which cell of a RoI's map a visible keypoint lies in."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def keypoint_targets(keypoints: Tensor, rois: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The cell of each keypoint.

    Args:
        keypoints: fp32 [r,K,3], (x, y, visibility 0..2) in canvas pixels, of the person of each RoI.
        rois: [r,4] in canvas pixels; size: cells of a side of a RoI's map.

    Returns:
        int64 [r,K], row * size + column; bool [r,K], whether it is labelled (visibility above 0) and inside its RoI.
    """
    extent = (rois[:, 2:] - rois[:, :2]).clamp(min=1e-3)
    relative = (keypoints[..., :2] - rois[:, None, :2]) / extent[:, None]
    inside = ((relative >= 0) & (relative <= 1)).all(-1) & (keypoints[..., 2] > 0)
    cells = (relative * size).floor().long().clamp(0, size - 1)  # the far edge belongs to the last cell
    return cells[..., 1] * size + cells[..., 0], inside


def keypoint_loss(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Mean cross-entropy over the cells of a map, of the keypoints that are `valid`; zero if none is.

    Args:
        logits: [r,K,S,S]; targets, valid: as `keypoint_targets` gives them.
    """
    if not bool(valid.any()):
        return logits.sum() * 0
    return F.cross_entropy(logits.float().flatten(2)[valid], targets[valid])
