"""Readers of the folders that train the light model: labelled photos, rendered people, pictures without people.

Layout (all JPEG, labels 8-bit PNG): ccp/images/NNNN.jpg + ccp/labels/NNNN.png with CIHP ids of the main person;
backgrounds/*.jpg. Group photos: `training.data.groups`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from parsing_rcnn.taxonomy import CIHP
from training.data.sample import IGNORE_LABEL
from training.data.splits import CCP_TWINS, background_split, ccp_split
from training.errors import DatasetError, EmptySplitError

UNFINISHED = "densepose.json.part"  # in a folder whose pictures are being rendered
JPEG_SUFFIXES = (".jpg", ".jpeg")  # in any case
_CHARTS = 24  # of DensePose
_REPEATED = 0.3  # photos with a class in fewer of them than this are drawn more often
_REMEDY = "save the numbers of the classes or people as an 8-bit grey PNG"


def read_jpeg(path: Path) -> NDArray[np.uint8]:
    """RGB uint8 [H,W,3].

    Raises:
        DatasetError: missing, or no JPEG.
    """
    try:
        return np.asarray(simplejpeg.decode_jpeg(path.read_bytes(), "RGB"), np.uint8)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not a JPEG that can be read ({error})") from error


def jpeg_size(path: Path) -> tuple[int, int]:
    """(height, width) of a JPEG as stored, by its header.

    Raises:
        DatasetError: missing, or no JPEG.
    """
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not a JPEG that can be read ({error})") from error
    return int(height), int(width)


def read_map(path: Path, classes: int | None = None) -> NDArray[np.uint8]:
    """An 8-bit label map [H,W]: grey levels, the indices of a palette, or the first of three channels.

    Greys of 1, 2 or 4 bits are refused: a 1 is class 1 to whoever wrote numbers, and grey 255, 85 or 17 to decoders.

    A palette of greys alone is what lossless compressors make of a grey PNG: there the greys are the labels. MHP v2 is
    published in three channels, the second and third of which are empty or copies of the first; where they are not, the
    picture has colours in place of numbers.

    Args:
        classes: values must be smaller than this (None: any), or 255.

    Raises:
        DatasetError: missing, of another type, or with other values.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: missing, or cannot be read as a picture ({error.strerror})") from error
    found: NDArray[Any] | None = _palette_indices(path, data)
    if found is None and data:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise DatasetError(f"{path}: missing, or cannot be read as a picture")
    if (bits := _grey_bits(data)) < 8 and found.any():
        raise DatasetError(f"{path}: grey of {bits} bits, which decoders spread over 0..255: {_REMEDY}")
    if found.dtype != np.uint8:
        raise DatasetError(f"{path}: {found.dtype} pixels; a label map has 8 bits: {_REMEDY}")
    if found.ndim == 3:
        # OpenCV's channels are in reverse: the file's first one is the last here
        plane, others = found[..., 2], found[..., :2]
        if others.any() and not (others == plane[..., None]).all():
            raise DatasetError(f"{path}: three unequal channels, colours in place of numbers: {_REMEDY}")
        found = plane
    if classes is not None:
        wrong = found[(found >= classes) & (found != IGNORE_LABEL)]
        if len(wrong):
            raise DatasetError(
                f"{path}: class {int(wrong.min())}, but the highest is {classes - 1} of the {classes} classes that are "
                f"read here ({IGNORE_LABEL} where nobody says what is there): correct the map, or name the class in "
                "model.taxonomy of the recipe"
            )
    return np.ascontiguousarray(found)


def refuse_empty(place: Path, count: int, rule: str, *, validation: bool) -> NoReturn:
    """Say of a folder that its split leaves no picture of a part.

    Args:
        place: folder or file of all `count` pictures; rule: how they are split.

    Raises:
        EmptySplitError: always.
    """
    part = "none of them is held out, to measure on" if validation else "none of them is left to train on"
    raise EmptySplitError(
        f"{place}: {count} {'picture' if count == 1 else 'pictures'}, and {part}: {rule}; add pictures"
        + ("" if validation else ", or leave the sources that draw them out of data.sources")
    )


