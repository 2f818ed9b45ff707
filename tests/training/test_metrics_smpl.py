"""GPS on user-supplied files of a body: written here in their genuine formats, at a tiny size."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parsing_rcnn.errors import InvalidOptions
from tests.training.tiny import tiny_network, tiny_recipe
from training.evaluation.run import run_datasets
from training.evaluation.tta import AugmentedAnalyzer
from training.metrics.densepose import point_similarity
from training.metrics.smpl import SmplSurface, SurfaceError

h5py = pytest.importorskip("h5py")
scipy_io = pytest.importorskip("scipy.io")

# six points of the mesh; the first and the last are one vertex, cut open along a seam between parts 2 and 24
PART = [2, 2, 2, 24, 24, 24]
U = [0.0, 0.5, 1.0, 0.0, 0.5, 1.0]
V = [0.0, 0.0, 0.0, 0.2, 0.2, 0.2]
VERTEX = [1, 2, 3, 4, 5, 1]
# metres along a strip: every pair of the five vertices has its own distance
PLACE = np.array([0.0, 0.1, 0.3, 0.7, 1.5])


def packed() -> np.ndarray:
    """As MATLAB writes it: (1,0), (2,0), (2,1), (3,0) ... one number a pair, float32 [10,1] in Python."""
    pairs = [(i, j) for i in range(5) for j in range(i)]
    return np.array([[abs(PLACE[i] - PLACE[j])] for i, j in pairs], np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    columns = {"Part_ID_subdiv": PART, "U_subdiv": U, "V_subdiv": V}
    mesh = {key: np.array(value, np.float64)[:, None] for key, value in columns.items()}
    scipy_io.savemat(tmp_path / "SMPL_subdiv.mat", {**mesh, "vertex": np.zeros((6, 3)), "faces": np.zeros((2, 3))})
    scipy_io.savemat(tmp_path / "SMPL_SUBDIV_TRANSFORM.mat", {"index": np.array(VERTEX, np.uint16)[:, None]})
    return tmp_path


def write_hdf5(folder: Path, **options: Any) -> None:
    with h5py.File(folder / "Pdist_matrix.mat", "w", userblock_size=512) as file:
        file.create_dataset("Pdist_matrix", data=packed(), **options)


def write_pickle(folder: Path, protocol: int) -> None:
    (folder / "Pdist_matrix.pkl").write_bytes(pickle.dumps({"Pdist_matrix": packed()}, protocol=protocol))


def python_2_pickle(array: np.ndarray) -> bytes:
    """What Python 2 writes at protocol 2: byte strings where Python 3 has text or bytes."""

    def text(value: bytes) -> bytes:
        return b"T" + len(value).to_bytes(4, "little") + value

    shape = b"".join(b"K" + bytes([n]) for n in array.shape)
    empty = b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    kind = b"cnumpy\ndtype\n" + text(b"f4") + b"K\x00K\x01\x87R"
    kind += b"(K\x03" + text(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    state = b"(K\x01" + shape + b"\x86" + kind + b"\x89" + text(array.tobytes()) + b"tb"
    return b"\x80\x02}" + text(b"Pdist_matrix") + empty + state + b"s."


def check(folder: Path) -> None:
    surface = SmplSurface.load(folder)
    said = surface.points(np.array([2, 2, 24, 24, 0]), np.array([0.3, 0.9, 0.1, 0.9, 0.5]), np.zeros(5))
    assert said.tolist() == [1, 2, 3, 5, -1]
    true = surface.points(np.array([2, 2, 2, 2, 24]), np.array([0.0, 1.0, 0.6, 0.1, 0.5]), np.zeros(5))
    assert true.tolist() == [0, 2, 1, 0, 4]
    # the seam costs nothing: both its points are one vertex
    np.testing.assert_allclose(surface.geodesic(said, true), [0.1, 0, 0.6, 0, np.inf], rtol=1e-6)
    values = point_similarity(surface.geodesic(said, true), np.array([2, 2, 2, 2, 24]))
    expected = [math.exp(-(0.1**2) / (2 * 0.351**2)), 1, math.exp(-(0.6**2) / (2 * 0.351**2)), 1, 0]
    np.testing.assert_allclose(values, expected, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"chunks": (4, 1), "compression": "gzip"}])
def test_matlab_files(folder: Path, options: dict[str, Any]) -> None:
    write_hdf5(folder, **options)
    check(folder)
    (folder / "Pdist_matrix.mat").unlink()
    check(folder)  # what was written the first time is enough
    assert not list(folder.glob("*.partial"))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickles(folder: Path, protocol: int) -> None:
    write_pickle(folder, protocol)
    check(folder)


def test_pickles_of_python_2(folder: Path) -> None:
    data = python_2_pickle(packed())
    np.testing.assert_array_equal(pickle.loads(data, encoding="latin1")["Pdist_matrix"], packed())
    (folder / "Pdist_matrix.pkl").write_bytes(data)
    check(folder)


def test_distances_stay_on_disk(folder: Path) -> None:
    write_hdf5(folder)
    assert isinstance(SmplSurface.load(folder).distances, np.memmap)


def test_every_pair_has_its_place(folder: Path) -> None:
    write_hdf5(folder)
    surface = SmplSurface.load(folder)
    a, b = (grid.ravel() for grid in np.meshgrid(np.arange(5), np.arange(5)))
    np.testing.assert_allclose(surface.geodesic(a, b), np.abs(PLACE[a] - PLACE[b]), rtol=1e-6)


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('this pickle ran code')",))


def test_a_pickle_runs_no_code(folder: Path) -> None:
    (folder / "Pdist_matrix.pkl").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(SurfaceError, match=r"builtins\.exec"):
        SmplSurface.load(folder)


def test_what_is_missing_or_broken_is_named(folder: Path) -> None:
    with pytest.raises(SurfaceError, match=r"Pdist_matrix\.mat .*missing"):
        SmplSurface.load(folder)
    (folder / "Pdist_matrix.mat").write_bytes(b"MATLAB 5.0")
    with pytest.raises(SurfaceError, match="HDF5"):
        SmplSurface.load(folder)
    with h5py.File(folder / "Pdist_matrix.mat", "w") as file:
        file["other"] = packed()
    with pytest.raises(SurfaceError, match="holds other, not Pdist_matrix"):
        SmplSurface.load(folder)
    with h5py.File(folder / "Pdist_matrix.mat", "w") as file:
        file["Pdist_matrix"] = packed()[:6]
    with pytest.raises(SurfaceError, match="6 distances are not those of all pairs of 5 vertices"):
        SmplSurface.load(folder)
    (folder / "SMPL_subdiv.mat").unlink()
    with pytest.raises(SurfaceError, match=r"SMPL_subdiv\.mat: missing"):
        SmplSurface.load(folder)


def test_mirrored_views_want_to_know_how_its_charts_mirror(folder: Path, tmp_path: Path) -> None:
    """Ours would be taken otherwise, and U and V of both views averaged on different charts."""
    write_hdf5(folder)
    recipe = tiny_recipe({"densepose": True})
    analyzer = AugmentedAnalyzer(tiny_network(recipe), recipe, flip=True)
    with pytest.raises(InvalidOptions, match=r"UV_symmetry_transforms\.mat.*--uv-symmetry"):
        run_datasets(analyzer, tmp_path / "annotations", None, folder, tmp_path)
