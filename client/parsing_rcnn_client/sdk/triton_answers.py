"""What an ensemble of a Triton server answers, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def tensors_of(answer: Any, names: Sequence[str]) -> tuple[dict[str, NDArray[Any]], tuple[int, int]]:
    """The arrays of an answer of tritonclient, for `from_tensors`, and (height, width) of the picture.

    Raises:
        TypeError, ValueError: one is missing, or its bytes are not what it says.
    """
    found = {name: answer.as_numpy(name) for name in names}
    if missing := [name for name, array in found.items() if array is None]:
        raise ValueError(f"no {', '.join(missing)}")
    arrays = {name: np.array(array) for name, array in found.items()}  # tritonclient's may not be written to
    height, width = arrays["IMAGE_SIZE"].reshape(-1).tolist()
    arrays["BOXES"] = arrays["BOXES"].astype(np.float32).reshape(-1, 4)
    arrays["SCORES"] = arrays["SCORES"].astype(np.float32).reshape(-1)
    return arrays, (int(height), int(width))
