"""Facts about IUV labels: how they and the painted regions mirror, which parts a clothing class may hide."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.taxonomy import CIHP, DENSEPOSE, DENSEPOSE_COARSE
from training.errors import DatasetError

MIRRORED = DENSEPOSE.flip_table()
FLIPS_U = (23, 24)  # back -> face on one side, face -> back on the other
FLIPS_V = (1, 2)  # from left to right whichever way one looks

_HEAD, _TORSO = (23, 24), (1, 2)
_LEFT_ARM, _RIGHT_ARM = (4, 15, 17, 19, 21), (3, 16, 18, 20, 22)
_LEFT_LEG, _RIGHT_LEG = (5, 8, 10, 12, 14), (6, 7, 9, 11, 13)
_ARMS = tuple(p for p in _LEFT_ARM + _RIGHT_ARM if p not in (3, 4))
_LEGS = tuple(p for p in _LEFT_LEG + _RIGHT_LEG if p not in (5, 6))
_POSSIBLE = {
    "Background": (0,),
    "Hat": _HEAD,
    "Hair": _HEAD,
    "Gloves": (3, 4, 19, 20, 21, 22),
    "Sunglasses": _HEAD,
    "UpperClothes": _TORSO + _ARMS,
    "Dress": _TORSO + _ARMS + _LEGS,
    "Coat": _TORSO + _ARMS + _LEGS,
    "Socks": (*_TORSO, *_LEFT_LEG, *_RIGHT_LEG),
    "Pants": _TORSO + _LEGS,
    "Torso-skin": _TORSO + _HEAD,
    "Scarf": _TORSO + _HEAD,
    "Skirt": _TORSO + _LEGS,
    "Face": _HEAD,
    "Left-arm": _LEFT_ARM,
    "Right-arm": _RIGHT_ARM,
    "Left-leg": _LEFT_LEG,
    "Right-leg": _RIGHT_LEG,
    "Left-shoe": (5, 12, 14),
    "Right-shoe": (6, 11, 13),
}


def possible_parts() -> NDArray[np.bool_]:
    """bool [256,25]: which parts may lie under each CIHP class; all of them where the label is ignored."""
    table = np.zeros((256, len(DENSEPOSE)), bool)
    for index, name in enumerate(CIHP.classes):
        table[index, list(_POSSIBLE[name])] = True
    table[len(CIHP) :] = True
    return table


def mirror_values(iuv: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Values of an IUV map uint8 [...,3] whose pixels have been moved by a left-right flip."""
    part = iuv[..., 0]
    u = np.where(np.isin(part, FLIPS_U), 255 - iuv[..., 1], iuv[..., 1])
    v = np.where(np.isin(part, FLIPS_V), 255 - iuv[..., 2], iuv[..., 2])
    return np.stack([MIRRORED[part], u, v], -1).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class PointSymmetry:
    """How annotated points mirror: the part swaps its side, U and V follow the charts.

    Attributes:
        u, v: float32 [24,256,256] or None: the mirrored U and V of a part at [V * 255, U * 255], in the part's own
            number before the swap (DensePose's UV_symmetry_transforms.mat). None: our charts, where all but four parts
            keep their values.
    """

    u: NDArray[np.float32] | None = None
    v: NDArray[np.float32] | None = None

    @classmethod
    def read(cls, path: Path) -> PointSymmetry:
        """Read UV_symmetry_transforms.mat.

        Raises:
            DatasetError: missing, or without 24 tables of 256x256 each for U and V.
        """
        from scipy.io import loadmat  # for whoever names such a file

        try:
            document = loadmat(str(path))
            tables = [
                np.stack([np.asarray(t, np.float32) for t in np.asarray(document[key], object).ravel()])
                for key in ("U_transforms", "V_transforms")
            ]
        except (OSError, KeyError, ValueError, NotImplementedError) as error:
            raise DatasetError(
                f"{path}: not a file of DensePose's symmetry ({error}); data.uv_symmetry (evaluate --uv-symmetry) "
                "names UV_symmetry_transforms.mat, which comes with DensePose's UV_data"
            ) from error
        for table in tables:
            if table.shape != (24, 256, 256):
                raise DatasetError(f"{path}: tables of {table.shape}, not 24 of 256x256")
        return cls(*tables)

    def mirror(
        self, part: NDArray[np.int64], u: NDArray[np.float32], v: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """Part, U and V [k] of the same points in the mirror."""
        if self.u is not None and self.v is not None:
            at = (part - 1, (v * 255).astype(np.int64), (u * 255).astype(np.int64))
            u, v = self.u[at], self.v[at]
        else:
            u = np.where(np.isin(part, FLIPS_U), 1 - u, u)
            v = np.where(np.isin(part, FLIPS_V), 1 - v, v)
        return MIRRORED[part].astype(np.int64), u.astype(np.float32), v.astype(np.float32)


def mirror_regions(regions: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A painted map of the 14 regions as the mirror shows it."""
    return DENSEPOSE_COARSE.flip_table()[regions[:, ::-1]]
