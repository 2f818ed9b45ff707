"""Light on what the rasteriser hit: a key light with cast shadows, light from the sky and from the ground."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from training.data.synthetic.raster import Hits, Soup, Textures, rasterise
from training.data.synthetic.surface import used_vertices

_SHADOW_SIZE = 384  # pixels of the shadow map
_BIAS = 0.03  # metres: what is nearer than this to what casts the shadow is lit


@dataclass(frozen=True)
class Light:
    """One outdoor or indoor light.

    Attributes:
        towards: float32 [3], unit vector from the scene to the key light, z up.
        key, sky, ground: float32 [3] RGB gains.
        ground_shadow: 0..1, how dark shadows on the floor are.
    """

    towards: NDArray[np.float32]
    key: NDArray[np.float32]
    sky: NDArray[np.float32]
    ground: NDArray[np.float32]
    ground_shadow: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Light:
        """Anything between noon, dusk, flash and an overcast day."""
        towards = rng.normal(0, 1, 3) * (1.0, 1.0, 0.5) + (0.0, -0.7, 0.9)
        towards[2] = max(towards[2], 0.15)
        towards /= np.linalg.norm(towards)
        warmth = rng.normal(0, 0.06) * np.array([1.0, 0.1, -1.0])
        hard = rng.beta(1.5, 1.5)
        level = np.exp(rng.normal(0.05, 0.18))
        key = level * (0.25 + 0.75 * hard) * (1 + warmth)
        sky = level * (0.85 - 0.5 * hard) * (1 - warmth * rng.uniform(0, 1.2))
        ground = sky * rng.uniform(0.3, 0.9) * (1 + rng.normal(0, 0.05, 3))
        return cls(
            np.asarray(towards, np.float32),
            np.asarray(key, np.float32),
            np.asarray(sky, np.float32),
            np.asarray(ground, np.float32),
            ground_shadow=float(rng.uniform(0.1, 0.6) * hard) if rng.random() < 0.8 else 0.0,
        )


@dataclass(frozen=True)
class Camera:
    """A pinhole. World: metres, z up; at yaw 0 the camera looks along +y.

    Attributes:
        position: float32 [3]; axes: float32 [3,3], rows right, down, forward; focal: pixels.
        width, height: of the picture, the principal point in its middle.
    """

    position: NDArray[np.float32]
    axes: NDArray[np.float32]
    focal: float
    width: int
    height: int

    def project(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """World points [v,3] -> x, y in pixels and depth in metres."""
        view = (points - self.position) @ self.axes.T
        depth = np.where(np.abs(view[:, 2]) < 1e-6, 1e-6, view[:, 2])
        x = view[:, 0] / depth * self.focal + self.width / 2
        y = view[:, 1] / depth * self.focal + self.height / 2
        return np.stack([x, y, view[:, 2]], 1).astype(np.float32)

    def scaled(self, factor: int) -> Camera:
        """The same view with more pixels."""
        return Camera(self.position, self.axes, self.focal * factor, self.width * factor, self.height * factor)


@dataclass(frozen=True)
class ShadowMap:
    """Depth of the scene seen from the key light.

    Attributes:
        axes: float32 [3,3], rows right, down, away from the light; origin: float32 [2]; scale: pixels a metre.
        depth: float32 [S,S] along the third axis, infinite where nothing is.
    """

    axes: NDArray[np.float32]
    origin: NDArray[np.float32]
    scale: float
    depth: NDArray[np.float32]


def shadow_map(points: NDArray[np.float32], faces: NDArray[np.int32], light: Light) -> ShadowMap:
    """Rasterise a scene as the key light sees it."""
    away = -light.towards
    right = np.cross(away, (0.31, 0.17, 1.0))
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(away, right), away]).astype(np.float32)
    view = points @ axes.T
    used = view[used_vertices(faces, len(view))]
    low, high = used[:, :2].min(0), used[:, :2].max(0)
    scale = float((_SHADOW_SIZE - 4) / max((high - low).max(), 1e-3))
    nearest = float(used[:, 2].min()) - 1
    flat = view.copy()
    flat[:, :2] = (view[:, :2] - low) * scale + 2
    flat[:, 2] = 1e4 + (view[:, 2] - nearest)  # so far away that perspective does not bend depths
    white = Textures.pack([np.full((1, 1, 4), 255, np.uint8)])
    hits = rasterise(Soup.plain(flat.astype(np.float32), faces), white, _SHADOW_SIZE, _SHADOW_SIZE)
    depth = (interpolated_depth(hits, view[:, 2].astype(np.float32), faces)).astype(np.float32)
    return ShadowMap(axes, (low - 2 / scale).astype(np.float32), scale, depth)


def interpolated_depth(hits: Hits, values: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """A value of vertices at every pixel, infinite where nothing is."""
    out = np.full(hits.face.shape, np.inf, np.float32)
    seen = hits.face >= 0
    out[seen] = (values[faces[hits.face[seen]]] * hits.weights[seen]).sum(1)
    return out


def shade(
    hits: Hits,
    soup: Soup,
    textures: Textures,
    normals: NDArray[np.float32],
    camera: Camera,
    light: Light,
    shadows: ShadowMap,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colours and the darkness of the floor.

    Returns:
        (float32 [H,W,3] RGB 0..255, zero where nothing is; float32 [H,W] factor of the background, 1 = no shadow).
    """
    colour = np.zeros((*hits.face.shape, 3), np.float32)
    floor = np.ones(hits.face.shape, np.float32)
    _shade(
        hits.face, hits.weights, hits.depth, soup.faces, soup.uv, soup.texture, textures.data, textures.start,
        textures.size, normals, camera.position, camera.axes, np.float32(camera.focal), light.towards, light.key,
        light.sky, light.ground, np.float32(light.ground_shadow), shadows.axes, shadows.origin,
        np.float32(shadows.scale), shadows.depth, np.float32(_BIAS), colour, floor,
    )  # fmt: skip
    return colour, floor


