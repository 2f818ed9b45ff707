"""Hair under hats: a hat sits on the hair, so hair lies close to the head where the hat is and swells below it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from training.data.synthetic.body import Body
from training.data.synthetic.wardrobe import Layer

_NOWHERE = -1.0  # metres below a rim of what is not on the head
_ROOM = 0.002  # metres that hats leave above the skin
_SWELL = 0.8  # metres further from the skin for each metre below the rim
_LOW = 0.01  # metres of a hat, from its lowest point on, that are the brim
_BRIM = 0.005  # metres that a hat reaches below the middle of its brim
_DEEP = 0.006  # metres above the rim from where hair is left out


def nearest_skin(body: Body, points: NDArray[np.float32]) -> NDArray[np.int64]:
    """int64 [v]: the vertex of the skin next to each point [v,3] about the template."""
    skin = np.unique(body.faces)
    return np.asarray(skin[cKDTree(body.template[skin]).query(points)[1]], np.int64)


def above_brim(hat: NDArray[np.float32], body: Body, on_head: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [19158]: metres that each base vertex lies above the plane of a hat's brim, `_NOWHERE` off the head.

    Args:
        hat: float32 [v,3], the hat on the template; its lowest centimetre is the brim.
        on_head: float32 [19158], how much a vertex follows the head.
    """
    brim = hat[hat[:, 2] < hat[:, 2].min() + _LOW]
    flat = np.column_stack([brim[:, :2], np.ones(len(brim))])
    plane = np.linalg.lstsq(flat, brim[:, 2], rcond=None)[0]
    above = body.template[:, 2] - body.template[:, :2] @ plane[:2] - plane[2] + _BRIM
    return on_the_head(above.astype(np.float32), on_head)


def on_the_head(field: NDArray[np.float32], on_head: NDArray[np.float32]) -> NDArray[np.float32]:
    """A height above a rim, float32 [19158], that no vertex off the head reaches."""
    return np.where(on_head > 0.9, field, np.float32(_NOWHERE)).astype(np.float32)


def tuck(hair: Layer, skin: NDArray[np.float32], rim: NDArray[np.float32]) -> Layer:
    """Press hair to the head where a hat is.

    Args:
        skin: float32 [v,3], the posed skin next to each vertex of the hair.
        rim: float32 [v], metres of that skin above the hat's rim.
    """
    away = hair.points - skin
    room = _ROOM + _SWELL * np.maximum(-rim, 0)
    share = np.minimum(1, room / np.linalg.norm(away, axis=1).clip(1e-6))
    seen = (rim[hair.faces] < _DEEP).any(1)
    return replace(
        hair,
        points=(skin + away * share[:, None]).astype(np.float32),
        faces=hair.faces[seen],
        uv=hair.uv[seen],
        category=hair.category[seen],
        part=hair.part[seen],
        chart=hair.chart[seen],
    )
