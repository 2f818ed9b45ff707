"""How far answers on held-out photos stay the same when a photo is mirrored, or cropped by a tenth on each side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.analyzer import Analyzer, Options
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP
from training.data.iuv import mirror_values
from training.data.sources import read_jpeg
from training.evaluation.common import SURE
from training.progress import Progress

_CROP = 0.1  # of each side, cut off all around


def label_maps(analyzer: Analyzer, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(part labels uint8 [H,W], DensePose parts uint8 [H,W]) of everybody found in an RGB picture."""
    people = analyzer.analyze(np.ascontiguousarray(image), Options(confidence=SURE))
    return people.label_map(), part_map(people)


def part_map(people: People) -> NDArray[np.uint8]:
    """DensePose parts uint8 [H,W] of everybody, people with higher scores in front."""
    iuv = np.zeros(people.image_size, np.uint8)
    for index in people.back_to_front():
        part = people.iuv_crop(index)[0][0]
        np.copyto(iuv[people.window(index).slices], part, where=part > 0)
    return iuv


def agreement(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Of the pixels where either map shows somebody, the share with the same value in both; NaN if there are none."""
    either = (a > 0) | (b > 0)
    return float((a == b)[either].mean()) if either.any() else float("nan")


def measure_consistency(analyzer: Analyzer, photos: Sequence[Path], progress: Progress) -> dict[str, Any]:
    """Mean agreement of each photo's answer with that of its mirror image and of its middle 80 %."""
    flip = CIHP.flip_table()
    rows = []
    for path in progress(photos, "consistency"):
        image = read_jpeg(path)
        parts, iuv = label_maps(analyzer, image)
        mirrored_parts, mirrored_iuv = label_maps(analyzer, image[:, ::-1])
        back = mirror_values(np.repeat(mirrored_iuv[:, ::-1, None], 3, 2))[..., 0]
        top, left = int(image.shape[0] * _CROP), int(image.shape[1] * _CROP)
        middle = np.s_[top : image.shape[0] - top, left : image.shape[1] - left]
        cropped_parts, cropped_iuv = label_maps(analyzer, image[middle])
        rows.append(
            (
                agreement(parts, flip[mirrored_parts[:, ::-1]]),
                agreement(iuv, back),
                agreement(parts[middle], cropped_parts),
                agreement(iuv[middle], cropped_iuv),
            )
        )
    means = np.nanmean(np.array(rows), 0) if rows else [float("nan")] * 4
    names = ("flip_parts", "flip_iuv", "crop_parts", "crop_iuv")
    return {"pictures": len(photos), **{name: float(value) for name, value in zip(names, means, strict=True)}}