@numba.njit(cache=True, fastmath=False)
def _lit(
    px: float,
    py: float,
    pz: float,
    axes: NDArray[np.float32],
    origin: NDArray[np.float32],
    scale: np.float32,
    depth: NDArray[np.float32],
    bias: np.float32,
) -> np.float32:
    """Share of the key light that reaches a point: four samples of the shadow map."""
    u = (px * axes[0, 0] + py * axes[0, 1] + pz * axes[0, 2] - origin[0]) * scale - 0.5
    v = (px * axes[1, 0] + py * axes[1, 1] + pz * axes[1, 2] - origin[1]) * scale - 0.5
    w = px * axes[2, 0] + py * axes[2, 1] + pz * axes[2, 2] - bias
    size = depth.shape[0]
    x0, y0 = int(np.floor(u)), int(np.floor(v))
    if x0 < 0 or y0 < 0 or x0 + 1 >= size or y0 + 1 >= size:
        return np.float32(1.0)
    fx, fy = u - x0, v - y0
    total = np.float32(0.0)
    for dy in range(2):
        for dx in range(2):
            if depth[y0 + dy, x0 + dx] >= w:
                total += (fx if dx else 1 - fx) * (fy if dy else 1 - fy)
    return np.float32(total)


@numba.njit(cache=True)
def _shade(
    face: NDArray[np.int32],
    weights: NDArray[np.float32],
    depth: NDArray[np.float32],
    faces: NDArray[np.int32],
    uv: NDArray[np.float32],
    texture: NDArray[np.int32],
    data: NDArray[np.uint8],
    start: NDArray[np.int64],
    size: NDArray[np.int32],
    normals: NDArray[np.float32],
    position: NDArray[np.float32],
    axes: NDArray[np.float32],
    focal: np.float32,
    towards: NDArray[np.float32],
    key: NDArray[np.float32],
    sky: NDArray[np.float32],
    ground: NDArray[np.float32],
    ground_shadow: np.float32,
    shadow_axes: NDArray[np.float32],
    origin: NDArray[np.float32],
    scale: np.float32,
    shadow: NDArray[np.float32],
    bias: np.float32,
    colour: NDArray[np.float32],
    floor: NDArray[np.float32],
) -> None:
    height, width = face.shape
    for y in range(height):
        for x in range(width):
            right = (x + 0.5 - width / 2) / focal
            down = (y + 0.5 - height / 2) / focal
            rx = right * axes[0, 0] + down * axes[1, 0] + axes[2, 0]
            ry = right * axes[0, 1] + down * axes[1, 1] + axes[2, 1]
            rz = right * axes[0, 2] + down * axes[1, 2] + axes[2, 2]
            f = face[y, x]
            if f < 0:
                if ground_shadow > 0 and rz < -1e-3:  # the floor is at z = 0
                    t = -position[2] / rz
                    lit = _lit(
                        position[0] + t * rx, position[1] + t * ry, 0.0, shadow_axes, origin, scale, shadow, bias
                    )
                    floor[y, x] = 1 - ground_shadow * (1 - lit)
                continue
            wa, wb, wc = weights[y, x, 0], weights[y, x, 1], weights[y, x, 2]
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            nx = wa * normals[a, 0] + wb * normals[b, 0] + wc * normals[c, 0]
            ny = wa * normals[a, 1] + wb * normals[b, 1] + wc * normals[c, 1]
            nz = wa * normals[a, 2] + wb * normals[b, 2] + wc * normals[c, 2]
            length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-9
            if nx * rx + ny * ry + nz * rz > 0:  # cloth and hair have two sides
                length = -length
            nx, ny, nz = nx / length, ny / length, nz / length
            facing = nx * towards[0] + ny * towards[1] + nz * towards[2]
            direct = np.float32(0.0)
            if facing > 0:
                z = depth[y, x]
                direct = facing * _lit(
                    position[0] + z * rx, position[1] + z * ry, position[2] + z * rz,
                    shadow_axes, origin, scale, shadow, bias,
                )  # fmt: skip
            up = 0.5 + 0.5 * nz
            tex = texture[f]
            th, tw = size[tex, 0], size[tex, 1]
            tu = (wa * uv[f, 0, 0] + wb * uv[f, 1, 0] + wc * uv[f, 2, 0]) * tw - 0.5
            tv = (1.0 - (wa * uv[f, 0, 1] + wb * uv[f, 1, 1] + wc * uv[f, 2, 1])) * th - 0.5
            x0, y0 = int(np.floor(tu)), int(np.floor(tv))
            fx, fy = tu - x0, tv - y0
            for dy in range(2):
                for dx in range(2):
                    share = (fx if dx else 1.0 - fx) * (fy if dy else 1.0 - fy)
                    place = start[tex] + (((y0 + dy) % th) * tw + (x0 + dx) % tw) * 4
                    for k in range(3):
                        colour[y, x, k] += share * data[place + k]
            for k in range(3):
                colour[y, x, k] *= key[k] * direct + sky[k] * up + ground[k] * (1 - up)
