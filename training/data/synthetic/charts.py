"""Our own 24 charts on the body, in DensePose's order and directions (Guler et al. 2018, section 2).

DensePose's own chart files may not be shipped. Parts, their sides and the directions in which U and V grow follow its
published output; the lines between parts and the values inside them are ours: geodesic multidimensional scaling of each
part, the recipe of the paper. The left side mirrors the right one exactly, so a picture can be flipped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from training.data.iuv import FLIPS_U, MIRRORED
from training.data.synthetic.body import Body
from training.data.synthetic.raster import Soup, Textures, rasterise
from training.data.synthetic.surface import Surface, largest_piece

PARTS = 24
TORSO, HEAD = 0, 1
_SIDES = ("hand", "foot", "upperleg", "lowerleg", "upperarm", "lowerarm")
# (front, back) part of each region on the right side; hands and feet are one part
_RIGHT = {
    "hand": (3, 3),
    "foot": (6, 6),
    "upperleg": (9, 7),
    "lowerleg": (13, 11),
    "upperarm": (16, 18),
    "lowerarm": (20, 22),
}
_LANDMARKS = 48
_VIEWS = 400  # pixels of the pictures that tell which faces can be seen from outside


@dataclass(frozen=True)
class Atlas:
    """The skin, cut along the lines between the parts.

    Attributes:
        surface: over the base vertices.
        part: uint8 [f], 1..24; chart: float32 [f,3,2], U and V at the corners.
        texture: float32 [f,3,2] texture coordinates of the skin.
        skull: bool [f], on the head, not on the neck.
        outer: bool [f], seen from somewhere outside (not the inside of the mouth).
        fields: at the base vertices; what cuts clothes into the same parts.
        owners: for each part, float32 [k,3] points of the template and their U and V, float32 [k,2].
    """

    surface: Surface
    part: NDArray[np.uint8]
    chart: NDArray[np.float32]
    texture: NDArray[np.float32]
    skull: NDArray[np.bool_]
    outer: NDArray[np.bool_]
    fields: Fields
    owners: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]

    def nearest(self, points: NDArray[np.float32], wanted: NDArray[np.uint8]) -> NDArray[np.float32]:
        """U and V float32 [k,2] of the nearest point of the part wanted, for points [k,3] on the template."""
        out = np.zeros((len(points), 2), np.float32)
        for part in np.unique(wanted):
            rows = wanted == part
            places, values = self.owners[part - 1]
            out[rows] = values[cKDTree(places).query(points[rows])[1]]
        return out

    def corner_charts(
        self, points: NDArray[np.float32], faces: NDArray[np.int32], part: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """U and V float32 [f,3,2] at the corners of faces beside the body, each of one part, points on the template."""
        keys, place = np.unique(faces.astype(np.int64) * 32 + part[:, None], return_inverse=True)
        found = self.nearest(points[keys // 32], (keys % 32).astype(np.uint8))
        return np.asarray(found[place.reshape(faces.shape)])


def regions() -> list[str]:
    """Names of the 14 regions: torso, head, then six pairs, left first."""
    return ["torso", "head"] + [f"{name}.{side}" for name in _SIDES for side in "LR"]


def region_of_bone(bone: str) -> int:
    """Index into `regions` of what a bone moves."""
    name, _, side = bone.partition(".")
    if name in ("head", "eye", "neck02", "neck03"):
        return HEAD
    if name.startswith(("finger", "metacarpal", "wrist")):
        name = "hand"
    elif name.startswith(("toe", "foot")):
        name = "foot"
    for known in _SIDES:
        if name.startswith(known):
            return regions().index(f"{known}.{side}")
    return TORSO


def region_weights(body: Body) -> NDArray[np.float32]:
    """float32 [19158,14]: skinning weights summed by region."""
    table = np.array([region_of_bone(bone) for bone in body.bones])
    weights = np.zeros((len(body.template), len(regions())), np.float32)
    rows = np.repeat(np.arange(len(body.template)), body.skin_index.shape[1])
    np.add.at(weights, (rows, table[body.skin_index].ravel()), body.skin_weight.ravel())
    return weights


def front_field(body: Body, region: int) -> NDArray[np.float32]:
    """float32 [19158]: positive in front of the line that parts a region's front from its back; of a head, at its left.

    Raises:
        ValueError: the region has one part only.
    """
    points, name = body.template, regions()[region]
    kind, _, side = name.partition(".")
    if kind == "head":
        return points[:, 0].copy()
    if kind == "torso":
        return _flank_depth(body) - points[:, 1]
    ends = {
        "upperleg": ("upperleg01", "lowerleg01"),
        "lowerleg": ("lowerleg01", "foot"),
        "upperarm": ("upperarm01", "lowerarm01"),
        "lowerarm": ("lowerarm01", "wrist"),
    }
    if kind not in ends:
        raise ValueError(f"{name} is one part: it has no front")
    first, last = (body.heads[body.bone(f"{bone}.{side}")] for bone in ends[kind])
    along = ((points - first) @ (last - first)) / ((last - first) @ (last - first))
    return np.asarray((first + along[:, None].clip(-0.3, 1.3) * (last - first))[:, 1] - points[:, 1], np.float32)


def _flank_depth(body: Body) -> NDArray[np.float32]:
    """y of the flanks at the height of each vertex: the mean over the outermost vertices of the trunk, smoothed."""
    points = body.template
    trunk = np.unique(body.faces)
    trunk = trunk[region_weights(body)[trunk, TORSO] > 0.5]
    x, y, z = points[trunk].T
    heights = np.linspace(z.min(), z.max(), 24)
    depth = np.zeros_like(heights)
    for i, height in enumerate(heights):
        weight = np.exp(-0.5 * ((z - height) / 0.03) ** 2)
        reach = np.quantile(np.abs(x[weight > 0.3]), 0.97)
        weight = weight * (np.abs(x) > 0.8 * reach)
        depth[i] = (weight * y).sum() / weight.sum()
    return np.interp(points[:, 2], heights, np.convolve(np.pad(depth, 2, mode="edge"), np.ones(5) / 5, "valid")).astype(
        np.float32
    )


@dataclass(frozen=True)
class Fields:
    """What decides the part of a point, at each vertex of some mesh.

    Attributes:
        weights: float32 [v,14], how much it belongs to each region.
        fronts: float32 [v,14], `front_field` of each region (0 for hands and feet).
        skull: float32 [v], positive on the head, negative on the neck.
    """

    weights: NDArray[np.float32]
    fronts: NDArray[np.float32]
    skull: NDArray[np.float32]

    @classmethod
    def of_body(cls, body: Body) -> Fields:
        """At the 19158 vertices of the base mesh."""
        fronts = np.zeros((len(body.template), len(regions())), np.float32)
        for index, name in enumerate(regions()):
            if name.partition(".")[0] not in ("hand", "foot"):
                fronts[:, index] = front_field(body, index)
        head = np.isin(body.skin_index, [body.bone(b) for b in ("head", "eye.L", "eye.R")])
        skull = (body.skin_weight * head).sum(1) - np.float32(0.5)
        return cls(region_weights(body), fronts, skull.astype(np.float32))

    def mixed(self, points: csr_matrix) -> Fields:
        """At points that are mixtures of the vertices, sparse [v,base]."""
        return Fields(*(np.asarray(points @ field, np.float32) for field in (self.weights, self.fronts, self.skull)))


def split_into_parts(faces: NDArray[np.int32], fields: Fields) -> tuple[Surface, NDArray[np.uint8], NDArray[np.bool_]]:
    """Cut faces so that each lies in one part.

    Returns:
        (surface, uint8 [f] parts 1..24, bool [f]: on the head, not on the neck).
    """
    surface = Surface.whole(faces, len(fields.weights))
    for region in range(1, len(regions())):
        own = surface.points @ fields.weights
        surface = surface.cut(own[:, region] - np.delete(own, region, axis=1).max(1)).surface
    region = (surface.points @ fields.weights)[surface.faces].sum(1).argmax(1)
    cut = surface.cut(surface.points @ fields.skull, only=region == HEAD)
    surface, region, skull = cut.surface, region[cut.origin], cut.above
    front = np.zeros(len(region), bool)
    for index, name in enumerate(regions()):
        if name.partition(".")[0] in ("hand", "foot"):
            continue
        cut = surface.cut(surface.points @ fields.fronts[:, index], only=region == index)
        surface, region, front, skull = cut.surface, region[cut.origin], front[cut.origin], skull[cut.origin]
        front = np.where(region == index, cut.above, front)
    return surface, _part_table()[region, front.astype(int)], skull & (region == HEAD)


def _part_table() -> NDArray[np.uint8]:
    """uint8 [14,2]: part of each region, (behind, in front)."""
    rows = [(1, 2), (23, 24)]
    for name in regions()[2:]:
        kind, _, side = name.partition(".")
        front, back = _RIGHT[kind]
        rows.append((back, front) if side == "R" else (int(MIRRORED[back]), int(MIRRORED[front])))
    return np.array(rows, np.uint8)


def build_atlas(body: Body) -> Atlas:
    """Cut the skin into parts and lay each out flat."""
    fields = Fields.of_body(body)
    surface, part, skull = split_into_parts(body.faces, fields)
    points = np.asarray(surface.points @ body.template, np.float32)
    outer = _seen_from_outside(points, surface.faces)
    laid: dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
    for number in (1, 2, 3, 6, 7, 9, 11, 13, 16, 18, 20, 22, 23):
        used, chart = _lay_out(body, number, points, surface.faces[(part == number) & outer])
        laid[number] = (points[used], chart)
    for number in (1, 2):  # the trunk mirrors itself
        own, chart = laid[number]
        twin = chart[cKDTree(own).query(own * (-1, 1, 1))[1]]
        laid[number] = (own, ((chart + twin * (1, -1) + (0, 1)) / 2).astype(np.float32))
    for number in range(1, PARTS + 1):
        if number not in laid:
            own, chart = laid[int(MIRRORED[number])]
            if number in FLIPS_U:
                chart = chart * np.array([-1, 1], np.float32) + np.array([1, 0], np.float32)
            laid[number] = (own * np.array([-1, 1, 1], np.float32), chart)
    owners = tuple(laid[number] for number in range(1, PARTS + 1))
    atlas = Atlas(surface, part, np.zeros(0, np.float32), surface.carry(body.uv), skull, outer, fields, owners)
    return replace(atlas, chart=atlas.corner_charts(points, surface.faces, part))


def _lay_out(
    body: Body, part: int, points: NDArray[np.float32], faces: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Vertices [k] of a part and their U, V in [0,1], float32 [k,2]."""
    used, local = np.unique(faces, return_inverse=True)
    local = local.reshape(-1, 3)
    kept = largest_piece(local.astype(np.int32), len(used))
    used, local = used[np.unique(local[kept])], np.unique(local[kept], return_inverse=True)[1].reshape(-1, 3)
    own = points[used]
    flat = _flatten(own, local.astype(np.int32))
    towards = np.stack(_directions(body, part, own), 1)
    towards = (towards - towards.mean(0)) / towards.std(0)
    left, _, right = np.linalg.svd((flat - flat.mean(0)).T @ towards)
    turned = (flat - flat.mean(0)) @ (left @ right)
    low, high = np.quantile(turned, (0.001, 0.999), axis=0)
    return used, np.asarray(((turned - low) / (high - low)).clip(0, 1), np.float32)


