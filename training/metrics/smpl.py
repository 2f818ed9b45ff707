"""The body of DensePose-COCO's published evaluation, from files that a user has from its authors.

SMPL_subdiv.mat has part, U and V of every vertex of the subdivided mesh, SMPL_SUBDIV_TRANSFORM.mat says which of 27,554
vertices each of them is, and Pdist_matrix (HDF5 .mat, or .pkl as detectron2 has it) holds the geodesic distances among
those in metres: 379.6 million numbers, which are never read into memory as a whole.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.arrays_only import ArraysOnly
from training.files import replacing
from training.metrics.densepose import nearest_of_part

_NAME = "Pdist_matrix"
_BLOCK = 1 << 22  # numbers copied at a time: 16 MB


class SurfaceError(ValueError):
    """A file of the body is missing or holds what it should not; the message names it."""


@dataclass(frozen=True, eq=False)
class SmplSurface:
    """Chart points of the subdivided SMPL mesh and the distances among them.

    Attributes:
        part: int64 [k], 1..24; uv: float32 [k,2]; vertex: int64 [k], of those that `distances` knows, from 0.
        distances: float32 [n(n-1)/2] metres, on disk: of the pair i > j at i(i-1)/2 + j.
    """

    part: NDArray[np.int64]
    uv: NDArray[np.float32]
    vertex: NDArray[np.int64]
    distances: NDArray[np.float32]

    @classmethod
    def load(cls, folder: Path) -> SmplSurface:
        """Open a folder that holds the three files. The first time it writes Pdist_matrix.npy (1.5 GB) beside them.

        Raises:
            SurfaceError: a file is missing or is not what its name says.
            OutputError: the folder cannot be written to.
        """
        part, u, v = (_column(folder / "SMPL_subdiv.mat", f"{key}_subdiv") for key in ("Part_ID", "U", "V"))
        vertex = _column(folder / "SMPL_SUBDIV_TRANSFORM.mat", "index").astype(np.int64) - 1
        if not len(part) == len(u) == len(v) == len(vertex):
            raise SurfaceError(
                f"{folder}: SMPL_subdiv.mat and SMPL_SUBDIV_TRANSFORM.mat have unequal numbers of points"
            )
        distances = open_distances(folder)
        count = round((1 + (1 + 8 * len(distances)) ** 0.5) / 2)
        if count * (count - 1) // 2 != len(distances) or vertex.min() < 0 or vertex.max() >= count:
            raise SurfaceError(
                f"{folder / _NAME}: {len(distances)} distances are not those of all pairs of "
                f"{int(vertex.max()) + 1} vertices; delete {_NAME}.npy when the file that it came from is replaced"
            )
        uv = np.stack([u, v], 1).astype(np.float32)
        return cls(part.astype(np.int64), uv, vertex, distances)

    def points(self, part: NDArray[np.integer], u: NDArray[np.floating], v: NDArray[np.floating]) -> NDArray[np.int64]:
        """See `training.metrics.densepose.GpsSurface`."""
        return nearest_of_part(self.part, self.uv, part, u, v)

    def geodesic(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `training.metrics.densepose.GpsSurface`."""
        found = np.full(len(a), np.inf)
        known = np.flatnonzero((a >= 0) & (b >= 0))
        one, other = self.vertex[a[known]], self.vertex[b[known]]
        high, low = np.maximum(one, other), np.minimum(one, other)
        apart = high > low
        metres = np.zeros(len(known))
        metres[apart] = self.distances[high[apart] * (high[apart] - 1) // 2 + low[apart]]
        found[known] = metres
        return found


def _column(path: Path, key: str) -> NDArray[np.float64]:
    """A vector of a MATLAB file (version 5)."""
    from scipy.io import loadmat

    if not path.is_file():
        raise SurfaceError(f"{path}: missing; it comes with DensePose's evaluation data (UV_data)")
    try:
        return np.asarray(loadmat(path, variable_names=[key])[key], np.float64).ravel()
    except (ValueError, NotImplementedError, KeyError, TypeError) as error:
        raise SurfaceError(f"{path}: not a MATLAB file with {key} ({error})") from error


def open_distances(folder: Path) -> NDArray[np.float32]:
    """The packed distances, mapped from Pdist_matrix.npy, which is written from .mat or .pkl when it is not there.

    Raises:
        SurfaceError: none of the three is there or readable.
        OutputError: the folder cannot be written to.
    """
    mapped = folder / f"{_NAME}.npy"
    if not mapped.is_file():
        source = next((p for s in (".mat", ".pkl") if (p := folder / f"{_NAME}{s}").is_file()), None)
        if source is None:
            raise SurfaceError(f"{folder / _NAME}.mat (or .pkl): missing; it comes with DensePose's evaluation data")
        blocks = _hdf5_blocks(source) if source.suffix == ".mat" else _pickle_blocks(source)
        _write(mapped, blocks)
    try:
        found: NDArray[np.float32] = np.load(mapped, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise SurfaceError(f"{mapped}: no numpy array ({error}); delete it to have it written again") from error
    if found.dtype != np.float32 or found.ndim != 1:
        raise SurfaceError(f"{mapped}: {found.dtype} {found.shape}, not packed float32; delete it")
    return found


def _write(path: Path, blocks: Iterator[NDArray[Any]]) -> None:
    count = int(next(blocks)[()])
    with replacing(path, "--surface") as partial, partial.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (count,)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block.ravel(), "<f4").data)


def _hdf5_blocks(path: Path) -> Iterator[NDArray[Any]]:
    """The number of distances, then the distances in blocks, from a MATLAB 7.3 file."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise SurfaceError(f"{path}: not a MATLAB 7.3 (HDF5) file ({error})") from error
    with file:
        if _NAME not in file:
            raise SurfaceError(f"{path}: holds {', '.join(file) or 'nothing'}, not {_NAME}")
        stored = file[_NAME]
        yield np.asarray(stored.size)
        long = int(np.argmax(stored.shape))
        for start in range(0, stored.shape[long], _BLOCK):
            yield stored[(slice(None),) * long + (slice(start, start + _BLOCK),)]


def _pickle_blocks(path: Path) -> Iterator[NDArray[Any]]:
    """The same from a pickle of {"Pdist_matrix": array} or of the array."""
    with path.open("rb") as file:
        try:
            # bytes, not text: numpy then uses what was read as it is, where latin1 would copy it twice
            found = ArraysOnly(file, encoding="bytes").load()
        except (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise SurfaceError(f"{path}: not a pickle of a numpy array ({error})") from error
    if isinstance(found, dict):
        found = found.get(_NAME, found.get(_NAME.encode()))
    if not isinstance(found, np.ndarray) or found.dtype.kind != "f":
        raise SurfaceError(f"{path}: holds no array of distances under {_NAME}")
    yield np.asarray(found.size)
    flat = found.ravel()
    for start in range(0, len(flat), _BLOCK):
        yield flat[start : start + _BLOCK]
