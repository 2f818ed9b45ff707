"""Clothes, hair and skin as layers on a posed body, each face with its CIHP class, DensePose part and chart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from parsing_rcnn.taxonomy import CIHP
from training.data.synthetic import fabrics
from training.data.synthetic.assets import Proxy
from training.data.synthetic.body import Body
from training.data.synthetic.charts import Atlas, split_into_parts
from training.data.synthetic.skeleton import skin
from training.data.synthetic.surface import Surface, vertex_pieces

CLASS = {name: np.uint8(index) for index, name in enumerate(CIHP.classes)}
LEFT_PARTS = (4, 5, 8, 10, 12, 14, 15, 17, 19, 21, 24)
_ARM_PARTS = (3, 4, *range(15, 23))
_LEG_PARTS = tuple(range(5, 15))
# classes of a suit's pieces, largest first, where "below the waist is trousers" does not tell
_PIECES = {
    "female_casualsuit02": ("Pants", "UpperClothes", "Pants"),
    "female_elegantsuit01": ("UpperClothes", "Skirt"),
    "male_casualsuit05": ("Coat", "Pants", "UpperClothes", "Coat"),
    "male_elegantsuit01": ("Coat", "Pants"),
    "male_worksuit01": ("Pants", "UpperClothes", "Pants", "Pants", "Pants", "Pants"),
}
_WAIST = 0.16  # metres above the origin of the template: a one-piece suit is a shirt above and trousers below


@dataclass(frozen=True)
class Layer:
    """A textured surface, posed.

    Attributes:
        points: float32 [v,3] metres; faces: int32 [f,3]; uv: float32 [f,3,2].
        category: uint8 [f] CIHP class; part: uint8 [f], 1..24; chart: float32 [f,3,2] U and V.
        texture: RGBA; closed: its inside is never seen.
    """

    points: NDArray[np.float32]
    faces: NDArray[np.int32]
    uv: NDArray[np.float32]
    category: NDArray[np.uint8]
    part: NDArray[np.uint8]
    chart: NDArray[np.float32]
    texture: fabrics.Texture
    closed: bool = False


@dataclass(frozen=True)
class Fitted:
    """A garment of the assets, cut into parts; everything that does not depend on who wears it."""

    proxy: Proxy
    surface: Surface
    uv: NDArray[np.float32]
    category: NDArray[np.uint8]
    part: NDArray[np.uint8]
    chart: NDArray[np.float32]
    skin_index: NDArray[np.int32]
    skin_weight: NDArray[np.float32]

    def layer(self, rest: NDArray[np.float32], moves: NDArray[np.float32], texture: fabrics.Texture) -> Layer:
        """On a body with these rest vertices, posed."""
        posed = skin(self.proxy.fit(rest), self.skin_index, self.skin_weight, moves)
        points = np.asarray(self.surface.points @ posed, np.float32)
        return Layer(points, self.surface.faces, self.uv, self.category, self.part, self.chart, texture)


def fit_proxy(proxy: Proxy, body: Body, atlas: Atlas, kind: str) -> Fitted:
    """Prepare a garment.

    Args:
        kind: "suit", "shoe", "hat" or "hair".
    """
    count = len(proxy.corners)
    points = proxy.fit(body.template)
    rows = np.repeat(np.arange(count), 3)
    total = proxy.weights.sum(1, keepdims=True)
    shares = np.asarray(proxy.weights / np.where(np.abs(total) < 1e-6, 1, total), np.float32)
    mixture = csr_matrix((shares.ravel(), (rows, proxy.corners.ravel())), shape=(count, len(body.template)))
    surface, part, _ = split_into_parts(proxy.mesh.faces, atlas.fields.mixed(mixture))
    cut_points = np.asarray(surface.points @ points, np.float32)
    if kind in ("hair", "hat"):  # long hair hangs before the chest, but it belongs to the head
        side = cut_points[surface.faces].mean(1)[:, 0] > 0
        part = np.where(side, 24, 23).astype(np.uint8)
    index, weight = _proxy_skinning(proxy, body, shares)
    uv = surface.carry(proxy.mesh.texture_points[proxy.mesh.texture_faces])
    category = _categories(proxy, surface, cut_points, part, kind)
    chart = atlas.corner_charts(cut_points, surface.faces, part)
    return Fitted(proxy, surface, uv, category, part, chart, index, weight)


def _proxy_skinning(
    proxy: Proxy, body: Body, shares: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    dense = np.zeros((len(proxy.corners), len(body.bones)), np.float32)
    rows = np.arange(len(proxy.corners))
    for corner in range(3):
        own = proxy.corners[:, corner]
        for k in range(body.skin_index.shape[1]):
            np.add.at(dense, (rows, body.skin_index[own, k]), shares[:, corner] * body.skin_weight[own, k])
    order = np.argsort(-dense, axis=1)[:, :6]
    strongest = np.take_along_axis(dense, order, 1).clip(0)
    return order.astype(np.int32), strongest / strongest.sum(1, keepdims=True).clip(1e-6)


def _categories(
    proxy: Proxy, surface: Surface, points: NDArray[np.float32], part: NDArray[np.uint8], kind: str
) -> NDArray[np.uint8]:
    if kind == "hair":
        return np.full(len(part), CLASS["Hair"])
    if kind == "hat":
        return np.full(len(part), CLASS["Hat"])
    left = np.isin(part, LEFT_PARTS)
    if kind == "shoe":  # these shoes come with their socks
        sock = np.isin(_piece_rank(proxy)[surface.parent], (2, 3))  # the two largest pieces are the soles and uppers
        shoe = np.where(left, CLASS["Left-shoe"], CLASS["Right-shoe"])
        return np.where(sock, CLASS["Socks"], shoe).astype(np.uint8)
    rank = _piece_rank(proxy)[surface.parent]
    if proxy.name in _PIECES:
        table = np.array([CLASS[name] for name in _PIECES[proxy.name]] + [CLASS["UpperClothes"]] * 8)
        return np.asarray(table[rank.clip(max=len(table) - 1)], np.uint8)
    if rank.max() == 0:
        low = points[surface.faces].mean(1)[:, 2] < _WAIST
        low &= ~np.isin(part, _ARM_PARTS)
        return np.where(low, CLASS["Pants"], CLASS["UpperClothes"]).astype(np.uint8)
    legs = np.isin(part, _LEG_PARTS)
    mostly = np.bincount(rank, legs) / np.bincount(rank).clip(1)
    return np.where(mostly[rank] > 0.4, CLASS["Pants"], CLASS["UpperClothes"]).astype(np.uint8)


def _piece_rank(proxy: Proxy) -> NDArray[np.int64]:
    """int64 [f]: which connected piece a face belongs to, 0 = the one with most faces."""
    faces = proxy.mesh.faces
    label = vertex_pieces(faces, len(proxy.mesh.vertices))
    own = label[faces[:, 0]]
    order = np.argsort(-np.bincount(own, minlength=label.max() + 1))
    return np.argsort(order)[own]


def skin_categories(atlas: Atlas) -> NDArray[np.uint8]:
    """uint8 [f]: CIHP class of bare skin."""
    part = atlas.part
    left = np.isin(part, LEFT_PARTS)
    out = np.full(len(part), CLASS["Torso-skin"])
    out[atlas.skull] = CLASS["Face"]
    arm, leg = np.isin(part, _ARM_PARTS), np.isin(part, _LEG_PARTS)
    out[arm] = np.where(left[arm], CLASS["Left-arm"], CLASS["Right-arm"])
    out[leg] = np.where(left[leg], CLASS["Left-leg"], CLASS["Right-leg"])
    return out
