"""Cut-outs of things that are not people: animals, instruments, furniture. Detectors take upright ones for people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.sample import random_view
from training.errors import DatasetError


@dataclass(frozen=True)
class Things:
    """A folder of PNG cut-outs with transparency; none of them may show a person."""

    files: tuple[Path, ...]

    @classmethod
    def open(cls, root: Path) -> Things:
        """List the cut-outs.

        Raises:
            DatasetError: the folder is absent or holds no PNG.
        """
        files = tuple(sorted(root.glob("*.png")))
        if not files:
            raise DatasetError(f"{root}: no PNG cut-outs here; data.things needs some, or leave it out")
        return cls(files)

    def scatter(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Paste 1-4 of them at random sizes, places and slants.

        Args:
            image: [h,w,3].
            rng: the only source of chance.

        Returns:
            A picture of the same size.

        Raises:
            DatasetError: a file has no transparency.
        """
        for index in rng.integers(len(self.files), size=int(rng.integers(1, 5))):
            image = self._paste(image, self._read(self.files[index]), rng)
        return image

    @staticmethod
    def _read(path: Path) -> NDArray[np.uint8]:
        thing = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if thing is None or thing.ndim != 3 or thing.shape[2] != 4:
            raise DatasetError(f"{path}: no PNG with transparency; cut the thing out, or remove the file")
        return np.asarray(cv2.cvtColor(thing, cv2.COLOR_BGRA2RGBA), np.uint8)

    @staticmethod
    def _paste(image: NDArray[np.uint8], thing: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        height, width = image.shape[:2]
        scale = float(np.exp(rng.uniform(np.log(0.15), np.log(1.1)))) * height / max(thing.shape[:2])
        target = (float(rng.uniform(0, 1)) * width, float(rng.uniform(0.2, 1)) * height)
        slant = 90.0 if rng.random() < 0.15 else 8.0
        middle = (thing.shape[1] / 2, thing.shape[0] / 2)
        view = random_view(rng, middle, target, scale, aspect=1.25, degrees=slant)
        size = (height, width)
        alpha = view.warp(np.ascontiguousarray(thing[..., 3:]), size, labels=False, fill=0)
        colours = view.warp(np.ascontiguousarray(thing[..., :3]), size, labels=False, fill=0)
        weight = alpha.reshape(height, width, 1).astype(np.float32) / 255
        return np.asarray(image * (1 - weight) + colours * weight + 0.5, np.uint8)
