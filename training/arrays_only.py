"""Pickles without code: containers and numpy arrays, for files that others wrote."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray


class ArraysOnly(pickle.Unpickler):
    """Unpickles containers and numpy arrays and refuses everything else: a pickle can name any code to run."""

    def __init__(self, file: IO[bytes], *, encoding: str) -> None:
        super().__init__(file, encoding=encoding)

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a global that a pickle names, by its name in NumPy 1 or NumPy 2.

        Raises:
            UnpicklingError: the global is not one of those that arrays need.
        """
        allowed = _ALLOWED.get((module.replace("numpy._core.", "numpy.core."), name))
        if allowed is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return allowed


_NDARRAY = object()  # stand-in for the class numpy.ndarray: a pickle could call that to allocate any amount


def _reconstruct(kind: object, shape: tuple[int, ...], code: object) -> NDArray[Any]:
    """As numpy's function of this name: an empty array, whose state the pickle sets afterwards."""
    if kind is not _NDARRAY or shape != (0,):
        raise pickle.UnpicklingError(f"it asks for an array of {shape} before there are values")
    return np.ndarray.__new__(np.ndarray, (0,), "b")


def _frombuffer(buffer: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _scalar(kind: np.dtype[Any], value: bytes) -> Any:
    if len(value) != kind.itemsize:
        raise pickle.UnpicklingError(f"a number of {kind.itemsize} bytes is given as {len(value)}")
    return np.frombuffer(value, dtype=kind)[0]


def _encode(text: str, encoding: str) -> bytes:
    """Protocol 2 of Python 3 writes bytes as text."""
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
}
