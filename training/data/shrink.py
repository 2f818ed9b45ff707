"""A small copy of the training photos, for machines that only some megabytes reach: the same names, fewer pixels.

Splits depend on names alone (`training.data.splits`), so a copy trains and holds out what the original does.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from training.data.datasets.records import PICTURE_SUFFIXES
from training.data.groups import read_groups
from training.data.sources import jpeg_size, read_jpeg, read_map, unlabelled_photos
from training.errors import DatasetError
from training.files import make_folder, replacing, write_png, write_text, writing
from training.progress import Progress

PHOTOS = ("ccp/images", "ccp/unlabelled", "groups/images", "backgrounds")
_WHOLE = ("makehuman_cc0",)  # what `render` reads: copied as it is


def shrink(
    data: Path, out: Path, side: int, quality: int, progress: Progress, *, label_shift: float = 0.0
) -> dict[str, int]:
    """Copy the photos of `data` to `out`, the longer side at most `side` pixels; labels and boxes shrink with them.

    Args:
        data: holds some of ccp/, groups/, backgrounds/ and makehuman_cc0/.
        quality: of the JPEGs, 1..100.
        label_shift: pixels that the label maps of ccp lie right of and below their photos (`data.label_shift`); in the
            copy it is as many of its own pixels, so that the same recipe holds.
        progress: wraps the files of each folder.

    Returns:
        {folder: bytes written}.

    Raises:
        DatasetError: `data` holds none of these, a photo has no label map of its size, or a file cannot be read. What
            is wrong with labels and boxes is found before anything is written.
        OutputError: a file cannot be written.
    """
    found = [name for name in (*PHOTOS, *_WHOLE) if (data / name).is_dir()]
    if not found:
        raise DatasetError(f"{data}: holds none of {', '.join((*PHOTOS, *_WHOLE))}; point to the folder above them")
    photos = {name: _photos(data, name) for name in found if name not in _WHOLE}
    groups = read_groups(data / "groups") if "groups/images" in found else None
    for path in photos.get("ccp/images", ()):
        _check_labels(path, _labels_of(path))
    make_folder(out)
    factors: dict[str, tuple[float, float]] = {}  # of the group photos, across and down
    for name in found:
        if name in _WHOLE:
            with writing(out / name):
                shutil.copytree(data / name, out / name, dirs_exist_ok=True)
            continue
        for path in progress(photos[name], name):
            image = read_jpeg(path)
            small, own = _smaller(image, side), path.relative_to(data / name)
            _write_jpeg(out / name / own, small, quality)
            if name == "groups/images":
                factors[own.as_posix()] = small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]
    for path in progress(photos["ccp/images"], "ccp/labels") if "ccp/images" in found else ():
        height, width = jpeg_size(out / "ccp/images" / path.name)
        labels = read_map(_labels_of(path))
        rows, columns = (_nearest(*sizes, label_shift) for sizes in zip(labels.shape, (height, width), strict=True))
        write_png(out / "ccp/labels" / f"{path.stem}.png", labels[rows][:, columns])
    if groups is not None:
        _write_boxes(groups, factors, out / "groups")
    return {name: sum(f.stat().st_size for f in (out / name).rglob("*") if f.is_file()) for name in _folders(out)}


def left_out(data: Path) -> list[Path]:
    """Pictures in the folders of photos that are not copied: of names that training does not read."""
    found = []
    for name in PHOTOS:
        if (data / name).is_dir():
            copied = set(_photos(data, name))
            found += [
                path
                for path in sorted((data / name).rglob("*"))
                if path.suffix.lower() in PICTURE_SUFFIXES and path not in copied
            ]
    return found


def _photos(data: Path, name: str) -> list[Path]:
    """What training reads of a folder: *.jpg, and of photos without labels or in a COCO file whatever is a JPEG."""
    if name == "ccp/unlabelled":
        return list(unlabelled_photos(data / name).values())
    found = {path for path in (data / name).glob("*.jpg") if path.is_file()}
    if name == "groups/images":
        found |= {data / name / about["file_name"] for about in read_groups(data / "groups")["images"]}
    return sorted(found)


def _labels_of(photo: Path) -> Path:
    return photo.parent.parent / "labels" / f"{photo.stem}.png"


def _check_labels(photo: Path, path: Path) -> None:
    if not path.is_file():
        raise DatasetError(f"{path}: missing; every photo of ccp/images needs a label map")
    labels, size = read_map(path), jpeg_size(photo)
    if labels.shape != size:
        raise DatasetError(f"{path}: {labels.shape} pixels, but {photo.name} has {size}")


def _folders(out: Path) -> Iterator[str]:
    yield from sorted(path.name for path in out.iterdir() if path.is_dir())


def _smaller(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    factor = side / max(image.shape[:2])
    if factor >= 1:
        return image
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _write_jpeg(path: Path, image: NDArray[np.uint8], quality: int) -> None:
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, "RGB")
    with replacing(path) as partial:
        partial.write_bytes(data)


def _nearest(before: int, after: int, shift: float) -> NDArray[np.intp]:
    """The pixel of a row of `before` whose label each of `after` has; what lies `shift` off lies as far off again."""
    places = (np.arange(after) + 0.5 - shift) * before / after + shift
    return np.clip(np.floor(places), 0, before - 1).astype(np.intp)


def _write_boxes(coco: dict[str, Any], factors: Mapping[str, tuple[float, float]], target: Path) -> None:
    """The COCO file of the smaller pictures: boxes, outlines, keypoints and areas in their pixels."""
    names = {}
    for record in coco["images"]:
        names[record["id"]] = PurePath(record["file_name"]).as_posix()
        record["height"], record["width"] = jpeg_size(target / "images" / record["file_name"])
    for annotation in coco["annotations"]:
        _scale(annotation, *factors[names[annotation["image_id"]]])
    write_text(target / "annotations.json", json.dumps(coco))


def _scale(annotation: dict[str, Any], across: float, down: float) -> None:
    annotation["bbox"] = [round(v * (across, down)[i % 2], 2) for i, v in enumerate(annotation["bbox"])]
    if annotation.get("area") is not None:
        annotation["area"] = round(annotation["area"] * across * down, 2)
    outlines = annotation.get("segmentation")
    if isinstance(outlines, dict):  # run lengths belong to one size of picture
        del annotation["segmentation"]
    elif outlines:
        annotation["segmentation"] = [
            [round(v * (across, down)[i % 2], 2) for i, v in enumerate(outline)] for outline in outlines
        ]
    if annotation.get("keypoints"):
        scale = (across, down, 1)
        annotation["keypoints"] = [round(v * scale[i % 3], 2) for i, v in enumerate(annotation["keypoints"])]
