"""Distances of surface.npz beside those that the heat method gives for the very same pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import potpourri3d
import pytest
from scipy.spatial import cKDTree

from training.data.synthetic.body import Body
from training.data.synthetic.charts import Atlas
from training.data.synthetic.generator import Source
from training.data.synthetic.geodesics import _largest_piece, kept_surface
from training.metrics.densepose import BodySurface, point_similarity

HEIGHT = 1.7


@pytest.fixture(scope="module")
def surface(surface_file: Path) -> BodySurface:
    return BodySurface.load(surface_file)


@pytest.mark.parametrize(
    ("parts", "most_mean", "least"), [((3, 4), 0.035, -0.35), ((5, 6), 0.045, -0.25), ((23, 24), 0.012, -0.35)]
)
def test_similarity_is_that_of_the_way_over_the_skin(
    surface: BodySurface, body: Body, parts: tuple[int, int], most_mean: float, least: float
) -> None:
    """Hands, feet and head: thin, so that the straight line from palm to back would be 2 cm long."""
    used, faces = _largest_piece(body)
    points = body.template[used].astype(np.float64)
    points *= HEIGHT / np.ptp(points[:, 2])
    solver = potpourri3d.MeshHeatMethodDistanceSolver(points, faces)
    off, vertex = cKDTree(points).query(surface.position)
    rng = np.random.default_rng(0)
    errors = []
    for part in parts:
        own = np.flatnonzero((surface.part == part) & (off < 1e-3))
        for start in rng.choice(own, 12):
            true = solver.compute_distance(int(vertex[start]))[vertex[own]]
            near, true = own[true < 0.2], true[true < 0.2]
            found = surface.geodesic(np.full(len(near), start), near)
            kind = np.full(len(near), part)
            errors.append(point_similarity(found, kind) - point_similarity(true, kind))
    assert abs(np.concatenate(errors).mean()) < most_mean
    assert np.concatenate(errors).min() > least


@pytest.mark.usefixtures("surface_file")
def test_the_cache_keeps_it(body: Body, atlas: Atlas, source: Source, tmp_path: Path) -> None:
    kept = kept_surface(source.cache, body, atlas)
    assert kept.parent == source.cache
    there = tmp_path / kept.name  # by its name alone: a file that is there is not computed again
    there.write_bytes(b"of this body")
    assert kept_surface(tmp_path, body, atlas) == there
    assert there.read_bytes() == b"of this body"
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]
