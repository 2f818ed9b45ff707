"""People: what every engine returns, and the protocol that every engine follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.taxonomy import CIHP, Taxonomy

TASKS = ("parsing", "densepose")


@dataclass(frozen=True)
class Options:
    """What to compute for one picture.

    Attributes:
        tasks: any of "parsing" and "densepose"; boxes are always found.
        confidence: the lowest person score kept, 0..1.
        max_people: the most people kept, by score, 1..64.
        part_probs: also keep the class probabilities, which the exact paste needs.
        max_side: scale the picture down to this longest side before anything else (None: never).
    """

    tasks: frozenset[str] = frozenset(TASKS)
    confidence: float = 0.5
    max_people: int = 64
    part_probs: bool = False
    max_side: int | None = None


@dataclass(frozen=True, eq=False)
class People:
    """Every person found in one picture. Maps cover their person's box, not the picture.

    Attributes:
        boxes: float32 [n,4], (x1, y1, x2, y2) in pixels of the upright original, x2 and y2 exclusive.
        scores: float32 [n] in 0..1, descending.
        image_size: (height, width) of the upright original.
        parts: uint8 [n,S,S] class ids, or None when parsing was not asked for.
        part_scores: float32 [n,classes], mean probability of each class present, else 0.
        part_probs: uint8 [n,classes,S,S], probability times 255 (only on request).
        iuv: uint8 [n,3,S,S]: part index I (0..24), U and V times 255, or None.
        taxonomy: names and colours of `parts`.
        timings: milliseconds by stage.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    image_size: tuple[int, int]
    parts: NDArray[np.uint8] | None = None
    part_scores: NDArray[np.float32] | None = None
    part_probs: NDArray[np.uint8] | None = None
    iuv: NDArray[np.uint8] | None = None
    taxonomy: Taxonomy = CIHP
    timings: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class ModelInfo:
    """What an engine runs.

    Attributes:
        name: of the model card, for example "light".
        version: of the weights.
        runtime: for example "openvino 2026.4.1 bf16".
        tasks: task -> whether its head is trained (an untrained head answers, but means nothing).
        classes: names of the part classes.
        canvases: (height, width) of the network inputs.
        card: the whole model card, JSON-compatible.
    """

    name: str
    version: str
    runtime: str
    tasks: Mapping[str, bool]
    classes: tuple[str, ...]
    canvases: tuple[tuple[int, int], ...]
    card: Mapping[str, object]


class Analyzer(Protocol):
    """A photo in, `People` out. Implementations are thread-safe."""

    @property
    def info(self) -> ModelInfo:
        """What runs."""
        ...

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = ...) -> People:
        """Find everybody in one picture.

        Args:
            image: an encoded JPEG, PNG or WebP, or an upright uint8 [H,W,3] RGB array.
            options: what to compute.

        Raises:
            ParsingRCNNError: the image or an option is not usable; the engine is not available.
        """
        ...

    def close(self) -> None:
        """Release the engine. Safe to call twice."""
        ...
