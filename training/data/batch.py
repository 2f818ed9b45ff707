"""Samples of one canvas size as one set of tensors: what a loader's process hands over and a GPU works on at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.sample import MIRRORED_KEYPOINTS, PlacedPoints, Sample

_KEYPOINTS = len(MIRRORED_KEYPOINTS)


@dataclass
class Batch:
    """Pictures with their labels; people and ignored regions are filled up to as many as the fullest picture has.

    Attributes:
        images: uint8 [B,H,W,3] RGB; parts, instances: uint8 [B,H,W] as in `Sample`.
        iuv: uint8 [B,H,W,3], zeros where nothing is known; None: in no picture.
        boxes: fp32 [B,G,4], zeros behind the last; present: bool [B,G].
        ids: int64 [B,G], the value of each person in `instances`; 0 = no part labels, or nobody.
        mapped, pointed, jointed: bool [B,G], people whose IUV map, points or keypoints are known.
        ignore: fp32 [B,I,4], zeros (which cover nothing) behind the last.
        certain: bool [B], whether nobody unlabelled may stand in the background; `all_certain`: in any of them.
        keypoints: fp32 [B,G,17,3]; None: of nobody.
        points: of the people of each picture, by their ids.
        origins: of the samples, for messages.
    """

    images: Tensor
    parts: Tensor
    instances: Tensor
    iuv: Tensor | None
    boxes: Tensor
    present: Tensor
    ids: Tensor
    mapped: Tensor
    pointed: Tensor
    jointed: Tensor
    ignore: Tensor
    certain: Tensor
    keypoints: Tensor | None
    all_certain: bool
    points: tuple[dict[int, PlacedPoints], ...]
    origins: tuple[str, ...]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Batch:
        """Samples of one canvas size, in their order."""
        ids = _filled([s.instance_ids for s in samples], (), np.int64)
        keypoints = None
        if any(s.keypoints for s in samples):
            nobody = np.zeros((_KEYPOINTS, 3), np.float32)
            joints = [[s.keypoints.get(int(i), nobody) for i in s.instance_ids] for s in samples]
            keypoints = torch.from_numpy(_filled(joints, (_KEYPOINTS, 3), np.float32))
        iuv = None
        if any(s.iuv is not None for s in samples):
            iuv = torch.from_numpy(np.stack([np.zeros_like(s.image) if s.iuv is None else s.iuv for s in samples]))

        def among(wanted: list[Sequence[int]]) -> Tensor:
            return torch.from_numpy(np.stack([np.isin(row, list(w)) for row, w in zip(ids, wanted, strict=True)]))

        return cls(
            images=torch.from_numpy(np.stack([s.image for s in samples])),
            parts=torch.from_numpy(np.stack([s.parts for s in samples])),
            instances=torch.from_numpy(np.stack([s.instances for s in samples])),
            iuv=iuv,
            boxes=torch.from_numpy(_filled([s.boxes for s in samples], (4,), np.float32)),
            present=torch.from_numpy(_filled([np.ones(len(s.boxes), bool) for s in samples], (), np.bool_)),
            ids=torch.from_numpy(ids),
            mapped=among([s.mapped for s in samples]),
            pointed=among([tuple(s.points) for s in samples]),
            jointed=among([tuple(s.keypoints) for s in samples]),
            ignore=torch.from_numpy(_filled([s.ignore for s in samples], (4,), np.float32)),
            certain=torch.tensor([s.background_certain for s in samples]),
            keypoints=keypoints,
            all_certain=all(s.background_certain for s in samples),
            points=tuple(s.points for s in samples),
            origins=tuple(s.origin for s in samples),
        )

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> Batch:
        """On a device; from pinned memory without waiting."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """In memory that a GPU copies from by itself; torch's loader asks for it by this name."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: change(t) for name, t in tensors.items() if isinstance(t, Tensor)})


def _filled(rows: Sequence[Any], shape: tuple[int, ...], kind: Any) -> NDArray[Any]:
    """Lists of different lengths [n, *shape] as one array [len(rows), longest, *shape], zeros behind their ends."""
    out = np.zeros((len(rows), max(map(len, rows)), *shape), kind)
    for into, values in zip(out, rows, strict=True):
        if len(values):
            into[: len(values)] = values
    return out
