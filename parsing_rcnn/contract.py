"""Checks of arrays against the dtype and shape that they must have."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def check_array(
    name: str,
    array: NDArray[Any] | None,
    dtype: type[np.generic],
    shape: tuple[int | None, ...],
    highest: int | None = None,
) -> None:
    """Check an array's dtype, shape and values.

    Args:
        name: for messages.
        array: None passes.
        dtype: the dtype that it must have.
        shape: the shape that it must have. None is any length, but at least one unless the first length is 0.
        highest: the highest value allowed; None: any.

    Raises:
        TypeError: wrong dtype.
        ValueError: wrong shape, NaN or infinity, or a value above `highest`.
    """
    if array is None:
        return
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        raise TypeError(f"{name}: expected {dtype.__name__}, got {getattr(array, 'dtype', type(array).__name__)}")
    wrong = array.ndim != len(shape) or any(
        array.shape[0] > 0 and have < 1 if want is None else have != want
        for have, want in zip(array.shape, shape, strict=True)
    )
    if wrong:
        wanted = ", ".join("S" if size is None else str(size) for size in shape)
        raise ValueError(f"{name}: expected shape ({wanted}), got {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name}: contains NaN or infinity")
    if highest is not None and array.size and int(array.max()) > highest:
        raise ValueError(f"{name}: contains {int(array.max())}, the highest id is {highest}")
