"""`parsing_rcnn.runtime.Graphs` for whatever runs one graph at a time, by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.runtime import DENSEPOSE_OUTPUTS, DETECTOR_OUTPUTS, parsing_outputs


class NamedGraphs(ABC):
    """The three methods of `Graphs` over `run`: each feeds one graph and asks for its outputs."""

    @abstractmethod
    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]], outputs: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        """The `outputs` of one graph of `parsing_rcnn.repository.GRAPHS`, by name."""

    def detector(self, canvas: NDArray[np.uint8], limits: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """See `Graphs`."""
        return self.run("detector", {"CANVAS": canvas, "LIMITS": limits}, DETECTOR_OUTPUTS)

    def parsing(self, features: NDArray[np.float32], *, probabilities: bool) -> dict[str, NDArray[Any]]:
        """See `Graphs`."""
        return self.run("parsing", {"ROI_FEATURES": features}, parsing_outputs(probabilities=probabilities))

    def densepose(self, features: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """See `Graphs`."""
        return self.run("densepose_head", {"ROI_FEATURES": features}, DENSEPOSE_OUTPUTS)
