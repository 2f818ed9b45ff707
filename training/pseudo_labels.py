"""Self-training: the present model labels the parts of unlabelled photos, where it is sure (Lee 2013).

A photo is kept when its main person is found with a high score, in the photo and in its mirror image, at the same
place. Class probabilities of both views are averaged; pixels whose best class stays unsure become 255, which no loss
reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import Analyzer, Options
from parsing_rcnn.codecs.header import peek
from parsing_rcnn.errors import ParsingRCNNError
from parsing_rcnn.geometry import turn_upright
from parsing_rcnn.maps.paste import interpolate, pixel_window
from parsing_rcnn.people import People
from parsing_rcnn.repository import CARD, ModelRepository
from parsing_rcnn.taxonomy import CIHP
from training.data.sample import IGNORE_LABEL
from training.data.sources import read_jpeg
from training.errors import DatasetError
from training.files import make_folder, write_png
from training.metrics.detection import box_iou

_LEAST_SCORE = 0.8  # of the main person
_LEAST_OVERLAP = 0.8  # IoU of the boxes found in the photo and in its mirror image
_SURE = 0.55  # probability of a pixel's best class
_BACK = {6: 8, 8: 6}  # EXIF orientations that undo each other; all others undo themselves


def check_repository(repository: ModelRepository) -> None:
    """Refuse weights whose labels would teach nothing, or other classes than those that self-training reads.

    Raises:
        DatasetError: the parsing head is not trained, or is not of CIHP's classes.
    """
    own = repository.taxonomy
    if own is not CIHP:
        raise DatasetError(
            f"{repository.path}: its parts are of {own.name}, and pseudo labels are of {CIHP.name}: give --repository "
            "weights of its classes"
        )
    if not repository.trained.get("parsing", False):
        raise DatasetError(
            f"{repository.path}: its parsing head is not trained (tasks of {CARD}): give --repository weights whose "
            "head is"
        )


def probability_map(people: People, index: int) -> NDArray[np.float32]:
    """Class probabilities of one person on the whole picture, float32 [classes,H,W]; background elsewhere."""
    assert people.part_probs is not None
    planes = people.part_probs[index].astype(np.float32) / 255
    found = np.zeros((len(planes), *people.image_size), np.float32)
    found[0] = 1
    window = pixel_window(people.boxes[index], people.image_size)
    found[:, *window.slices] = [interpolate(plane, people.boxes[index], window) for plane in planes]
    return found


def label(analyzer: Analyzer, image: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Labels uint8 [H,W] of the main person of an RGB picture (255: unsure pixel); None when there is doubt."""
    options = Options(tasks=frozenset({"parsing"}), confidence=_LEAST_SCORE, part_probs=True)
    plain = analyzer.analyze(image, options)
    mirrored = analyzer.analyze(np.ascontiguousarray(image[:, ::-1]), options)
    if not len(plain) or not len(mirrored):
        return None
    width = image.shape[1]
    back = mirrored.boxes[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32) + np.array([width, 0, width, 0])
    main = int(np.argmax(plain.scores * np.sqrt(np.prod(plain.boxes[:, 2:] - plain.boxes[:, :2], axis=1))))
    overlaps = box_iou(plain.boxes[main : main + 1], back.astype(np.float32))[0]
    if overlaps.max() < _LEAST_OVERLAP:
        return None
    flip = plain.taxonomy.flip_table()
    other = probability_map(mirrored, int(overlaps.argmax()))[flip][:, :, ::-1]
    mean = (probability_map(plain, main) + other) / 2
    labels = np.asarray(mean.argmax(0), np.uint8)
    labels[mean.max(0) < _SURE] = IGNORE_LABEL
    # unsure pixels far from the person are background, which needs no 255
    box = plain.boxes[main].round().astype(int)
    outside = np.ones(labels.shape, bool)
    outside[max(box[1], 0) : box[3], max(box[0], 0) : box[2]] = False
    labels[outside & (labels == IGNORE_LABEL)] = 0
    return labels


@dataclass(frozen=True)
class Written:
    """What `write_labels` has done.

    Attributes:
        kept: how many photos were sure enough.
        broken: a sentence for each photo that cannot be read, naming it.
    """

    kept: int
    broken: tuple[str, ...]


def write_labels(
    analyzer: Analyzer, photos: Sequence[Path], out: Path, progress: Iterable[Path] | None = None
) -> Written:
    """Label photos into `out`/STEM.png. Photos that cannot be read are left out.

    The model sees a photo upright, as its EXIF says. The map is turned back to the pixels as stored, which training
    reads.

    Raises:
        DatasetError: there are no photos.
        OutputError: a map could not be written.
    """
    if not photos:
        raise DatasetError("no JPEG photos to label; point --photos at a folder that has some")
    make_folder(out)
    kept, broken = 0, []
    for path in progress or photos:
        try:
            image, turn = _read(path)
        except DatasetError as error:
            broken.append(str(error))
            continue
        labels = label(analyzer, turn_upright(image, turn))
        if labels is not None and (labels > 0).any():
            write_png(out / f"{path.stem}.png", turn_upright(labels, _BACK.get(turn, turn)))
            kept += 1
    return Written(kept, tuple(broken))


def _read(path: Path) -> tuple[NDArray[np.uint8], int]:
    """(pixels as stored, EXIF orientation) of a JPEG.

    Raises:
        DatasetError: missing, or no JPEG.
    """
    image = read_jpeg(path)
    try:
        return image, peek(path.read_bytes()).orientation
    except ParsingRCNNError as error:
        raise DatasetError(f"{path}: not a JPEG that can be read ({error})") from error
