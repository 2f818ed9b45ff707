"""`People`: what every engine returns for one picture. Modules built on it are imported inside its methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from parsing_rcnn.contract import check_array
from parsing_rcnn.maps import full_frame
from parsing_rcnn.maps.paste import (
    PixelWindow,
    cells_covered,
    paste_iuv,
    paste_nearest,
    paste_probabilities,
    pixel_window,
)
from parsing_rcnn.taxonomy import CIHP, DENSEPOSE, Taxonomy

if TYPE_CHECKING:
    from parsing_rcnn.codecs.picture import Picture
    from parsing_rcnn.convert import ChartResult

PER_PERSON = ("boxes", "scores", "parts", "part_scores", "part_probs", "iuv", "iuv_scores", "tracker_id")
"""The arrays of `People` with a row for each person. Whatever selects, joins, stores or sends people goes by it."""

_SHOWN = 8
"""Scores in a `repr`."""


@dataclass(frozen=True, eq=False)
class People:
    """Every person found in one picture. Maps cover their person's box, not the picture; methods paste them into it.

    Attributes:
        boxes: float32 [n,4], (x1, y1, x2, y2) in pixels of the upright original, x2 and y2 exclusive.
        scores: float32 [n] in 0..1, descending.
        image_size: (height, width) of the upright original.
        parts: uint8 [n,S,S] class ids, or None when parsing was not asked for.
        part_scores: float32 [n,classes], mean probability of each class present, else 0.
        part_probs: uint8 [n,classes,S,S], probability times 255 (only on request).
        iuv: uint8 [n,3,S,S]: part index I (0..24), U and V times 255, or None.
        iuv_scores: float32 [n,25], mean probability of each I where it is, 0 where it is not and for the background.
        taxonomy: names and colours of `parts`.
        timings: milliseconds by stage.
        tracker_id: int32 [n], the number of each person's track, from 1; None where nobody is followed.
        untrained: tasks whose head is not trained; its map counts for silhouettes only without the other head's map.

    Raises:
        TypeError: an array has a wrong dtype.
        ValueError: an array has a wrong shape or impossible values.

    Example:
        >>> box = np.array([[2, 1, 6, 7]], np.float32)
        >>> hat = np.full((1, 4, 4), 1, np.uint8)
        >>> people = People(box, np.array([0.9], np.float32), (8, 8), parts=hat)
        >>> people.label_map()[:, 2].tolist()
        [0, 1, 1, 1, 1, 1, 1, 0]
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    image_size: tuple[int, int]
    parts: NDArray[np.uint8] | None = None
    part_scores: NDArray[np.float32] | None = None
    part_probs: NDArray[np.uint8] | None = None
    iuv: NDArray[np.uint8] | None = None
    iuv_scores: NDArray[np.float32] | None = None
    taxonomy: Taxonomy = CIHP
    timings: Mapping[str, float] = field(default_factory=dict)
    tracker_id: NDArray[np.int32] | None = None
    untrained: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        height, width = self.image_size
        if height < 1 or width < 1:
            raise ValueError(f"image_size is (height, width) of at least one pixel, got {self.image_size}")
        count = len(self.boxes)
        classes = len(self.taxonomy)
        check_array("boxes", self.boxes, np.float32, (count, 4))
        check_array("scores", self.scores, np.float32, (count,))
        check_array("parts", self.parts, np.uint8, (count, None, None), highest=classes - 1)
        check_array("part_scores", self.part_scores, np.float32, (count, classes))
        check_array("part_probs", self.part_probs, np.uint8, (count, classes, None, None))
        check_array("iuv", self.iuv, np.uint8, (count, 3, None, None))
        if self.iuv is not None:
            check_array("iuv[:, 0]", self.iuv[:, 0], np.uint8, (count, None, None), highest=len(DENSEPOSE) - 1)
        check_array("iuv_scores", self.iuv_scores, np.float32, (count, len(DENSEPOSE)))
        check_array("tracker_id", self.tracker_id, np.int32, (count,))
        if (self.boxes[:, 2:] < self.boxes[:, :2]).any():
            raise ValueError("boxes are (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2")

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[People]:
        """Each person as `People` of one, in the picture's pixels as before."""
        return (self.select([index]) for index in range(len(self)))

    def __repr__(self) -> str:
        # one line: how many people in width x height, their scores, and what was computed
        height, width = self.image_size
        scores = [f"{score:.2f}" for score in self.scores[:_SHOWN]]
        if len(self) > _SHOWN:
            scores.append("...")
        people = f"{len(self)} in {width}x{height}" + (f": {', '.join(scores)}" if scores else "")
        maps = ", ".join(name for name in ("parts", "part_probs", "iuv") if getattr(self, name) is not None)
        return f"People({people}; {maps or 'boxes only'})"

    @classmethod
    def empty(cls, image_size: tuple[int, int], **fields: Any) -> People:
        """Nobody in a picture of (height, width); further fields as in the constructor."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), image_size, **fields)

    def per_person(self) -> dict[str, NDArray[Any]]:
        """The arrays of `PER_PERSON` that are there, by name."""
        arrays = {name: getattr(self, name) for name in PER_PERSON}
        return {name: array for name, array in arrays.items() if array is not None}

    def select(self, indices: ArrayLike) -> People:
        """Some of the people.

        Args:
            indices: integers, or a bool mask [n], in the order wanted.

        Raises:
            IndexError: an index is out of range, or the mask has another length.
        """
        chosen = np.asarray(indices)
        if chosen.dtype != np.bool_:
            chosen = chosen.astype(np.intp)
        elif chosen.shape != (len(self),):  # NumPy takes an empty mask for any
            raise IndexError(f"a bool mask {chosen.shape} for {len(self)} people: it has a value for each")
        return replace(self, **{name: array[chosen] for name, array in self.per_person().items()})

    def __getitem__(self, index: int | slice | ArrayLike) -> People:
        """`People` of one for an int; some of them for a slice, a bool mask [n] or integers.

        Raises:
            IndexError: an index is out of range, or the mask has another length.
            TypeError: the index is none of these.

        Example:
            >>> people = People(np.zeros((3, 4), np.float32), np.array([0.9, 0.7, 0.6], np.float32), (8, 8))
            >>> people[-1], people[people.scores > 0.65]
            (People(1 in 8x8: 0.60; boxes only), People(2 in 8x8: 0.90, 0.70; boxes only))
        """
        everybody = np.arange(len(self))
        if isinstance(index, slice):
            return self.select(everybody[index])
        chosen = np.asarray(index)
        mask = chosen.dtype == np.bool_ and chosen.ndim == 1
        if not mask and (chosen.ndim > 1 or (chosen.size and chosen.dtype.kind not in "iu")):
            raise TypeError(f"people are taken by an int, a slice, a bool mask [n] or integers, not by {index!r}")
        return self.select(chosen if mask else np.atleast_1d(everybody[chosen if chosen.size else []]))

    def nms(self, iou: float = 0.5, inside: float = 0.9) -> People:
        """The same without second boxes of one person: see `parsing_rcnn.inference.duplicates.best`."""
        from parsing_rcnn.inference.duplicates import best

        return self.select(best(self.boxes, self.scores, iou, inside))

    def window(self, index: int) -> PixelWindow:
        """The pixels that a person's maps are pasted to: those whose centres lie in the box."""
        return pixel_window(self.boxes[index], self.image_size)

    def crop(self, index: int, exact: bool = False) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """One person's part labels at the picture's resolution.

        Args:
            index: of the person.
            exact: interpolate `part_probs` and take the best class, instead of looking up `parts`: better outlines,
                about thirty times the work.

        Returns:
            (uint8 [h,w] class ids, (x0, y0) of its top left pixel in the picture).

        Raises:
            ValueError: the map needed was not computed.
        """
        window = self.window(index)
        if exact:
            probabilities = self._need("part_probs", "analyze with Options(part_probs=True)")
            return paste_probabilities(probabilities[index], self.boxes[index], window), window[:2]
        parts = self._need("parts", 'analyze with the task "parsing"')
        return paste_nearest(parts[index], self.boxes[index], window), window[:2]

    def areas(self, index: int) -> NDArray[np.int64]:
        """Pixels of each class in `crop(index)`, int64 [classes], without pasting: each cell covers whole pixels.

        Raises:
            ValueError: parts were not computed.
        """
        parts = self._need("parts", 'analyze with the task "parsing"')[index]
        return self._areas(index, parts, len(self.taxonomy))

    def chart_areas(self, index: int) -> NDArray[np.int64]:
        """Pixels of each I in `iuv_crop(index)`, int64 [25], as of `areas`.

        Raises:
            ValueError: IUV was not computed.
        """
        return self._areas(index, self.iuv_cells(index)[0], len(DENSEPOSE))

    def iuv_crop(self, index: int, exact: bool = False) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """One person's IUV at the picture's resolution.

        Args:
            index: of the person.
            exact: round outlines, U and V interpolated inside each part, instead of the map's own cells: for the eye.
                Values never mix across the edge of a part, where one chart ends and another begins.

        Returns:
            (uint8 [3,h,w], (x0, y0) of its top left pixel in the picture).

        Raises:
            ValueError: IUV was not computed.
        """
        window = self.window(index)
        cells = self.iuv_cells(index)
        if exact:
            return paste_iuv(cells, self.boxes[index], window), window[:2]
        return paste_nearest(cells, self.boxes[index], window), window[:2]

    def iuv_cells(self, index: int) -> NDArray[np.uint8]:
        """One person's IUV as computed, uint8 [3,S,S].

        Raises:
            ValueError: IUV was not computed.
        """
        return np.asarray(self._need("iuv", 'analyze with the task "densepose"')[index])

    @property
    def silhouette_tasks(self) -> frozenset[str]:
        """The tasks whose maps say where people are: of those computed, the ones of trained heads; all if none is."""
        maps = {"parsing": self.parts, "densepose": self.iuv}
        computed = frozenset(task for task, cells in maps.items() if cells is not None)
        return (computed - self.untrained) or computed

    def mask(self, index: int, exact: bool = False) -> tuple[NDArray[np.bool_], tuple[int, int]]:
        """One person's silhouette: where a part is, or where I > 0 without parts, or with those of an untrained head.

        Args:
            index: of the person.
            exact: as in `crop`, or as in `iuv_crop`.

        Returns:
            (bool [h,w], (x0, y0) of its top left pixel in the picture).

        Raises:
            ValueError: neither parts nor IUV were computed.
        """
        if self.iuv is not None and "parsing" not in self.silhouette_tasks:
            iuv, offset = self.iuv_crop(index, exact)
            return iuv[0] > 0, offset
        labels, offset = self.crop(index, exact)
        return labels > 0, offset

    def masks(self, exact: bool = False) -> NDArray[np.bool_]:
        """Everybody's silhouette in the whole picture, bool [n,H,W]: see `parsing_rcnn.maps.full_frame.masks`."""
        return full_frame.masks(self, exact)

    def polygons(self, index: int, exact: bool = False) -> list[NDArray[np.int32]]:
        """The outlines of one person's silhouette, largest first: see `parsing_rcnn.convert.outlines`.

        Args:
            index: of the person.
            exact: as in `mask`.

        Returns:
            int32 [k,2] (x, y) of the picture for each piece; none where the person has no pixel.

        Raises:
            ValueError: neither parts nor IUV were computed.
        """
        from parsing_rcnn.convert import outlines

        return outlines(*self.mask(index, exact))

    def label_map(self, exact: bool = False) -> NDArray[np.uint8]:
        """Part labels of the whole picture, uint8 [H,W] class ids: see `parsing_rcnn.maps.full_frame.label_map`."""
        return full_frame.label_map(self, exact)

    def instance_map(self, exact: bool = False) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Index plus one of the person at each pixel, 0: nobody; [H,W]. See `parsing_rcnn.maps.full_frame`."""
        return full_frame.instance_map(self, exact)

    def iuv_map(self, exact: bool = False) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | NDArray[np.uint16]]:
        """(IUV of the whole picture, uint8 [H,W,3]; its instance map, [H,W]). See `parsing_rcnn.maps.full_frame`."""
        return full_frame.iuv_map(self, exact)

    def draw(self, image: Picture, **options: Any) -> NDArray[np.uint8]:
        """The picture with every person's parts, box and score over it: see `parsing_rcnn.draw.overlay`."""
        from parsing_rcnn.draw import overlay

        return overlay(image, self, **options)

    def cut(
        self, image: Picture, index: int, margin: float = 0.0, transparent: bool = False, bgr: bool = False
    ) -> NDArray[np.uint8]:
        """One person's picture, out of the photo. (`crop` has their labels.)

        Args:
            image: what was analysed: a path, encoded bytes, a uint8 [H,W,3] RGB array or a picture of Pillow.
            index: of the person.
            margin: around the box, as a share of its width and height, as far as the picture goes.
            transparent: nothing around the person, and nobody in front of them; edges as of `parsing_rcnn.draw.cutout`.
            bgr: the image is an array of OpenCV, blue first, and so is what comes back.

        Returns:
            uint8 [h,w,3] RGB, or [h,w,4] RGBA where it is to be transparent.

        Raises:
            ValueError: the image is not of this image_size, a negative margin, or transparent, and there are no maps.
        """
        from parsing_rcnn.drawing.cutouts import cut

        return cut(image, self, index, margin, transparent, bgr)

    def certainty(self, task: str) -> NDArray[np.float32]:
        """How sure each person's map of a task is, float32 [n]: see `parsing_rcnn.maps.certainty`."""
        from parsing_rcnn.maps.certainty import certainty

        return certainty(self, task)

    def map_scores(self, task: str) -> NDArray[np.float32]:
        """The scores that rank the results of a task, float32 [n]: `scores` times `certainty`."""
        return self.scores * self.certainty(task)

    def to_supervision(self, *, parts: bool = False, charts: bool = False, maps: bool = False) -> Any:
        """A `supervision.Detections`, of people, parts or charts: see `parsing_rcnn.convert.to_supervision`."""
        from parsing_rcnn.convert import to_supervision

        return to_supervision(self, parts=parts, charts=charts, maps=maps)

    def to_coco(
        self, image_id: int, *, boxes: bool = True, parts: bool = False, charts: bool = False
    ) -> list[dict[str, Any]]:
        """COCO results for pycocotools, of people, parts or charts: see `parsing_rcnn.convert.to_coco`."""
        from parsing_rcnn.convert import to_coco

        return to_coco(self, image_id, boxes=boxes, parts=parts, charts=charts)

    def to_densepose(self) -> list[ChartResult]:
        """Box-relative charts as detectron2's DensePose has them: see `parsing_rcnn.convert.to_densepose`."""
        from parsing_rcnn.convert import to_densepose

        return to_densepose(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a compressed npz (`parsing_rcnn.codecs.npz`): all but `part_probs` and `timings`."""
        from parsing_rcnn.codecs import npz

        Path(path).write_bytes(npz.encode(self))

    @classmethod
    def load(cls, path: str | PathLike[str], taxonomy: Taxonomy | None = None) -> People:
        """Read what `save`, `parsing-rcnn predict` or a gateway wrote.

        Args:
            path: of the npz.
            taxonomy: of its parts; None takes what the file says of classes of one's own, or CIHP or MHP by the number
                of classes in `part_scores`, CIHP without them.

        Raises:
            ValueError: it is no npz of people, or its parts are not of this taxonomy.
        """
        from parsing_rcnn.codecs import npz

        return npz.decode(Path(path), taxonomy)

    def back_to_front(self) -> list[int]:
        """Indices by rising score, and of equal scores the first person last: the order in which to draw boxes.

        `parsing_rcnn.maps.overlaps.assign_contested_pixels` decides who is in front where silhouettes overlap.
        """
        return [int(i) for i in np.argsort(-self.scores, kind="stable")[::-1]]

    def _areas(self, index: int, labels: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
        rows, columns = cells_covered(self.boxes[index], self.window(index), labels.shape)
        weights = np.outer(rows, columns).ravel()
        return np.bincount(labels.ravel(), weights=weights, minlength=classes).astype(np.int64)

    def _need(self, name: str, remedy: str) -> NDArray[np.uint8]:
        array: NDArray[np.uint8] | None = getattr(self, name)
        if array is None:
            raise ValueError(f"these people have no {name}: {remedy}")
        return array
