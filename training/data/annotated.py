"""Pictures of published datasets (training/data/datasets) as training samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.datasets.check import find_datasets
from training.data.datasets.records import Reader, Record
from training.data.sample import FILL, Sample, View, no_boxes, random_view
from training.data.sources import DatasetError

_LEAST_VISIBLE = 0.35  # of a box: whoever is cut more than this by the canvas is ignored
_LEAST_PIXELS = (12, 5)  # height and width of a person on the canvas


class AnnotatedPictures:
    """All pictures of some dataset folders or COCO files, drawn with equal chances."""

    def __init__(self, paths: Sequence[Path], flip_table: NDArray[np.uint8]) -> None:
        self.readers: list[Reader] = [reader for path in paths for reader in find_datasets(path)]
        self.starts = np.cumsum([0] + [len(reader) for reader in self.readers])
        self.flip_table = flip_table

    def __len__(self) -> int:
        return int(self.starts[-1])

    def record(self, index: int) -> Record:
        """Picture `index` of all."""
        reader = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.readers[reader].read(index - int(self.starts[reader]))

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> Sample:
        """A picture whole or in part on a canvas of (height, width), mirrored half of the time."""
        record = self.record(int(rng.integers(len(self))))
        image = cv2.imread(str(record.image), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is None:
            raise DatasetError(f"{record.image}: missing, or cannot be read as a picture")
        rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
        scale = min(size[0] / rgb.shape[0], size[1] / rgb.shape[1]) * float(np.exp(rng.uniform(-0.15, 0.5)))
        centre = (rgb.shape[1] * rng.uniform(0.35, 0.65), rgb.shape[0] * rng.uniform(0.35, 0.65))
        view = random_view(rng, centre, (size[1] / 2, size[0] / 2), scale, degrees=0.0)
        return self._sample(record, rgb, view, size)

    def _sample(self, record: Record, image: NDArray[np.uint8], view: View, size: tuple[int, int]) -> Sample:
        blank = np.zeros(size, np.uint8)
        parts = blank if record.parts is None else view.warp(record.parts, size, labels=True, fill=0)
        instances = blank if record.instances is None else view.warp(record.instances, size, labels=True, fill=0)
        if view.flipped:
            parts = self.flip_table[parts]
        boxes = np.array([person.box for person in record.people], np.float32).reshape(-1, 4)
        crowd = np.array([person.crowd for person in record.people], bool)
        labels = np.array([person.label for person in record.people], np.int64)
        moved = view.boxes(boxes, size)
        extent = moved[:, 2:] - moved[:, :2]
        whole = (boxes[:, 2:] - boxes[:, :2]).prod(1) * abs(np.linalg.det(view.matrix[:, :2]))
        visible = extent.prod(1) / np.maximum(whole, 1.0)
        keep = (
            ~crowd
            & (visible > _LEAST_VISIBLE)
            & (extent[:, 1] >= _LEAST_PIXELS[0])
            & (extent[:, 0] >= _LEAST_PIXELS[1])
        )
        return Sample(
            view.warp(image, size, labels=False, fill=FILL),
            moved[keep] if len(moved) else no_boxes(),
            labels[keep],
            moved[~keep] if len(moved) else no_boxes(),
            parts,
            instances,
            True,
        )
