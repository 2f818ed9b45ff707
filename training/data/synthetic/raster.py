"""Our own z-buffer rasteriser: which face is seen at each pixel, and where on it.

Labels are lookups of faces and barycentric weights, so what is drawn and what is labelled cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

_NEAR = 0.05  # metres: what is closer to the camera is not drawn
_OPAQUE = 110  # alpha of a texture above which a hair card is there


@dataclass(frozen=True)
class Soup:
    """Triangles of a whole scene.

    Attributes:
        points: float32 [v,3]: x and y in pixels (pixel (0, 0) spans 0..1), depth in metres along the view.
        faces: int32 [f,3] into points.
        uv: float32 [f,3,2] texture coordinates of the corners, v upwards.
        texture: int32 [f] index of the face's texture.
        culled: bool [f]: not drawn when it faces away (closed surfaces); cloth and hair have two sides.
    """

    points: NDArray[np.float32]
    faces: NDArray[np.int32]
    uv: NDArray[np.float32]
    texture: NDArray[np.int32]
    culled: NDArray[np.bool_]

    @classmethod
    def plain(cls, points: NDArray[np.float32], faces: NDArray[np.int32], *, culled: bool = False) -> Soup:
        """Faces of one colour, texture 0."""
        count = len(faces)
        return cls(
            points,
            np.ascontiguousarray(faces),
            np.zeros((count, 3, 2), np.float32),
            np.zeros(count, np.int32),
            np.full(count, culled),
        )


@dataclass(frozen=True)
class Textures:
    """RGBA textures of any sizes in one array.

    Attributes:
        data: uint8 [all bytes]; start: int64 [t] of each texture; size: int32 [t,2] (height, width).
    """

    data: NDArray[np.uint8]
    start: NDArray[np.int64]
    size: NDArray[np.int32]

    @classmethod
    def pack(cls, images: list[NDArray[np.uint8]]) -> Textures:
        """Put uint8 [h,w,4] images one behind the other."""
        lengths = [image.size for image in images]
        return cls(
            np.concatenate([image.reshape(-1) for image in images]),
            np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64),
            np.array([image.shape[:2] for image in images], np.int32),
        )


@dataclass(frozen=True)
class Hits:
    """What is seen.

    Attributes:
        face: int32 [H,W], -1 where nothing is.
        weights: float32 [H,W,3] perspective-correct barycentric weights of the face's corners.
        depth: float32 [H,W] metres, infinite where nothing is.
    """

    face: NDArray[np.int32]
    weights: NDArray[np.float32]
    depth: NDArray[np.float32]


def rasterise(soup: Soup, textures: Textures, height: int, width: int) -> Hits:
    """Draw a soup: the nearest opaque face at every pixel centre."""
    face = np.full((height, width), -1, np.int32)
    weights = np.zeros((height, width, 3), np.float32)
    depth = np.full((height, width), np.inf, np.float32)
    _draw(
        soup.points, soup.faces, soup.uv, soup.texture, soup.culled,
        textures.data, textures.start, textures.size, face, weights, depth,
    )  # fmt: skip
    return Hits(face, weights, depth)


@numba.njit(cache=True, fastmath=True)
def _draw(
    points: NDArray[np.float32],
    faces: NDArray[np.int32],
    uv: NDArray[np.float32],
    texture: NDArray[np.int32],
    culled: NDArray[np.bool_],
    data: NDArray[np.uint8],
    start: NDArray[np.int64],
    size: NDArray[np.int32],
    face: NDArray[np.int32],
    weights: NDArray[np.float32],
    depth: NDArray[np.float32],
) -> None:
    height, width = face.shape
    for f in range(faces.shape[0]):
        a, b, c = points[faces[f, 0]], points[faces[f, 1]], points[faces[f, 2]]
        if a[2] < _NEAR or b[2] < _NEAR or c[2] < _NEAR:
            continue
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        # image y grows downwards: what is counter-clockwise in the world is clockwise here
        if abs(area) < 1e-9 or (culled[f] and area > 0):
            continue
        left = max(0, int(np.ceil(min(a[0], b[0], c[0]) - 0.5)))
        right = min(width - 1, int(np.floor(max(a[0], b[0], c[0]) - 0.5)))
        top = max(0, int(np.ceil(min(a[1], b[1], c[1]) - 0.5)))
        bottom = min(height - 1, int(np.floor(max(a[1], b[1], c[1]) - 0.5)))
        inverse = 1.0 / area
        za, zb, zc = 1.0 / a[2], 1.0 / b[2], 1.0 / c[2]
        t = texture[f]
        th, tw = size[t, 0], size[t, 1]
        for y in range(top, bottom + 1):
            py = y + 0.5
            for x in range(left, right + 1):
                px = x + 0.5
                wa = ((b[0] - px) * (c[1] - py) - (c[0] - px) * (b[1] - py)) * inverse
                if wa < 0:
                    continue
                wb = ((c[0] - px) * (a[1] - py) - (a[0] - px) * (c[1] - py)) * inverse
                wc = 1.0 - wa - wb
                if wb < 0 or wc < 0:
                    continue
                z = 1.0 / (wa * za + wb * zb + wc * zc)
                if z >= depth[y, x]:
                    continue
                wa *= za * z
                wb *= zb * z
                wc = 1.0 - wa - wb
                u = wa * uv[f, 0, 0] + wb * uv[f, 1, 0] + wc * uv[f, 2, 0]
                v = wa * uv[f, 0, 1] + wb * uv[f, 1, 1] + wc * uv[f, 2, 1]
                row, column = int((1.0 - v) * th) % th, int(u * tw) % tw
                if data[start[t] + (row * tw + column) * 4 + 3] < _OPAQUE:
                    continue
                depth[y, x] = z
                face[y, x] = f
                weights[y, x, 0], weights[y, x, 1], weights[y, x, 2] = wa, wb, wc


def interpolate(values: NDArray[np.float32], hits: Hits) -> NDArray[np.float32]:
    """Values of face corners float32 [f,3,...] at every pixel, float32 [H,W,...]; zero where nothing is."""
    seen = hits.face >= 0
    corner = values[hits.face[seen]]
    weights = hits.weights[seen].reshape(len(corner), 3, *([1] * (corner.ndim - 2)))
    out = np.zeros((*hits.face.shape, *values.shape[2:]), np.float32)
    out[seen] = (corner * weights).sum(1)
    return out
