"""Average precision of keypoints by object keypoint similarity (OKS), by the rules of COCO (pycocotools' COCOeval)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.metrics.matching import (
    AREAS,
    COCO_IOUS,
    MOST_DETECTIONS,
    Outcome,
    by_score,
    interpolated_precision,
    judged,
    match,
    within,
)

# how far annotators of COCO differ, over the square root of a person's area: nose, eyes, ears, shoulders, elbows,
# wrists, hips, knees, ankles
SIGMAS = np.array([0.026, *np.repeat([0.025, 0.035, 0.079, 0.072, 0.062, 0.107, 0.087, 0.089], 2)])


def object_keypoint_similarity(
    found: NDArray[np.floating],
    truth: NDArray[np.floating],
    boxes: NDArray[np.floating],
    areas: NDArray[np.floating],
) -> NDArray[np.float64]:
    """OKS float64 [n,m] in 0..1: the mean over a person's labelled keypoints of exp(-d^2 / (2 area k^2)), k = 2 sigma.

    Somebody without labelled keypoints is measured by how far all keypoints lie outside of the box grown to three times
    its sides: whoever is found in there takes this person, who does not count.

    Args:
        found: [n,17,2] or more columns, x and y of the detections.
        truth: [m,17,3], x, y and visibility (0: not labelled) of the people.
        boxes: [m,4] and areas: [m], pixels, of the people.
    """
    out = np.zeros((len(found), len(truth)))
    places = np.asarray(found, np.float64)[..., :2]
    for column, (own, box, area) in enumerate(zip(np.asarray(truth, np.float64), boxes, areas, strict=True)):
        labelled = own[:, 2] > 0
        if labelled.any():
            away = (places - own[:, :2])[:, labelled]
            scale = 2 * SIGMAS[labelled]
        else:
            size = box[2:] - box[:2]
            away = np.maximum(0, box[:2] - size - places) + np.maximum(0, places - (box[2:] + size))
            scale = 2 * SIGMAS
        error = (away**2).sum(2) / (scale**2 * (area + np.spacing(1)) * 2)
        out[:, column] = np.exp(-error).mean(1)
    return out


@dataclass(frozen=True, eq=False)
class PictureKeypoints:
    """Detections of a picture against its annotated people; `compare` makes it.

    Attributes:
        scores: float [n].
        similarity: float [n,m], OKS of each detection with each person.
        found_areas: float [n], pixels, of the boxes around each detection's keypoints.
        areas: float [m], pixels, of the people.
        unlabelled: bool [m], people without labelled keypoints and crowds: nobody has to find them.
        crowd: bool [m]: takes any number of detections.
    """

    scores: NDArray[np.floating]
    similarity: NDArray[np.floating]
    found_areas: NDArray[np.floating]
    areas: NDArray[np.floating]
    unlabelled: NDArray[np.bool_]
    crowd: NDArray[np.bool_]


def compare(
    scores: NDArray[np.floating],
    found: NDArray[np.floating],
    truth: NDArray[np.floating],
    boxes: NDArray[np.floating],
    areas: NDArray[np.floating],
    crowd: NDArray[np.bool_],
) -> PictureKeypoints:
    """One picture: scores [n] and keypoints [n,17,2+] of the detections, and the truth of [m] people.

    Args:
        truth: [m,17,3], x, y and visibility; boxes: [m,4]; areas: [m] pixels (COCO's are those of the silhouettes);
            crowd: bool [m].

    Raises:
        ValueError: not 17 keypoints.
    """
    found = np.asarray(found, np.float64)
    truth = np.asarray(truth, np.float64)
    for name, keypoints in (("found", found), ("truth", truth)):
        if keypoints.ndim != 3 or keypoints.shape[1] != len(SIGMAS):
            raise ValueError(
                f"{name}: keypoints are [people,{len(SIGMAS)},...], these have the shape {keypoints.shape}"
            )
    extent = found[..., :2].max(1) - found[..., :2].min(1)
    unlabelled = np.asarray(crowd, bool) | ~(truth[..., 2] > 0).any(1)
    similarity = object_keypoint_similarity(found, truth, boxes, areas)
    return PictureKeypoints(scores, similarity, extent.prod(1), areas, unlabelled, np.asarray(crowd, bool))


def judge(picture: PictureKeypoints, threshold: float, area: tuple[float, float] = AREAS["all"]) -> Outcome:
    """One picture by the rules of COCO, OKS in place of IoU and 20 detections a picture."""
    order = by_score(picture.scores, MOST_DETECTIONS)
    counts = ~picture.unlabelled & within(picture.areas, area)
    taken = match(picture.similarity[order], counts, picture.crowd, threshold)
    return judged(picture.scores[order], taken, counts, ~within(picture.found_areas[order], area))


def keypoint_average_precision(
    pictures: Sequence[PictureKeypoints], threshold: float | None = None, *, area: tuple[float, float] = AREAS["all"]
) -> float:
    """Average precision of a set with OKS in place of IoU.

    Args:
        pictures: of the set.
        threshold: the least OKS; None: the mean over .50, .55 ... .95 (COCO's AP).
        area: least and greatest area (pixels) of people who count, one of `AREAS`; COCO gives medium and large.

    Returns:
        0..1, or NaN when there is nobody to find.
    """
    if threshold is None:
        return float(np.mean([keypoint_average_precision(pictures, t, area=area) for t in COCO_IOUS]))
    return interpolated_precision([judge(picture, threshold, area) for picture in pictures])
