"""Distances on the skin between points of the charts, which GPS needs: a file beside every rendered dataset."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from training.data.synthetic.body import Body
from training.data.synthetic.charts import Atlas
from training.data.synthetic.surface import largest_piece
from training.files import make_folder, replacing

_ANCHORS = 1200
_HEIGHT = 1.7  # metres: the body on which the scale of GPS keeps its meaning


def kept_surface(cache: Path, body: Body, atlas: Atlas) -> Path:
    """Path of a file with the `surface_arrays` of a body, kept in the cache and written there the first time (seconds).

    The name of the file depends on the body, the charts and the source of this module, so a change of any of them makes
    a new one.

    Raises:
        OutputError: the cache cannot be written.
    """
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for array in (body.template, body.faces, *(values for pair in atlas.owners for values in pair)):
        digest.update(np.ascontiguousarray(array).data)
    path = cache / f"surface_{digest.hexdigest()[:16]}.npz"
    if not path.is_file():
        make_folder(cache, "--cache")
        arrays = surface_arrays(body, atlas)
        with replacing(path, "--cache") as partial, partial.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
    return path


def surface_arrays(body: Body, atlas: Atlas) -> dict[str, NDArray[Any]]:
    """The points of all charts and the geodesic distances among anchors, on a body of 1.7 m.

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
    return {
        "position": (position * scale).astype(np.float32),
        "part": part.astype(np.uint8),
        "uv": np.concatenate([uv for _, uv in atlas.owners]).astype(np.float32),
        "anchor": owner[cKDTree(points).query(position)[1]],
        "distances": distances.astype(np.float16),
    }


def _largest_piece(body: Body) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The skin without eyeballs and other loose pieces: (indices of its vertices [v], faces int32 [f,3] into those)."""
    kept = body.faces[largest_piece(body.faces, len(body.template))]
    used, local = np.unique(kept, return_inverse=True)
    return used, local.reshape(-1, 3).astype(np.int32)


def _spread(points: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Indices of `count` points, each as far as possible from those before it (farthest-point sampling)."""
    chosen = [0]
    nearest = np.full(len(points), np.inf)
    for _ in range(count - 1):
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
        chosen.append(int(nearest.argmax()))
    return np.array(chosen)
