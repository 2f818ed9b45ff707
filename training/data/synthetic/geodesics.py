"""Distances on the skin between charts' points, in a file beside a rendered dataset: what GPS measures with."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from training.data.synthetic.body import Body
from training.data.synthetic.charts import Atlas

_ANCHORS = 1200
_HEIGHT = 1.7  # metres: the body on which the scale of GPS keeps its meaning


def kept_surface(cache: Path, body: Body, atlas: Atlas) -> Path:
    """The file of `write_surface`, which takes seconds, from the cache or, the first time, written there.

    It is another one for another body, other charts, or another version of this module.
    """
    read = hashlib.sha256(Path(__file__).read_bytes())
    for array in (body.template, body.faces, *(values for pair in atlas.owners for values in pair)):
        read.update(np.ascontiguousarray(array))
    path = cache / f"surface_{read.hexdigest()[:16]}.npz"
    if not path.is_file():
        partial = path.with_suffix(f".{os.getpid()}.partial.npz")  # another process may be at it, too
        write_surface(partial, body, atlas)
        partial.replace(path)
    return path


def write_surface(path: Path, body: Body, atlas: Atlas) -> None:
    """Write the points of all charts and the geodesic distances among anchors, on a body of 1.7 m.

    Arrays: `position` float32 [k,3] metres, `part` uint8 [k], `uv` float32 [k,2], `anchor` int16 [k] the nearest
    anchor over the skin (in older files through the air: a point of the upper lip could have its anchor on the lower),
    `distances` float16 [a,a] metres between anchors (heat method, Crane et al. 2013).
    """
    import potpourri3d

    position = np.concatenate([points for points, _ in atlas.owners])
    part = np.repeat(np.arange(1, len(atlas.owners) + 1), [len(points) for points, _ in atlas.owners])
    used, faces = _largest_piece(body)
    points = body.template[used]
    scale = np.float32(_HEIGHT / np.ptp(points[:, 2]))
    solver = potpourri3d.MeshHeatMethodDistanceSolver(points.astype(np.float64), faces)
    anchors = _spread(points, _ANCHORS)
    rows = np.empty((len(anchors), len(anchors)))
    nearest, owner = np.full(len(points), np.inf), np.zeros(len(points), np.int16)
    for row, anchor in enumerate(anchors):
        far = solver.compute_distance(int(anchor))
        rows[row] = far[anchors]
        owner[far < nearest] = row
        nearest = np.minimum(nearest, far)
    distances = ((rows + rows.T) / 2 * scale).clip(0)
    np.fill_diagonal(distances, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        position=(position * scale).astype(np.float32),
        part=part.astype(np.uint8),
        uv=np.concatenate([uv for _, uv in atlas.owners]).astype(np.float32),
        anchor=owner[cKDTree(points).query(position)[1]],
        distances=distances.astype(np.float16),
    )


def _largest_piece(body: Body) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The skin without eyeballs and other loose pieces: (vertices [v], faces int32 [f,3] into them)."""
    faces = body.faces
    count = len(body.template)
    edges = (np.concatenate([faces[:, 0], faces[:, 1]]), np.concatenate([faces[:, 1], faces[:, 2]]))
    label = connected_components(csr_matrix((np.ones(len(edges[0])), edges), shape=(count, count)), directed=False)[1]
    own = label[faces[:, 0]]
    kept = faces[own == np.bincount(own).argmax()]
    used, local = np.unique(kept, return_inverse=True)
    return used, local.reshape(-1, 3).astype(np.int32)


def _spread(points: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Farthest-point sampling."""
    chosen = [0]
    nearest = np.full(len(points), np.inf)
    for _ in range(count - 1):
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
        chosen.append(int(nearest.argmax()))
    return np.array(chosen)
