"""What the graphs are fed while the ranges of their values are measured: real photos, prepared as for serving."""

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

LIMITS = np.array([0.3, 8], np.float32)  # least score, most people: about those that are served
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


class CalibrationError(ValueError):
    """The photos or an option cannot be used; the message names what is wrong and the remedy."""


@dataclass(frozen=True)
class Calibration:
    """Inputs of the three graphs.

    Attributes:
        canvases: uint8 [H,W,3], the detector's input of each photo.
        features: fp32 [n,C,32,32], the heads' input of each photo with people.
        photos: the files.
    """

    canvases: tuple[NDArray[np.uint8], ...]
    features: tuple[NDArray[np.float32], ...]
    photos: tuple[Path, ...]

    @property
    def people(self) -> int:
        """How many people the heads see."""
        return sum(len(f) for f in self.features)

    def inputs(self, graph: str) -> list[dict[str, NDArray[np.float32] | NDArray[np.uint8]]]:
        """The inputs of `graph`: for each run a dict of arrays by name."""
        if graph == "detector":
            return [{"CANVAS": canvas, "LIMITS": LIMITS} for canvas in self.canvases]
        return [{"ROI_FEATURES": features} for features in self.features]


def find_photos(folder: Path, count: int, excluded: Sequence[str] = (), twins: Sequence[str] = ()) -> tuple[Path, ...]:
    """`count` photos of a folder and its subfolders, evenly spread over their names.

    Args:
        excluded: names of photos that are left out: what is measured on must not calibrate.
        twins: names of photos that show the same as one that is measured on. The nearest photo by name takes the place
            of one that would be chosen; the others stay the same, so that files made before can be made again.

    Raises:
        CalibrationError: no such folder, or too few photos in it.
    """
    if not folder.is_dir():
        raise CalibrationError(f"{folder}: no such folder; --calibrate takes a folder of photos with people")
    found = _photos(folder, excluded)
    able = [path for path in found if path.name not in twins]
    if len(able) < count:
        raise CalibrationError(
            f"{folder}: {len(able)} photos ({', '.join(_SUFFIXES)}) that may calibrate, {count} are asked for; "
            "add photos or ask for fewer with --count"
        )
    chosen = list(_spread(found, count))
    for place, path in enumerate(chosen):
        if path.name in twins:
            row = found.index(path)
            free = [other for other in able if other not in chosen]
            chosen[place] = min(free, key=lambda other: abs(found.index(other) - row))
    return tuple(chosen)


def other_photos(folder: Path, most: int, excluded: Sequence[str]) -> tuple[Path, ...]:
    """As `find_photos`, but fewer than `most` where there are no more. Twins may be there: these do not calibrate."""
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
