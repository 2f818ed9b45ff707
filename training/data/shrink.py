"""A small copy of the training photos, for machines that only some megabytes reach: the same names, fewer pixels.

Splits depend on names alone (`training.data.splits`), so a copy trains and holds out what the original does.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from training.data.sources import DatasetError, read_jpeg, read_map
from training.files import make_folder, replacing, unwritable, write_png, write_text

PHOTOS = ("ccp/images", "ccp/unlabelled", "groups/images", "backgrounds")
_WHOLE = ("makehuman_cc0",)  # what `render` reads: copied as it is

Track = Callable[[list[Path], str], Iterable[Path]]


def shrink(data: Path, out: Path, side: int, quality: int, track: Track, *, label_shift: float = 0.0) -> dict[str, int]:
    """Copy the photos of `data` to `out`, the longer side at most `side` pixels; labels and boxes shrink with them.

    Args:
        data: holds some of ccp/, groups/, backgrounds/ and makehuman_cc0/.
        quality: of the JPEGs, 1..100.
        label_shift: pixels that the label maps of ccp lie right of and below their photos (`data.label_shift`); in the
            copy it is as many of its own pixels, so that the same recipe holds.
        track: wraps the files of a folder, as a progress bar does.

    Returns:
        {folder: bytes written}.

    Raises:
        DatasetError: `data` holds none of these, a photo has no label map, or a file cannot be read or written.
    """
    found = [name for name in (*PHOTOS, *_WHOLE) if (data / name).is_dir()]
    if not found:
        raise DatasetError(f"{data}: holds none of {', '.join((*PHOTOS, *_WHOLE))}; point to the folder above them")
    make_folder(out)
    for name in found:
        if name in _WHOLE:
            try:
                shutil.copytree(data / name, out / name, dirs_exist_ok=True)
            except OSError as error:  # of several files: shutil.Error
                raise unwritable(out / name, error) from error
            continue
        for path in track(sorted((data / name).glob("*.jpg")), name):
            _write_jpeg(out / name / path.name, _smaller(read_jpeg(path), side), quality)
    if "ccp/images" in found:
        for path in track(sorted((data / "ccp/images").glob("*.jpg")), "ccp/labels"):
            _labels(data, out, path.stem, label_shift)
    if "groups/images" in found:
        _boxes(data / "groups", out / "groups")
    return {name: sum(f.stat().st_size for f in (out / name).rglob("*") if f.is_file()) for name in _folders(out)}


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


def _labels(data: Path, out: Path, stem: str, shift: float) -> None:
    path = data / "ccp/labels" / f"{stem}.png"
    if not path.is_file():
        raise DatasetError(f"{path}: missing; every photo of ccp/images needs a label map")
    labels = read_map(path)
    height, width = read_jpeg(out / "ccp/images" / f"{stem}.jpg").shape[:2]
    rows, columns = (_nearest(*sizes, shift) for sizes in zip(labels.shape, (height, width), strict=True))
    write_png(out / "ccp/labels" / path.name, labels[rows][:, columns])


def _nearest(before: int, after: int, shift: float) -> NDArray[np.intp]:
    """The pixel of a row of `before` whose label each of `after` has; what lies `shift` off lies as far off again."""
    places = (np.arange(after) + 0.5 - shift) * before / after + shift
    return np.clip(np.floor(places), 0, before - 1).astype(np.intp)


def _boxes(source: Path, target: Path) -> None:
    """The COCO file of the smaller pictures: boxes, outlines, keypoints and areas in their pixels."""
    path = source / "annotations.json"
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; groups needs a COCO annotation file")
    coco = json.loads(path.read_text())
    factors: dict[int, tuple[float, float]] = {}
    for record in coco["images"]:
        height, width = read_jpeg(target / "images" / record["file_name"]).shape[:2]
        factors[record["id"]] = width / record["width"], height / record["height"]
        record["width"], record["height"] = width, height
    for annotation in coco["annotations"]:
        _scale(annotation, *factors[annotation["image_id"]])
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
