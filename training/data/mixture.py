"""Seeded batches from a mixture of sources. Batch k of a seed is always the same, so a run can resume anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from parsing_rcnn.taxonomy import CIHP
from training.config import Config, DataConfig
from training.data.annotated import AnnotatedPictures
from training.data.groups import GroupPhotos
from training.data.iuv import mirror_values
from training.data.photometric import degrade, jitter_colour
from training.data.sample import FILL, LEAST_PIXELS, LEAST_VISIBLE, Sample, View, mask_box, no_boxes, random_view
from training.data.sources import LabelledPhotos, RenderedPeople, background_photos, people_free, read_jpeg
from training.data.things import Things
from training.errors import DatasetError

Size = tuple[int, int]


class Mixture(Dataset[list[Sample]]):
    """Item k is the whole batch k: `images_per_process` samples on one canvas size.

    Args:
        per_step: batches that make up one step, over all processes.
    """

    def __init__(self, data: Path, config: Config, per_step: int = 1) -> None:
        self.config, self.per_step = config, per_step
        weights = config.data.sources
        self.names = list(weights)
        self.weights = np.array([weights[n] for n in self.names]) / sum(weights.values())
        self.flip_table = np.arange(256, dtype=np.uint8)  # 255, the ignored pixel, stays
        self.flip_table[: len(config.model.taxonomy)] = config.model.taxonomy.flip_table()
        self._open(data, config.data, {name for name, weight in weights.items() if weight > 0})

    def _open(self, data: Path, config: DataConfig, wanted: set[str]) -> None:
        """Open what the sources read, and nothing else.

        Raises:
            DatasetError: a folder that is needed is absent or not named.
        """
        self._refuse_other_classes(wanted)
        ours = bool(wanted - {"annotated"})  # the sources of our own data mix with each other
        if config.short_sides and ours:
            raise DatasetError("data.short_sides is for annotated datasets alone: set data.sources={annotated: 1}")
        labelled = bool(wanted & {"photos", "crowds"})
        self.photos = LabelledPhotos.open(data / "ccp") if labelled else None
        pseudo = config.pseudo_labels if labelled else None
        self.pseudo = LabelledPhotos.open_pseudo(data / "ccp" / "unlabelled", pseudo) if pseudo else None
        self.groups = GroupPhotos.open(data / "groups") if wanted & {"crowds", "groups", "empty"} else None
        self.empty_groups = [i for i, complete in enumerate(self.groups.complete) if complete] if self.groups else []
        self.backgrounds = background_photos(data / "backgrounds") if wanted & {"photos", "crowds", "empty"} else ()
        self.scenes = people_free(config.scenes) if config.scenes and self.backgrounds else ()
        self.backgrounds += self.scenes
        self.things = Things.open(config.things) if config.things and self.backgrounds else None
        self.rendered = None
        if config.rendered and wanted & {"rendered", "crowds"}:
            try:
                self.rendered = RenderedPeople.open(config.rendered)
            except DatasetError as error:
                raise DatasetError(f"data.rendered: {error}") from error
        if "rendered" in wanted and self.rendered is None:
            raise DatasetError("data.sources asks for rendered people, but data.rendered names no folder of them")
        if "annotated" in wanted and not config.annotated:
            raise DatasetError("data.sources asks for annotated pictures, but data.annotated names no dataset")
        self.annotated = AnnotatedPictures(self.config, self.flip_table) if "annotated" in wanted else None

    def _refuse_other_classes(self, wanted: set[str]) -> None:
        train, own = self.config.train, self.config.model.taxonomy
        of_cihp = sorted(wanted & {"photos", "crowds", "rendered"})
        if of_cihp and own != CIHP and train.parsing and train.only in (None, "parsing"):
            raise DatasetError(
                f"data.sources: {', '.join(of_cihp)}: their part labels are CIHP's, and model.taxonomy is {own.name}; "
                "take datasets of its classes, data.sources={annotated: 1} for example"
            )

    def counts(self) -> dict[str, list[int]]:
        """How much each key of the recipe that names data found: by it a run knows its data where it has moved."""
        return {
            "data.annotated": [len(chosen) for chosen in self.annotated.chosen] if self.annotated else [],
            "data.rendered": [len(self.rendered.stems)] if self.rendered else [],
            "data.scenes": [len(self.scenes)] if self.scenes else [],
            "data.things": [len(self.things.files)] if self.things else [],
            "data.pseudo_labels": [len(self.pseudo.images)] if self.pseudo else [],
            "data.uv_symmetry": [1] if self.config.data.uv_symmetry else [],
        }

    def __len__(self) -> int:
        return self.config.train.iterations * self.per_step

    def __getitem__(self, index: int) -> list[Sample]:
        count = self.config.train.images_per_process or self.config.train.batch_size
        rng = np.random.default_rng([self.config.train.seed, index])
        if self.config.data.short_sides and self.annotated is not None:
            samples = self.annotated.batch(index, count, self.config.train.seed)
            for sample in samples:
                self._colours(sample, rng)
            return samples
        final = index >= (1 - self.config.data.final_fraction) * len(self)
        canvases = self.config.data.final_canvases if final else self.config.data.canvases
        size = canvases[rng.integers(len(canvases))]
        return [self.draw(rng, size) for _ in range(count)]

    def draw(self, rng: np.random.Generator, size: Size) -> Sample:
        """One sample of a source drawn by weight."""
        makers: dict[str, Any] = {
            "photos": self._photo,
            "crowds": self._crowd,
            "groups": self._group,
            "empty": self._empty,
            "rendered": self._rendered,
        }
        if self.annotated is not None:
            makers["annotated"] = self.annotated.draw
        source = str(rng.choice(self.names, p=self.weights))
        sample: Sample = makers[source](rng, size)
        sample.origin = sample.origin or source
        self._colours(sample, rng)
        return sample

    def _colours(self, sample: Sample, rng: np.random.Generator) -> None:
        if self.config.data.colours:
            sample.image = degrade(jitter_colour(sample.image, rng), rng)

    def _labelled(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8], float]:
        """A photo, its labels, by people or by the model, and how far they lie off it; rare classes more often."""
        if self.pseudo is not None and rng.random() < self.config.data.pseudo_fraction:
            return (*self._drawn(self.pseudo, rng), 0.0)  # the model's lie where it sees the person
        assert self.photos is not None
        return (*self._drawn(self.photos, rng), self.config.data.label_shift)

    @staticmethod
    def _drawn(photos: LabelledPhotos, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return photos.read(int(rng.choice(len(photos.images), p=photos.weights)))

    def _photo(self, rng: np.random.Generator, size: Size) -> Sample:
        """A labelled photo: whole, zoomed out or into the person (half bodies, heads)."""
        image, labels, shift = self._labelled(rng)
        box = mask_box(labels > 0)
        if box is None:
            return self._empty(rng, size)
        kind = rng.random()
        width, height = box[2] - box[0], box[3] - box[1]
        if kind < 0.6:  # the photo as people take it
            whole = min(size[0] / image.shape[0], size[1] / image.shape[1])
            # a wide canvas would show a tall photo as a stamp: there, the person sets the scale
            scale = max(whole, 0.75 * size[0] / height) * rng.uniform(0.8, 1.15)
            anchor = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        elif kind < 0.8:  # zoomed out
            scale = size[0] / height * rng.uniform(0.2, 0.7)
            anchor = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        else:  # zoomed in: a point of the upper body more often than of the legs
            scale = size[0] / height * rng.uniform(1.1, 2.6)
            anchor = (box[0] + width * rng.uniform(0.35, 0.65), box[1] + height * rng.beta(1.2, 2.0))
        target = (size[1] * rng.uniform(0.35, 0.65), size[0] * rng.uniform(0.4, 0.6))
        view = random_view(rng, anchor, target, float(scale))
        sample = self._blank(view.warp(image, size, labels=False, fill=FILL))
        sample.background_certain = False
        self._label(sample, self._warp_labels(view.of_shifted(shift), labels, size), 1)
        area = float((labels > 0).sum()) * abs(np.linalg.det(view.matrix[:, :2]))
        return self._finish(sample, [area], least_visible=0.04)  # a head fills a portrait: cut is not hidden

    def _crowd(self, rng: np.random.Generator, size: Size) -> Sample:
        """Cut-outs of 1-5 people over a background, or 1-2 over a group photo, nearer people (lower feet) in front."""
        kind = rng.random()
        sample = self._group(rng, size) if kind < 0.35 else self._empty(rng, size)
        count = int(rng.integers(1, 6 if kind >= 0.35 else 3))
        bottoms = np.sort(rng.uniform(0.55, 1.25, count)) * size[0]
        height = rng.uniform(0.3, 1.0) * size[0]
        full: list[float] = []
        for bottom in bottoms:
            cut = self._cut_out(rng)
            if cut is None:
                continue
            image, labels, iuv, shift = cut
            box = mask_box(labels > 0)
            assert box is not None
            wanted = float(np.clip(height * rng.uniform(0.7, 1.3), 0.18 * size[0], 1.6 * size[0]))
            scale = wanted / float(box[3] - box[1])
            anchor = ((box[0] + box[2]) / 2, box[3])
            view = random_view(rng, anchor, (size[1] * rng.uniform(0.02, 0.98), float(bottom)), scale)
            pasted = self._warp_labels(view.of_shifted(shift), labels, size)
            colours = jitter_colour(view.warp(image, size, labels=False, fill=FILL), rng, 0.7)
            full.append(float((labels > 0).sum()) * scale**2)
            self._paste(sample, colours, pasted, len(full))
            if iuv is not None:
                self._map(sample, self._warp_iuv(view, iuv, size), pasted > 0, len(full))
        return self._finish(sample, full)

    def _cut_out(
        self, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8] | None, float] | None:
        """One person: picture, labels (0 outside), IUV of a rendered one, and how far labels lie off the picture.

        None when the draw has nobody.
        """
        if self.rendered is not None and rng.random() < self.config.data.rendered_fraction:
            image, parts, people, iuv = self.rendered.read(int(rng.integers(len(self.rendered.stems))))
            sizes = np.bincount(people.ravel(), minlength=2)[1:]
            if sizes.max() < 600:
                return None
            mask = people == rng.choice(np.flatnonzero(sizes >= min(600, sizes.max()))) + 1
            labels = np.where(mask, parts, 0).astype(np.uint8)
            return (image, labels, iuv, 0.0) if labels.any() else None
        image, labels, shift = self._labelled(rng)
        return (image, labels, None, shift) if (labels > 0).any() else None

    def _rendered(self, rng: np.random.Generator, size: Size) -> Sample:
        """A rendered picture of synthetic people, whole or in part."""
        assert self.rendered is not None
        image, parts, people, iuv = self.rendered.read(int(rng.integers(len(self.rendered.stems))))
        scale = max(size[0] / image.shape[0], size[1] / image.shape[1]) * float(np.exp(rng.uniform(-0.1, 0.45)))
        centre = (image.shape[1] * rng.uniform(0.35, 0.65), image.shape[0] * rng.uniform(0.35, 0.65))
        view = random_view(rng, centre, (size[1] / 2, size[0] / 2), scale)
        sample = self._blank(view.warp(image, size, labels=False, fill=FILL))
        sample.parts = self._warp_labels(view, parts, size)
        sample.instances = view.warp(people, size, labels=True, fill=0)
        sample.iuv = self._warp_iuv(view, iuv, size)
        count = int(people.max())
        sample.mapped = tuple(range(1, count + 1))
        grown = abs(np.linalg.det(view.matrix[:, :2]))
        areas = np.bincount(people.ravel(), minlength=count + 1)[1:] * grown
        return self._finish(sample, areas.tolist(), least_visible=0.1)

    @staticmethod
    def _warp_iuv(view: View, iuv: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
        warped = view.warp(iuv, size, labels=True, fill=0)
        return mirror_values(warped) if view.flipped else warped

    @staticmethod
    def _map(sample: Sample, iuv: NDArray[np.uint8], mask: NDArray[np.bool_], person: int) -> None:
        """Note the IUV of a person who was pasted last."""
        if sample.iuv is None:
            sample.iuv = np.zeros((*sample.parts.shape, 3), np.uint8)
        sample.iuv[mask] = iuv[mask]
        sample.mapped = (*sample.mapped, person)

    def _group(self, rng: np.random.Generator, size: Size) -> Sample:
        """A real group photo with person boxes."""
        groups = self.groups
        assert groups is not None
        index = int(rng.integers(len(groups.images)))
        image = read_jpeg(groups.images[index])
        scale = min(size[0] / image.shape[0], size[1] / image.shape[1]) * float(np.exp(rng.uniform(-0.35, 0.6)))
        anchor = (image.shape[1] * rng.uniform(0.3, 0.7), image.shape[0] * rng.uniform(0.3, 0.7))
        aspect = 1.33 if groups.stretched[index] else 1.1
        view = random_view(rng, anchor, (size[1] / 2, size[0] / 2), scale, aspect=aspect, degrees=0.0)
        sample = self._blank(view.warp(image, size, labels=False, fill=FILL))
        sample.background_certain = groups.complete[index]
        moved = view.boxes(groups.boxes[index], size)
        before = self._area(groups.boxes[index]) * abs(np.linalg.det(view.matrix[:, :2]))
        visible = self._area(moved) / np.maximum(before, 1.0)
        height, width = LEAST_PIXELS
        small = (moved[:, 3] - moved[:, 1] < height) | (moved[:, 2] - moved[:, 0] < width)
        keep = (visible > LEAST_VISIBLE) & ~small
        sample.boxes = moved[keep]
        sample.instance_ids = np.zeros(int(keep.sum()), np.int64)
        sample.ignore = np.concatenate([moved[~keep], view.boxes(groups.ignore[index], size)])
        return sample

    def _empty(self, rng: np.random.Generator, size: Size) -> Sample:
        """A picture without people: a background or a piece of a group photo beside people, often with things added."""
        image = self._beside_people(rng) if self.empty_groups and rng.random() < 0.4 else None
        if image is None:
            image = read_jpeg(self.backgrounds[rng.integers(len(self.backgrounds))])
        scale = max(size[0] / image.shape[0], size[1] / image.shape[1]) * rng.uniform(0.9, 1.8)
        centre = (image.shape[1] * rng.uniform(0.3, 0.7), image.shape[0] * rng.uniform(0.3, 0.7))
        view = random_view(rng, centre, (size[1] / 2, size[0] / 2), float(scale), aspect=1.25)
        sample = self._blank(view.warp(image, size, labels=False, fill=FILL))
        if self.things is not None and rng.random() < 0.6:
            sample.image = self.things.scatter(sample.image, rng)
        return sample

    def _beside_people(self, rng: np.random.Generator) -> NDArray[np.uint8] | None:
        """The largest of some random windows that no person's box touches; None when they are all small."""
        groups = self.groups
        assert groups is not None
        index = self.empty_groups[rng.integers(len(self.empty_groups))]
        image = read_jpeg(groups.images[index])
        height, width = image.shape[:2]
        taken = np.concatenate([groups.boxes[index], groups.ignore[index]])
        corners = rng.random((64, 2, 2)) * (width, height)
        low, high = corners.min(1), corners.max(1)
        free = ((low[:, None] >= taken[None, :, 2:]) | (high[:, None] <= taken[None, :, :2])).any(2).all(1)
        sides = (high - low).min(1) * free
        best = int(sides.argmax())
        if sides[best] < 0.3 * min(height, width):
            return None
        (x1, y1), (x2, y2) = low[best].astype(int), high[best].astype(int)
        return image[y1:y2, x1:x2]

    def _warp_labels(self, view: View, labels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
        warped = view.warp(labels, size, labels=True, fill=0)
        return self.flip_table[warped] if view.flipped else warped

    @staticmethod
    def _area(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])

    @staticmethod
    def _blank(image: NDArray[np.uint8]) -> Sample:
        empty = np.zeros(image.shape[:2], np.uint8)
        return Sample(image, no_boxes(), np.zeros(0, np.int64), no_boxes(), empty, empty.copy(), True)

    @staticmethod
    def _label(sample: Sample, parts: NDArray[np.uint8], person: int) -> None:
        mask = parts > 0
        sample.parts = np.where(mask, parts, sample.parts)
        sample.instances = np.where(mask, np.uint8(person), sample.instances)

    def _paste(self, sample: Sample, colours: NDArray[np.uint8], parts: NDArray[np.uint8], person: int) -> None:
        """Put a cut-out in front of what is there, the outermost pixels of its mask half transparent."""
        mask = (parts > 0).astype(np.float32)
        # the same on every side, and nothing outside the mask: there, the cut-out shows what was behind its person
        alpha = (mask * (2 * cv2.GaussianBlur(mask, (3, 3), 0) - 1)).clip(0, 1)[..., None]
        sample.image = (sample.image * (1 - alpha) + colours * alpha + 0.5).astype(np.uint8)
        self._label(sample, parts, person)

    def _finish(self, sample: Sample, full_areas: list[float], least_visible: float = 0.2) -> Sample:
        """Boxes of the visible masks; people hidden for the most part become ignore regions.

        Boxes that were there before (a real group under cut-outs) stay unless the cut-outs cover most of them.
        """
        boxes: list[NDArray[np.float32]] = []
        ignore = [*sample.ignore]
        for box, covered in zip(sample.boxes, self._covered(sample), strict=True):
            (ignore if covered > 0.45 else boxes).append(box)
        ids = [0] * len(boxes)
        for person, area in enumerate(full_areas, start=1):
            mask = sample.instances == person
            box = mask_box(mask)
            if box is None:
                continue
            height, width = box[3] - box[1], box[2] - box[0]
            if mask.sum() < least_visible * area or height < LEAST_PIXELS[0] or width < LEAST_PIXELS[1]:
                ignore.append(box)
            else:
                boxes.append(box)
                ids.append(person)
        sample.boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        sample.instance_ids = np.asarray(ids, np.int64)
        sample.ignore = np.asarray(ignore, np.float32).reshape(-1, 4)
        return sample

    @staticmethod
    def _covered(sample: Sample) -> list[float]:
        fractions = []
        for x1, y1, x2, y2 in sample.boxes.astype(int):
            inside = sample.instances[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]
            fractions.append(float((inside > 0).mean()) if inside.size else 1.0)
        return fractions
