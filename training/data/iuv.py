"""Facts about IUV labels: how they mirror, which region a part belongs to, which parts a clothing class may hide."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.taxonomy import CIHP, DENSEPOSE

MIRRORED = DENSEPOSE.flip_table()
_FLIPS_U = (23, 24)  # back -> face on one side, face -> back on the other
_FLIPS_V = (1, 2)  # from left to right whichever way one looks

# region (parsing_rcnn.taxonomy.DENSEPOSE_COARSE) of each part
COARSE_OF_PART = np.array(
    [0, 1, 1, 2, 3, 4, 5, 6, 7, 6, 7, 8, 9, 8, 9, 10, 11, 10, 11, 12, 13, 12, 13, 14, 14], np.uint8
)

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
    u = np.where(np.isin(part, _FLIPS_U), 255 - iuv[..., 1], iuv[..., 1])
    v = np.where(np.isin(part, _FLIPS_V), 255 - iuv[..., 2], iuv[..., 2])
    return np.stack([MIRRORED[part], u, v], -1).astype(np.uint8)
