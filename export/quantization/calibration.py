"""What a graph is fed while its ranges are measured: real photos, as serving would bring them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.codecs.image import decode
from parsing_rcnn.geometry import fit
from parsing_rcnn.repository import ModelRepository
from parsing_rcnn.runtime import Graphs

LIMITS = np.array([0.3, 8], np.float32)  # people as they are served: no row of a box that nobody would see
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


class CalibrationError(ValueError):
    """A folder of photos does not serve; the message names it, the limit and the remedy."""


@dataclass(frozen=True)
class Calibration:
    """Inputs of the three graphs, and where they are from.

    Attributes:
        canvases: inputs of the detector. features: those of the heads: fp32 [n,C,32,32] of each photo with people.
        photos: the files; people: in `features`.
    """

    canvases: tuple[NDArray[np.uint8], ...]
    features: tuple[NDArray[np.float32], ...]
    photos: tuple[Path, ...]

    @property
    def people(self) -> int:
        """How many people the heads see."""
        return sum(len(f) for f in self.features)

    def inputs(self, graph: str) -> list[dict[str, NDArray[np.float32] | NDArray[np.uint8]]]:
        """What `graph` is fed, one dict of named arrays a run."""
        if graph == "detector":
            return [{"CANVAS": canvas, "LIMITS": LIMITS} for canvas in self.canvases]
        return [{"ROI_FEATURES": features} for features in self.features]


def find_photos(folder: Path, count: int, excluded: Sequence[str] = ()) -> tuple[Path, ...]:
    """`count` photos of a folder and those below it, spread over its order of names.

    Args:
        excluded: names that are left out: what is measured on must not calibrate.

    Raises:
        CalibrationError: no such folder, or too few photos in it.
    """
    if not folder.is_dir():
        raise CalibrationError(f"{folder}: no such folder; --calibrate takes a folder of photos with people")
    found = _photos(folder, excluded)
    if len(found) < count:
        raise CalibrationError(
            f"{folder}: {len(found)} photos ({', '.join(_SUFFIXES)}) that may calibrate, {count} are asked for; "
            "add photos or ask for fewer with --count"
        )
    return _spread(found, count)


def other_photos(folder: Path, most: int, excluded: Sequence[str]) -> tuple[Path, ...]:
    """As `find_photos`, but fewer where there are no more."""
    found = _photos(folder, excluded)
    return _spread(found, min(most, len(found)))


def _photos(folder: Path, excluded: Sequence[str]) -> list[Path]:
    banned = set(excluded)
    return [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in _SUFFIXES and p.name not in banned]


def _spread(found: Sequence[Path], count: int) -> tuple[Path, ...]:
    rows = np.linspace(0, len(found) - 1, count).round().astype(int)
    return tuple(found[row] for row in rows)


def calibrate(repository: ModelRepository, graphs: Graphs, photos: Sequence[Path]) -> Calibration:
    """Fit photos to the repository's canvases, and find their people with its own fp32 detector.

    Raises:
        CalibrationError: there is nobody in these photos.
        InvalidImage: one of them is no picture.
    """
    canvases = tuple(fit(decode(path.read_bytes()), repository.canvases)[0] for path in photos)
    features = []
    for canvas in canvases:
        found = graphs.detector(canvas, LIMITS)
        count = int(found["COUNT"][0])
        if count:
            features.append(np.asarray(found["ROI_FEATURES"][:count], np.float32))
    if not features:
        raise CalibrationError(
            f"nobody was found in these {len(photos)} photos with a score of {LIMITS[0]:.1f}: the heads cannot be "
            "calibrated; give --calibrate a folder of photos with people"
        )
    return Calibration(canvases, tuple(features), tuple(photos))