def _grey_bits(data: bytes) -> int:
    """Bits of a pixel of a grey PNG, by its header; 8 of any other file."""
    return data[24] if data.startswith(b"\x89PNG") and data[25:26] == b"\x00" else 8


def _palette_indices(path: Path, data: bytes) -> NDArray[np.uint8] | None:
    """Of a PNG with a palette the labels uint8 [H,W], see `read_map`; None of any other file.

    OpenCV gives the colours alone.
    """
    if not (data.startswith(b"\x89PNG") and data[25:26] == b"\x03"):  # the colour type in its header
        return None
    try:
        with Image.open(io.BytesIO(data)) as picture:
            indices = np.asarray(picture, np.uint8)
            palette = np.array(picture.getpalette(), np.uint8).reshape(-1, 3)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path}: missing, or cannot be read as a picture ({error})") from error
    if (palette == palette[:, :1]).all():
        return np.asarray(palette[indices.clip(max=len(palette) - 1), 0])
    return indices


@dataclass(frozen=True)
class LabelledPhotos:
    """Photos of one main person with a part label map."""

    images: tuple[Path, ...]
    labels: tuple[Path, ...]
    weights: NDArray[np.float64]

    @classmethod
    def open(cls, root: Path, *, validation: bool = False) -> LabelledPhotos:
        """The training (or validation) part of `root`, photos with rare classes weighted up.

        Raises:
            DatasetError: the folder is absent, a photo's name is no number, or a label map is missing or no map of
                CIHP's classes.
            EmptySplitError: no photo is of this part.
        """
        folder = root / "images"
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder; point --data at the folder that holds ccp/images")
        there = sorted(p.name for p in folder.glob("*.jpg"))
        for name in there:
            if not Path(name).stem.isdecimal():
                raise DatasetError(
                    f"{folder / name}: its name is no number; photos with labels are 0001.jpg and so on, because every "
                    "tenth is held out by its number: rename it and its label map"
                )
        names = ccp_split(there)[1 if validation else 0]
        if not names:
            rule = "of numbered photos (0001.jpg and so on) those whose number ends in 3 are held out"
            refuse_empty(folder, len(there), rule, validation=validation)
        images = tuple(folder / n for n in names)
        labels = tuple(root / "labels" / f"{p.stem}.png" for p in images)
        for path in labels:
            if not path.is_file():
                raise DatasetError(f"{path}: this label map is missing; every photo needs one")
        return cls(images, labels, cls._repeat_factors(labels))

    @classmethod
    def open_pseudo(cls, photos: Path, labels: Path) -> LabelledPhotos:
        """Photos with the labels that `parsing-rcnn pseudo-label` wrote: those of `photos` that have one in `labels`
        and are not held out under another id (`CCP_TWINS`).

        Raises:
            DatasetError: there is none, two photos differ by their suffix alone, or a map is none of CIHP's classes.
        """
        named = unlabelled_photos(photos)
        found = tuple(p for p in sorted(labels.glob("*.png")) if p.stem in named and p.stem not in CCP_TWINS)
        if not found:
            raise DatasetError(f"{labels}: no label maps of photos in {photos}; write them by pseudo-label")
        return cls(tuple(named[p.stem] for p in found), found, cls._repeat_factors(found))

    @staticmethod
    def _repeat_factors(labels: tuple[Path, ...]) -> NDArray[np.float64]:
        """Repeat-factor sampling (Gupta et al. 2019): sqrt(0.3 / frequency) of the rarest class present."""
        present = np.zeros((len(labels), 256), bool)
        for row, path in enumerate(labels):
            present[row, np.unique(read_map(path, len(CIHP)))] = True
        present[:, IGNORE_LABEL] = False
        frequency = present.mean(0).clip(1e-6)
        factor = np.maximum(1.0, np.sqrt(_REPEATED / frequency)).clip(max=4.0)
        weights = np.where(present, factor, 1.0).max(1)
        return np.asarray(weights / weights.sum(), np.float64)

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(image uint8 [H,W,3], labels uint8 [H,W]).

        Raises:
            DatasetError: one is missing or broken, or they have unequal sizes.
        """
        image = read_jpeg(self.images[index])
        labels = read_map(self.labels[index], len(CIHP))
        if labels.shape != image.shape[:2]:
            raise DatasetError(
                f"{self.labels[index]}: {labels.shape} pixels, but {self.images[index].name} has {image.shape[:2]}"
            )
        return image, labels


@dataclass(frozen=True)
class RenderedPeople:
    """Pictures of synthetic people that `parsing-rcnn render` wrote: parts, people and IUV of every pixel."""

    root: Path
    stems: tuple[str, ...]

    @classmethod
    def open(cls, root: Path) -> RenderedPeople:
        """All pictures of a folder.

        Raises:
            DatasetError: the folder is absent, holds no pictures, or not all of them yet.
        """
        if (root / UNFINISHED).exists():
            raise DatasetError(f"{root}: rendering it was broken off; do it again by `parsing-rcnn render`")
        stems = tuple(sorted(path.stem for path in (root / "Images").glob("*.jpg")))
        if not stems:
            raise DatasetError(f"{root / 'Images'}: no JPEG pictures here; write some by `parsing-rcnn render`")
        return cls(root, stems)

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        """(image uint8 [H,W,3], parts uint8 [H,W], people uint8 [H,W], IUV uint8 [H,W,3]).

        Raises:
            DatasetError: one is missing or broken, has other values, or not the size of the picture.
        """
        stem = self.stems[index]
        image = read_jpeg(self.root / "Images" / f"{stem}.jpg")
        places = [self.root / name / f"{stem}.png" for name in ("Category_ids", "Human_ids", "IUV")]
        parts, people, iuv = read_map(places[0], len(CIHP)), read_map(places[1]), _read_iuv(places[2])
        for path, own in zip(places, (parts, people, iuv), strict=True):
            if own.shape[:2] != image.shape[:2]:
                raise DatasetError(
                    f"{path}: {own.shape[:2]} pixels, but {stem}.jpg has {image.shape[:2]}; render this folder again"
                )
        return image, parts, people, iuv


def _read_iuv(path: Path) -> NDArray[np.uint8]:
    """I, U and V of a rendered picture, uint8 [H,W,3]."""
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise DatasetError(f"{path}: missing, or no PNG; render this folder again")
    if found.dtype != np.uint8 or found.shape[2:] != (3,) or found[..., 0].max() > _CHARTS:
        raise DatasetError(f"{path}: not the I (0..{_CHARTS}), U and V of a picture; render this folder again")
    return np.asarray(found)


def unlabelled_photos(folder: Path) -> dict[str, Path]:
    """The JPEGs of a folder by the name that their label map has, sorted: .jpg and .jpeg in any case.

    Raises:
        DatasetError: there is no such folder, or two would have the same label map.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; JPEGs for pseudo labels are looked for here")
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() in JPEG_SUFFIXES and path.is_file():
            if path.stem in found:
                raise DatasetError(
                    f"{path}: {found[path.stem].name} has the same name but for its suffix, and a label map is named "
                    "without: rename one"
                )
            found[path.stem] = path
    return found


def background_photos(root: Path, *, validation: bool = False) -> tuple[Path, ...]:
    """Pictures without people: the training (or validation) part of a folder of JPEGs.

    Raises:
        EmptySplitError: no picture is of this part, or the folder is absent.
    """
    there = [p.name for p in people_free(root)]
    names = background_split(there)[1 if validation else 0]
    if not names:
        rule = "every third by name, from the first on, is held out"
        refuse_empty(root, len(there), rule, validation=validation)
    return tuple(root / name for name in names)


def people_free(root: Path) -> tuple[Path, ...]:
    """All the pictures of a folder of JPEGs that show nobody.

    Raises:
        EmptySplitError: the folder is absent or empty.
    """
    pictures = tuple(sorted(root.glob("*.jpg")))
    if not pictures:
        raise EmptySplitError(f"{root}: no JPEG pictures here; pictures without people are needed")
    return pictures
