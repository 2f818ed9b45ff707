"""A video of people whose every pixel is known in every frame: held-out cut-outs that sway past each other.

Three people (or more) each go to and fro before a held-out picture, bob and lean as walkers do, grow and shrink a
little; the picture gets the noise of a sensor. Where two overlap, whoever stands lower is in front. The same seed and
data give the same frames. People are cut-outs, so their limbs do not move by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.make_eval import CutOut
from training.metrics.detection import box_coverage

MOST_OVERLAP = 0.10  # of the smaller of two boxes
NOISE = 2.0  # grey levels


@dataclass(frozen=True, eq=False)
class Truth:
    """One frame and what is in it.

    Attributes:
        image: uint8 [H,W,3] RGB.
        labels: uint8 [H,W] CIHP class ids of everybody.
        instances: uint8 [H,W], k + 1 where person k is visible.
        boxes: float32 [n,4] of the whole people, pixels.
        places: [n,2,3] affine from a person's cut-out to the frame.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    instances: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    places: NDArray[np.float64]


@dataclass(frozen=True)
class Gait:
    """How one person moves: everything in pixels and radians, times in frames."""

    centre: float
    reach: float
    period: float
    phase: float
    ground: float
    height: float
    step: float

    def place(self, frame: int, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Affine [2,3] from the cut-out (height, width) to the frame."""
        turn = 2 * np.pi * frame / self.period + self.phase
        stride = 2 * np.pi * frame / self.step
        scale = self.height * (1 + 0.04 * np.sin(turn / 2)) / shape[0]
        x = self.centre + self.reach * np.sin(turn)
        y = self.ground - 0.008 * self.height * abs(np.sin(stride)) * (self.reach > 0)
        lean = 0.03 * np.sin(stride) * (self.reach > 0)
        # feet stay on the ground: the cut-out's bottom centre goes to (x, y), higher rows are sheared by the lean
        return np.array(
            [
                [scale, lean * scale, x - scale * shape[1] / 2 - lean * scale * shape[0]],
                [0.0, scale, y - scale * shape[0]],
            ],
            np.float64,
        )


class Walk:
    """The video.

    Args:
        people: cut-outs, one each.
        background: uint8 [h,w,3] BGR.
        seed: of gaits and noise.
        size: (height, width).
        frames: how many.
        still: nobody moves; only the noise changes.
    """

    def __init__(
        self,
        people: Sequence[CutOut],
        background: NDArray[np.uint8],
        seed: int,
        size: tuple[int, int] = (720, 1280),
        frames: int = 300,
        still: bool = False,
    ) -> None:
        self.people, self.size, self.frames, self.seed = list(people), size, frames, seed
        self._background = np.asarray(cv2.resize(background, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
        self.gaits = self._draw(still)

    def __len__(self) -> int:
        return self.frames

    def __iter__(self) -> Iterator[Truth]:
        for index in range(self.frames):
            yield self.frame(index)

    def boxes(self, index: int) -> NDArray[np.float32]:
        """Boxes of the whole people in a frame, float32 [n,4]."""
        return _boxes(self.gaits, self.people, index)

    def frame(self, index: int) -> Truth:
        """One frame."""
        height, width = self.size
        image = self._background.copy()
        labels, instances = np.zeros(self.size, np.uint8), np.zeros(self.size, np.uint8)
        places = np.stack([g.place(index, p.labels.shape) for g, p in zip(self.gaits, self.people, strict=True)])
        for k in np.argsort([gait.ground for gait in self.gaits], kind="stable").tolist():
            person, place = self.people[k], places[k]
            solid = (person.labels > 0).astype(np.uint8) * np.uint8(255)
            alpha = cv2.warpAffine(solid, place, (width, height), flags=cv2.INTER_AREA)[:, :, None] / np.float32(255)
            colours = cv2.warpAffine(
                person.image, place, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            image = np.rint(image + (colours.astype(np.float32) - image) * alpha).astype(np.uint8)
            moved = cv2.warpAffine(person.labels, place, (width, height), flags=cv2.INTER_NEAREST)
            np.copyto(labels, np.asarray(moved, np.uint8), where=moved > 0)
            instances[moved > 0] = k + 1
        noise = np.random.default_rng((self.seed, index)).normal(0, NOISE, image.shape)
        image = np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
        return Truth(np.ascontiguousarray(image[:, :, ::-1]), labels, instances, self.boxes(index), places)

    def _draw(self, still: bool) -> list[Gait]:
        rng = np.random.default_rng(self.seed)
        height, width = self.size
        lane = width / len(self.people)
        while True:
            gaits = [
                Gait(
                    centre=lane * (k + 0.5),
                    reach=0.0 if still else float(rng.uniform(0.15, 0.45) * lane),
                    period=float(rng.uniform(90, 160)),
                    phase=0.0 if still else float(rng.uniform(0, 2 * np.pi)),
                    ground=float(rng.uniform(0.9, 0.97) * height),
                    height=float(rng.uniform(0.6, 0.8) * height),
                    step=float(rng.uniform(14, 20)),
                )
                for k in range(len(self.people))
            ]
            if still:
                gaits = [Gait(**{**vars(g), "period": 1e9}) for g in gaits]
            if self._overlap(gaits) <= MOST_OVERLAP:
                return gaits

    def _overlap(self, gaits: Sequence[Gait]) -> float:
        """The largest overlap of two boxes, as a share of the smaller one."""
        worst = 0.0
        for index in range(0, self.frames, 3):
            boxes = _boxes(gaits, self.people, index)
            shares = box_coverage(boxes, boxes)
            np.fill_diagonal(shares, 0.0)
            worst = max(worst, float(shares.max()))
        return worst


def _boxes(gaits: Sequence[Gait], people: Sequence[CutOut], index: int) -> NDArray[np.float32]:
    found = []
    for gait, person in zip(gaits, people, strict=True):
        rows, columns = person.labels.shape
        corners = np.array([[0, 0, 1], [columns, 0, 1], [0, rows, 1], [columns, rows, 1]], np.float64)
        moved = corners @ gait.place(index, (rows, columns)).T
        found.append([*moved.min(axis=0), *moved.max(axis=0)])
    return np.array(found, np.float32)