def _flatten(points: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float64]:
    """Landmark MDS (de Silva and Tenenbaum 2004) of geodesic distances (heat method): float64 [v,2]."""
    import potpourri3d

    solver = potpourri3d.MeshHeatMethodDistanceSolver(points.astype(np.float64), faces)
    landmarks, rows = [0], []
    nearest = np.full(len(points), np.inf)
    for _ in range(_LANDMARKS):
        row = solver.compute_distance(landmarks[-1])
        rows.append(row)
        nearest = np.minimum(nearest, row)
        landmarks.append(int(nearest.argmax()))
    squares = np.array(rows) ** 2
    among = squares[:, landmarks[:-1]]
    among = (among + among.T) / 2
    centring = np.eye(len(among)) - 1 / len(among)
    values, vectors = np.linalg.eigh(-0.5 * centring @ among @ centring)
    values, vectors = values[::-1][:2], vectors[:, ::-1][:, :2]
    return np.asarray(-0.5 * (squares - among.mean(0)[:, None]).T @ vectors / np.sqrt(values))


def _directions(body: Body, part: int, points: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What U and V should grow with, for parts of the trunk and the right side."""
    x, y, z = points.T
    if part in (1, 2):
        return -z, -x
    if part == 23:
        return -y, z
    if part == 6:
        return -y, x
    if part == 3:
        first, last = body.heads[body.bone("wrist.R")], body.heads[body.bone("finger3-3.R")]
        return y, points @ (last - first)
    if part in (7, 9, 11, 13):  # inner is towards the middle, +x of a right leg
        return _leg(part, x, z)
    names = ("upperarm01", "lowerarm01") if part in (16, 18) else ("lowerarm01", "wrist")
    first, last = (body.heads[body.bone(f"{bone}.R")] for bone in names)
    axis = (last - first) / np.linalg.norm(last - first)
    outward = np.array([axis[2], 0, -axis[0]], np.float32)
    return points @ axis, points @ outward


def _leg(part: int, x: NDArray[np.float32], z: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """7: hip -> knee, inner -> outer. 9: knee -> hip, outer -> inner. 11: ankle -> knee. 13: knee -> ankle."""
    up, inner = z, x
    return {7: (-up, -inner), 9: (up, inner), 11: (up, -inner), 13: (-up, -inner)}[part]


def _seen_from_outside(points: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.bool_]:
    """bool [f]: faces that some of 26 directions around the body shows."""
    seen = np.zeros(len(faces), bool)
    grid = np.array([(a, b, c) for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1) if a or b or c], np.float64)
    centre = (points.min(0) + points.max(0)) / 2
    white = Textures.pack([np.full((1, 1, 4), 255, np.uint8)])
    for part in (
        points[:, 2] > points[:, 2].max() - 0.4,
        np.ones(len(points), bool),
    ):  # the head from near by, then all
        own = faces[part[faces].all(1)]
        for direction in grid:
            forward = direction / np.linalg.norm(direction)
            side = np.cross(forward, (0.1, 0.2, 1.0))
            side /= np.linalg.norm(side)
            view = (points - centre) @ np.stack([side, np.cross(forward, side), forward], 1)
            low, high = view[np.unique(own)][:, :2].min(0), view[np.unique(own)][:, :2].max(0)
            view[:, :2] = (view[:, :2] - low) * (_VIEWS / (high - low).max())
            view[:, 2] += 10
            soup = Soup.plain(view.astype(np.float32), own)
            hits = rasterise(soup, white, _VIEWS, _VIEWS)
            found = np.flatnonzero(part[faces].all(1))[np.unique(hits.face[hits.face >= 0])]
            seen[found] = True
    return seen
