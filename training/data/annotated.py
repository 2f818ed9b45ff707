"""Pictures of published datasets (training/data/datasets) as training samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.config import Config
from training.data.datasets.check import find_datasets
from training.data.datasets.coco import LEAST_KEYPOINTS
from training.data.datasets.records import Annotated, DensePosePoints, Reader, Record, read_pixels
from training.data.iuv import PointSymmetry, mirror_regions
from training.data.sample import (
    FILL,
    LEAST_PIXELS,
    LEAST_VISIBLE,
    MIRRORED_KEYPOINTS,
    PlacedPoints,
    Sample,
    View,
    no_boxes,
    random_view,
)
from training.errors import DatasetError

_EVERYBODY = (1, 1)  # least height and width of a person on whole pictures (paper)
_STRIDE = 32  # of the pyramid's top: canvases are multiples


class AnnotatedPictures:
    """All pictures of some dataset folders or COCO files: of folders, the splits that are for training.

    Where the recipe trains keypoints, only pictures of COCO files that have some.

    Args:
        flip_table: of the part classes.

    Raises:
        DatasetError: nothing to train on, part labels of other classes than the recipe's, or nothing in any dataset
            that a branch of the recipe learns from.
    """

    def __init__(self, recipe: Config, flip_table: NDArray[np.uint8]) -> None:
        config, keypoints = recipe.data, recipe.model.keypoints
        self.readers: list[Reader] = [
            reader
            for path in config.annotated
            for reader in find_datasets(path, taxonomy=recipe.model.taxonomy)
            if path.is_file() or not reader.validation
        ]
        if not self.readers:
            listed = ", ".join(str(path) for path in config.annotated)
            raise DatasetError(f"{listed}: only validation splits here; name a file to train on it all the same")
        self.config, self.keypoints = config, keypoints
        self.chosen = [reader.useful(keypoints=keypoints) for reader in self.readers]
        self.starts = np.cumsum([0] + [len(chosen) for chosen in self.chosen])
        if not self.starts[-1]:
            listed = ", ".join(reader.name for reader in self.readers)
            least = f"; one counts from {LEAST_KEYPOINTS} labelled keypoints" if keypoints else ""
            raise DatasetError(f"{listed}: nobody {'with keypoints ' if keypoints else ''}in any picture{least}")
        _fits(recipe, [reader for reader, chosen in zip(self.readers, self.chosen, strict=True) if len(chosen)])
        self._refuse_nobody()
        self.flip_table = flip_table
        self.symmetry = PointSymmetry.read(config.uv_symmetry) if config.uv_symmetry else PointSymmetry()
        self._wide: NDArray[np.bool_] | None = None
        self._epoch: tuple[int, list[NDArray[np.int64]]] = (-1, [])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def _where(self, index: int) -> tuple[Reader, int]:
        reader = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.readers[reader], int(self.chosen[reader][index - int(self.starts[reader])])

    def _refuse_nobody(self) -> None:
        """Refuse maps of which none has a person: a run would only learn that nobody is anywhere.

        Mostly the first picture has one. A picture that cannot be read is left to whoever draws it.

        Raises:
            DatasetError: naming what is wrong with the first picture, if that is known.
        """
        doubt = None
        for index in range(len(self)):
            reader, own = self._where(index)
            if reader.classes is None:  # `useful` has looked
                return
            try:
                record = reader.read(own)
            except DatasetError:
                return
            if any(not person.crowd for person in record.people):
                return
            doubt = doubt or record.doubt
        listed = ", ".join(reader.name for reader in self.readers)
        raise DatasetError(
            f"{listed}: nobody in any picture; {doubt or '`parsing-rcnn datasets check` says what is in its maps'}"
        )

    def record(self, index: int) -> Record:
        """Picture `index` of all."""
        reader, own = self._where(index)
        return reader.read(own)

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> Sample:
        """A picture whole or in part on a canvas of (height, width), mirrored half of the time."""
        record = self.record(int(rng.integers(len(self))))
        image = read_pixels(record.image)
        scale = min(size[0] / image.shape[0], size[1] / image.shape[1]) * float(np.exp(rng.uniform(-0.15, 0.5)))
        centre = (image.shape[1] * rng.uniform(0.35, 0.65), image.shape[0] * rng.uniform(0.35, 0.65))
        view = random_view(rng, centre, (size[1] / 2, size[0] / 2), scale, degrees=0.0)
        return self._sample(record, image, view, size)

    def batch(self, number: int, count: int, seed: int) -> list[Sample]:
        """Batch `number` of a run over whole pictures (paper 4.1): every picture once an epoch, wide and tall ones
        apart, each at one of the short sides and mirrored half of the time, on the canvas that holds them all."""
        if self._wide is None:
            sizes = [reader.size(index) for reader, index in map(self._where, range(len(self)))]
            self._wide = np.array([width >= height for height, width in sizes])
        wide = int(self._wide.sum())
        each = -(-wide // count) + -(-(len(self) - wide) // count)  # batches that `grouped` makes of an epoch
        epoch, place = divmod(number, each)
        if self._epoch[0] != epoch:
            self._epoch = epoch, grouped(np.random.default_rng([seed, epoch, 1]), self._wide, count)
        rng = np.random.default_rng([seed, number])
        chosen = []
        for index in self._epoch[1][place]:
            record = self.record(int(index))
            image = read_pixels(record.image)
            view = self._whole(rng, image.shape[0], image.shape[1])
            extent = view.boxes(np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32), (1 << 20, 1 << 20))[0]
            chosen.append((record, image, view, extent))
        largest = np.max([extent[2:] for *_, extent in chosen], 0)
        width, height = (int(np.ceil(side / _STRIDE)) * _STRIDE for side in largest)
        return [self._sample(record, image, view, (height, width), _EVERYBODY) for record, image, view, _ in chosen]

    def _whole(self, rng: np.random.Generator, height: int, width: int) -> View:
        short = int(rng.choice(self.config.short_sides))
        scale = min(short / min(height, width), self.config.longest_side / max(height, width))
        flipped = bool(rng.random() < 0.5)
        across = np.array([-scale, 0, width * scale] if flipped else [scale, 0, 0])
        return View(np.stack([across, [0, scale, 0]]), flipped)

    def _sample(
        self,
        record: Record,
        image: NDArray[np.uint8],
        view: View,
        size: tuple[int, int],
        least: tuple[int, int] = LEAST_PIXELS,
    ) -> Sample:
        blank = np.zeros(size, np.uint8)
        parts = blank if record.parts is None else view.warp(record.parts, size, labels=True, fill=0)
        instances = blank if record.instances is None else view.warp(record.instances, size, labels=True, fill=0)
        if view.flipped:
            parts = self.flip_table[parts]
        # nobody learns from a person of whom others in front leave nothing
        front = record.instances
        people = [p for p in record.people if p.parts is None or front is None or (front == p.label).any()]
        boxes = np.array([person.box for person in people], np.float32).reshape(-1, 4)
        crowd = np.array([person.crowd for person in people], bool)
        labels, points, keypoints = self._points(people, view)
        moved = view.boxes(boxes, size)
        extent = moved[:, 2:] - moved[:, :2]
        whole = (boxes[:, 2:] - boxes[:, :2]).prod(1) * abs(np.linalg.det(view.matrix[:, :2]))
        visible = extent.prod(1) / np.maximum(whole, 1.0)
        keep = ~crowd & (visible > LEAST_VISIBLE) & (extent[:, 1] >= least[0]) & (extent[:, 0] >= least[1])
        return Sample(
            view.warp(image, size, labels=False, fill=FILL),
            moved[keep] if len(moved) else no_boxes(),
            labels[keep],
            moved[~keep] if len(moved) else no_boxes(),
            parts,
            instances,
            True,
            points={label: points[label] for label in labels[keep].tolist() if label in points},
            keypoints={label: keypoints[label] for label in labels[keep].tolist() if label in keypoints},
            origin=str(record.image),
        )

    def _points(
        self, people: Sequence[Annotated], view: View
    ) -> tuple[NDArray[np.int64], dict[int, PlacedPoints], dict[int, NDArray[np.float32]]]:
        """Numbers of the people, with new ones for those who have points and no part labels, and their points."""
        labels = np.array([person.label for person in people], np.int64)
        placed: dict[int, PlacedPoints] = {}
        moved: dict[int, NDArray[np.float32]] = {}
        for index, person in enumerate(people):
            keypoints = person.keypoints if self.keypoints else None
            seen = keypoints is not None and bool((keypoints[:, 2] > 0).any())
            if person.label or not (seen or person.points is not None):
                continue
            labels[index] = number = int(labels.max()) + 1
            if person.points is not None:
                placed[number] = self._placed(person.box, person.points, view)
            if seen and keypoints is not None:
                moved[number] = self._moved(keypoints, view)
        return labels, placed, moved

    @staticmethod
    def _moved(keypoints: NDArray[np.float32], view: View) -> NDArray[np.float32]:
        places = keypoints[:, :2] @ view.matrix[:, :2].T + view.matrix[:, 2]
        moved = np.concatenate([places, keypoints[:, 2:]], 1).astype(np.float32)
        return moved[MIRRORED_KEYPOINTS] if view.flipped else moved

    def _placed(self, box: NDArray[np.float32], points: DensePosePoints, view: View) -> PlacedPoints:
        side = points.regions.shape[0]
        x = box[0] + points.x / side * (box[2] - box[0])
        y = box[1] + points.y / side * (box[3] - box[1])
        moved = view.matrix[:, :2] @ np.stack([x, y]) + view.matrix[:, 2:]
        corners = view.matrix[:, :2] @ box.reshape(2, 2).T + view.matrix[:, 2:]
        frame = np.concatenate([corners.min(1), corners.max(1)]).astype(np.float32)
        part, u, v, regions = points.part, points.u, points.v, points.regions
        if view.flipped:
            part, u, v = self.symmetry.mirror(part, u, v)
            regions = mirror_regions(regions)
        return PlacedPoints(frame, moved[0].astype(np.float32), moved[1].astype(np.float32), part, u, v, regions)


def _fits(recipe: Config, readers: Sequence[Reader]) -> None:
    """Refuse datasets that a recipe would train wrongly on, or not at all.

    Raises:
        DatasetError: naming the dataset, or what none of them has.
    """
    train, wanted = recipe.train, recipe.model.parsing_classes
    parsing = train.parsing and train.only in (None, "parsing")
    densepose = train.densepose and train.only in (None, "densepose")
    if parsing or densepose:  # which IUV parts are possible is asked of part labels too
        for reader in readers:
            if reader.classes not in (None, wanted):
                raise DatasetError(
                    f"{reader.name}: {reader.classes} part classes, but the recipe has model.parsing_classes={wanted}; "
                    "take a recipe of this dataset, or name another in data.annotated"
                )
    # what the other sources of a mixture teach
    drawn = {name for name, weight in recipe.data.sources.items() if weight > 0}
    rendered = recipe.data.rendered is not None and bool(drawn & {"rendered", "crowds"})
    listed = ", ".join(reader.name for reader in readers)
    if parsing and not (drawn & {"photos", "crowds", "rendered"} or any(reader.classes for reader in readers)):
        raise DatasetError(
            f"{listed}: no part labels to train parsing on; take a dataset that has them, or set train.parsing=false"
        )
    if densepose and not (rendered or any(reader.densepose for reader in readers)):
        raise DatasetError(
            f"{listed}: no DensePose points to train IUV on; name a DensePose-COCO file in data.annotated, or set "
            "train.densepose=false"
        )


def grouped(rng: np.random.Generator, wide: NDArray[np.bool_], count: int) -> list[NDArray[np.int64]]:
    """Batches of `count` pictures of one epoch, wide ones and tall ones apart.

    Every picture is there at least once: the last batch of each fills up with its first. All epochs have as many.
    """
    batches = []
    for group in (np.flatnonzero(wide), np.flatnonzero(~wide)):
        if len(group):
            order = np.resize(rng.permutation(group), -(-len(group) // count) * count)
            batches += list(order.reshape(-1, count))
    return [batches[index] for index in rng.permutation(len(batches))]
