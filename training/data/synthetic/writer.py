"""Rendered datasets on disk: the CIHP layout, a DensePose-COCO annotation file, and contact sheets to look at.

Images/NNNNNNN.jpg           JPEG of random quality
Category_ids/NNNNNNN.png     8-bit CIHP class ids of all people
Human_ids/NNNNNNN.png        8-bit: k where person k is, 0 elsewhere
Instance_ids/NNNNNNN.png     16-bit: one value for each class of each person
IUV/NNNNNNN.png              3 channels: DensePose part, U and V times 255 (what CIHP does not have)
surface.npz                  points of the charts and distances on the skin, which GPS measures with
densepose.json               COCO with keypoints, and dp_masks, dp_I, dp_U, dp_V, dp_x, dp_y as DensePose-COCO has them
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from parsing_rcnn.codecs import rle
from parsing_rcnn.taxonomy import CIHP, COARSE_OF_PART
from training.data.sample import mask_box
from training.data.sources import UNFINISHED
from training.data.synthetic.generator import Generator, Source
from training.data.synthetic.geodesics import kept_surface
from training.data.synthetic.keypoints import NAMES, SKELETON
from training.data.synthetic.scene import Rendered
from training.errors import DatasetError
from training.files import make_folder, replacing, writing
from training.tiles import tile

_FRAME = 256  # DensePose-COCO paints regions and places points in a 256x256 frame of the box
_POINTS = 100
_AHEAD = 4  # pictures that wait for each worker
_LEAST_PIXELS = 24  # a person of fewer pixels is no annotation
_ROWS, _COLUMNS, _TILE = 6, 4, 256  # of a contact sheet: pictures down and across, pixels of a tile's sides
_FOLDERS = ("Images", "Category_ids", "Human_ids", "Instance_ids", "IUV")


@dataclass(frozen=True)
class Job:
    """What a worker needs: where from, where to."""

    source: Source
    out: Path
    count: int | None = None


_own: dict[str, tuple[Job, Generator]] = {}  # of a worker process


def _start(job: Job, generator: Generator) -> None:
    cv2.setNumThreads(1)
    _own["job"] = (job, generator)


def _one(index: int) -> tuple[int, dict[str, Any]]:
    job, generator = _own["job"]
    return index, write_picture(generator.picture(index, job.count), job.out, index)


def write_dataset(job: Job, pictures: int, workers: int) -> Iterator[int]:
    """Render pictures 0..pictures-1 in parallel, then write the annotation file; yields how many pictures are done.

    Pictures that are there already are rendered again: the same seed gives the same bytes. Those beyond `pictures`,
    of an earlier dataset, are removed, and there is no annotation file until every picture is written. What is refused
    before the first picture leaves an earlier dataset as it was.

    Raises:
        DatasetError: a worker was killed.
        OutputError: a picture could not be written, or a baked body into the cache.
    """
    make_folder(job.out)
    generator = Generator(job.source)  # once, for all processes: it takes a second, and bakes what is missing
    cast = generator.cast
    surface = kept_surface(job.source.cache, cast.body, cast.wardrobe.atlas)
    _make_room(job.out, pictures)
    with replacing(job.out / "surface.npz") as partial:
        shutil.copyfile(surface, partial)
    records: dict[int, dict[str, Any]] = {}
    # each process has one core: threads of their matrix products would only wait for each other
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    # not a multiprocessing.Pool: that replaces a killed worker and waits for ever for the pictures it had
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(job, generator))
    try:
        left = iter(range(pictures))
        running = {executor.submit(_one, index) for index in itertools.islice(left, _AHEAD * workers)}
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                index, record = future.result()
                records[index] = record
                running |= {executor.submit(_one, index) for index in itertools.islice(left, 1)}
                yield len(records)
    except BrokenProcessPool as error:
        raise DatasetError("a worker was killed (out of memory?); run again with fewer --workers") from error
    finally:
        executor.shutdown(cancel_futures=True)
    _write_annotations(job, [records[index] for index in range(pictures)])


def _make_room(out: Path, pictures: int) -> None:
    """Folders for a dataset, without the annotation file and the further pictures of an earlier one."""
    with writing(out):
        (out / UNFINISHED).touch()
        (out / "densepose.json").unlink(missing_ok=True)
        rendered = (out / "IUV").is_dir()  # CIHP itself has pictures of such names, and no such folder
        for folder in _FOLDERS:
            (out / folder).mkdir(exist_ok=True)
            for path in (out / folder).iterdir() if rendered else ():
                if re.fullmatch(r"[0-9]{7}", path.stem) and int(path.stem) > pictures:
                    path.unlink()


def _write_annotations(job: Job, records: list[dict[str, Any]]) -> None:
    annotations = [annotation for record in records for annotation in record["annotations"]]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    document = {
        "info": {"description": "synthetic people", "seed": job.source.seed},
        "images": [record["image"] for record in records],
        "annotations": annotations,
        "categories": [
            {"id": 1, "name": "person", "supercategory": "person", "keypoints": NAMES, "skeleton": SKELETON}
        ],
    }
    with writing(job.out / "densepose.json"):
        (job.out / UNFINISHED).write_text(json.dumps(document))
        (job.out / UNFINISHED).replace(job.out / "densepose.json")


def write_picture(rendered: Rendered, out: Path, index: int) -> dict[str, Any]:
    """Write one picture with its maps; returns its COCO records.

    Raises:
        OutputError: a file could not be written.
    """
    stem = f"{index + 1:07d}"
    quality = int(np.random.default_rng([index, 1]).integers(70, 96))
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(rendered.image), quality=quality)
    path = out / "Images" / f"{stem}.jpg"
    with writing(path):
        path.write_bytes(data)
    fast = [cv2.IMWRITE_PNG_COMPRESSION, 2]
    part_instances = rendered.instance.astype(np.uint16) * len(CIHP) * (rendered.category > 0) + rendered.category
    for folder, array in (
        ("Category_ids", rendered.category),
        ("Human_ids", rendered.instance),
        ("Instance_ids", part_instances),
        ("IUV", rendered.iuv),
    ):
        path = out / folder / f"{stem}.png"
        with writing(path):
            path.write_bytes(cv2.imencode(".png", array, fast)[1].tobytes())
    height, width = rendered.category.shape
    image = {"id": index + 1, "file_name": f"{stem}.jpg", "height": height, "width": width}
    annotations = []
    for person, facts in enumerate(rendered.people, start=1):
        mask = rendered.instance == person
        if mask.sum() >= _LEAST_PIXELS:
            annotations.append(_annotation(rendered, mask, index, person, facts))
    return {"image": image, "annotations": annotations}


def _annotation(
    rendered: Rendered, mask: NDArray[np.bool_], index: int, person: int, facts: dict[str, Any]
) -> dict[str, Any]:
    box = mask_box(mask)
    assert box is not None
    x1, y1, x2, y2 = (float(v) for v in box)
    keypoints = rendered.keypoints[person - 1].astype(np.float64)
    keypoints[keypoints[:, 2] > 0, :2] -= 0.5  # COCO numbers pixels, and the middle of the first is 0
    rng = np.random.default_rng([index, person])
    rows, columns = np.nonzero(mask)
    chosen = rng.permutation(len(rows))[:_POINTS]
    rows, columns = rows[chosen], columns[chosen]
    part, u, v = rendered.iuv[rows, columns].T
    grid_y = np.minimum((y1 + (np.arange(_FRAME) + 0.5) * (y2 - y1) / _FRAME).astype(int), mask.shape[0] - 1)
    grid_x = np.minimum((x1 + (np.arange(_FRAME) + 0.5) * (x2 - x1) / _FRAME).astype(int), mask.shape[1] - 1)
    inside = mask[np.ix_(grid_y, grid_x)]
    regions = np.where(inside, COARSE_OF_PART[rendered.iuv[..., 0][np.ix_(grid_y, grid_x)]], 0)
    masks = [rle.encode(regions == k) if (regions == k).any() else [] for k in range(1, 15)]
    return {
        "image_id": index + 1,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": int(mask.sum()),
        "segmentation": rle.encode(mask),
        "dp_masks": masks,
        "dp_I": part.astype(float).tolist(),
        "dp_U": np.round(u / 255, 5).tolist(),
        "dp_V": np.round(v / 255, 5).tolist(),
        "dp_x": np.round((columns + 0.5 - x1) / (x2 - x1) * _FRAME, 3).tolist(),
        "dp_y": np.round((rows + 0.5 - y1) / (y2 - y1) * _FRAME, 3).tolist(),
        "keypoints": np.round(keypoints, 1).ravel().tolist(),
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
        "human": person,
        "synthetic": facts,
    }


def contact_sheet(generator: Generator) -> NDArray[np.uint8]:
    """The first pictures beside their parts and IUV, uint8 RGB, to look at."""
    lines = []
    for row in range(_ROWS):
        line = []
        for column in range(_COLUMNS):
            rendered = generator.picture(row * _COLUMNS + column)
            shown = rendered.iuv.copy()
            shown[..., 0] *= 10
            trio = (rendered.image, CIHP.palette[rendered.category], shown)
            line += [tile(picture, _TILE) for picture in trio]
        lines.append(np.hstack(line))
    return np.asarray(np.vstack(lines), np.uint8)


def claim_sheet(path: Path) -> None:
    """Check that `write_sheet` can write there, before the pictures are rendered.

    Raises:
        DatasetError: the name is not that of a PNG or JPEG file.
        OutputError: nothing can be written there.
    """
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise DatasetError(f"{path}: a sheet is a .png or .jpg file")
    make_folder(path.parent)


def write_sheet(sheet: NDArray[np.uint8], path: Path) -> None:
    """Save a contact sheet as PNG or JPEG, by the name.

    Raises:
        DatasetError, OutputError: as of `claim_sheet`.
    """
    claim_sheet(path)
    data = cv2.imencode(path.suffix, cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes()
    with replacing(path) as partial:
        partial.write_bytes(data)
