"""Cutting triangle meshes along the zero line of a scalar field: seams and hems are lines, not stairs of faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, identity, vstack
from scipy.sparse.csgraph import connected_components

_LEAST = 1e-7


def vertex_pieces(faces: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """int32 [count]: the number of the connected piece that each of `count` vertices belongs to, by `faces` [f,3]."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = csr_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])


def largest_piece(faces: NDArray[np.int32], count: int) -> NDArray[np.bool_]:
    """bool [f]: which faces belong to the connected piece with most of them."""
    label = vertex_pieces(faces, count)[faces[:, 0]]
    return np.asarray(label == np.bincount(label).argmax())


@dataclass(frozen=True)
class Surface:
    """A piece of a base mesh.

    Attributes:
        points: sparse float32 [v,base]: each vertex as a mixture of base vertices.
        faces: int32 [f,3].
        parent: int32 [f], the face of the uncut surface that each face is a part of.
        corners: float32 [f,3,3], barycentric weights of each corner in its parent.
    """

    points: csr_matrix
    faces: NDArray[np.int32]
    parent: NDArray[np.int32]
    corners: NDArray[np.float32]

    @classmethod
    def whole(cls, faces: NDArray[np.int32], base: int) -> Surface:
        """Uncut faces over `base` vertices."""
        count = len(faces)
        corners = np.broadcast_to(np.eye(3, dtype=np.float32), (count, 3, 3)).copy()
        eye = identity(base, dtype=np.float32, format="csr")
        return cls(eye, faces.astype(np.int32), np.arange(count, dtype=np.int32), corners)

    def cut(self, field: NDArray[np.float32], only: NDArray[np.bool_] | None = None) -> Cut:
        """Split the faces that the line `field = 0` crosses.

        Args:
            field: float32 [v], one value a vertex of this surface.
            only: bool [f], the faces that may be split (None: all).
        """
        values = np.where(np.abs(field) < _LEAST, _LEAST, field).astype(np.float32)
        above = values[self.faces] > 0
        count = above[:, 0].astype(np.int8) + above[:, 1] + above[:, 2]
        mixed = (count == 1) | (count == 2)
        split = mixed if only is None else mixed & only
        crossed = np.flatnonzero(split)
        if not len(crossed):
            return Cut(self, count >= 2, np.arange(len(self.faces)), np.zeros((0, 3, 3), np.float32))
        # turn each crossed face so that its first corner is alone on its side
        lone = np.where(count[crossed] == 1, above[crossed].argmax(1), above[crossed].argmin(1))
        turn = (lone[:, None] + np.arange(3)) % 3
        rows = np.arange(len(crossed))[:, None]
        a, b, c = self.faces[crossed][rows, turn].T
        edges = np.stack([np.concatenate([a, a]), np.concatenate([b, c])], 1)
        edges.sort(1)
        unique, place = np.unique(edges, axis=0, return_inverse=True)
        part = values[unique[:, 0]] / (values[unique[:, 0]] - values[unique[:, 1]])
        new, old = len(unique), self.points.shape[0]
        mix = csr_matrix(
            (
                np.stack([1 - part, part], 1).ravel().astype(np.float32),
                (np.repeat(np.arange(new), 2), unique.ravel()),
            ),
            shape=(new, old),
        )
        p, q = np.split(place.reshape(-1).astype(np.int32) + old, 2)
        # the new corners in barycentric weights of the face that was split
        ends = np.eye(3, dtype=np.float32)[turn]
        at_p = (values[a] / (values[a] - values[b]))[:, None].astype(np.float32)
        at_q = (values[a] / (values[a] - values[c]))[:, None].astype(np.float32)
        ea, eb, ec = ends[:, 0], ends[:, 1], ends[:, 2]
        ep, eq = ea * (1 - at_p) + eb * at_p, ea * (1 - at_q) + ec * at_q
        within = np.concatenate([np.stack(three, 1) for three in ((ea, ep, eq), (ep, eb, ec), (ep, ec, eq))])
        whole = np.flatnonzero(~split)
        origin = np.concatenate([whole, crossed, crossed, crossed])
        faces = [self.faces[whole], np.stack([a, p, q], 1), np.stack([p, b, c], 1), np.stack([p, c, q], 1)]
        side = [count[whole] >= 2, values[a] > 0, values[a] <= 0, values[a] <= 0]
        corners = self.corners[origin]
        corners[len(whole) :] = np.matmul(within, corners[len(whole) :])
        surface = Surface(
            vstack([self.points, mix @ self.points]).tocsr(),
            np.concatenate(faces).astype(np.int32),
            self.parent[origin],
            corners,
        )
        return Cut(surface, np.concatenate(side), origin, within)

    def select(self, keep: NDArray[np.bool_]) -> Surface:
        """Some of the faces, with the vertices that they use and no other."""
        faces = self.faces[keep]
        used = used_vertices(faces, self.points.shape[0])
        place = np.zeros(self.points.shape[0], np.int32)
        place[used] = np.arange(len(used))
        return Surface(self.points[used], place[faces], self.parent[keep], self.corners[keep])

    def carry(self, corner_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values at the corners of the uncut faces, [F,3,k] -> at the corners of these, [f,3,k]."""
        return np.asarray(self.corners @ corner_values[self.parent], np.float32)


@dataclass(frozen=True)
class Cut:
    """What `Surface.cut` gives.

    Attributes:
        surface: the split surface.
        above: bool [f], the face lies where the field is positive.
        origin: int64 [f], the face before the cut that each face is a part of.
        within: float32 [k,3,3], barycentric weights of the corners of the last k faces, the new ones, in their origins.
    """

    surface: Surface
    above: NDArray[np.bool_]
    origin: NDArray[np.int64]
    within: NDArray[np.float32]

    def carry(self, corner_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values at the corners of the faces before the cut, [F,3,k] -> of these faces, [f,3,k]."""
        out = corner_values[self.origin]
        if len(self.within):
            start = len(out) - len(self.within)
            out[start:] = np.matmul(self.within, out[start:])
        return out


def used_vertices(faces: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Indices of the vertices, of `count`, that some face has, ascending."""
    used = np.zeros(count, bool)
    used[faces.ravel()] = True
    return np.flatnonzero(used)


def vertex_normals(points: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """Unit normals float32 [v,3], the mean of the faces around each vertex by area."""
    edges = points[faces]
    area = np.cross(edges[:, 1] - edges[:, 0], edges[:, 2] - edges[:, 0])
    total = np.zeros_like(points)
    for axis in range(3):
        for corner in range(3):
            total[:, axis] += np.bincount(faces[:, corner], area[:, axis], len(points)).astype(np.float32)
    return np.asarray(total / np.linalg.norm(total, axis=1, keepdims=True).clip(1e-12), np.float32)
