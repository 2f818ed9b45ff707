"""Maps of the whole picture, pasted from the maps of people's boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.maps.overlaps import assign_contested_pixels

if TYPE_CHECKING:
    from parsing_rcnn.people import People

Instances = NDArray[np.uint8] | NDArray[np.uint16]
"""[H,W]: 0 for nobody, else the person's index plus one; uint16 with more than 255 people."""


def masks(people: People, exact: bool = False) -> NDArray[np.bool_]:
    """Everybody's silhouette in the whole picture. People who overlap share pixels, as in `People.mask`.

    Args:
        exact: as in `People.mask`.

    Returns:
        bool [n,H,W], one byte for each pixel and person. `People.to_coco` has the same as run lengths.

    Raises:
        ValueError: neither parts nor IUV were computed.
    """
    canvas = np.zeros((len(people), *people.image_size), dtype=np.bool_)
    for index in range(len(people)):
        canvas[index][people.window(index).slices] = people.mask(index, exact)[0]
    return canvas


def label_map(people: People, exact: bool = False) -> NDArray[np.uint8]:
    """Part labels. Where people overlap, `parsing_rcnn.maps.overlaps.assign_contested_pixels` decides who is in front.

    Args:
        exact: as in `People.crop`.

    Returns:
        uint8 [H,W] class ids.

    Raises:
        ValueError: parts were not computed.
    """
    canvas = np.zeros(people.image_size, dtype=np.uint8)
    crops = [people.crop(index, exact)[0] for index in range(len(people))]
    assign_contested_pixels(people, crops)
    for index, labels in enumerate(crops):
        np.copyto(canvas[people.window(index).slices], labels, where=labels > 0)
    return canvas


def instance_map(people: People, exact: bool = False) -> Instances:
    """Whose each pixel is; of two people the same one is in front as in `label_map`.

    Args:
        exact: as in `People.mask`.

    Returns:
        [H,W], 0 for nobody, else the person's index plus one: uint8, or uint16 with more than 255 people.

    Raises:
        ValueError: neither parts nor IUV were computed.
    """
    return instances_of(people, [people.mask(index, exact)[0] for index in range(len(people))])


def instances_of(people: People, silhouettes: list[NDArray[np.bool_]]) -> Instances:
    """`instance_map` of everybody's silhouette over their window; those are changed in place."""
    assign_contested_pixels(people, silhouettes)
    canvas = nobody(people)
    for index, mask in enumerate(silhouettes):
        canvas[people.window(index).slices][mask] = index + 1
    return canvas


def iuv_map(people: People, exact: bool = False) -> tuple[NDArray[np.uint8], Instances]:
    """IUV; of two people the same one is in front as in `label_map`, where both have I > 0.

    Args:
        exact: as in `People.iuv_crop`.

    Returns:
        (uint8 [H,W,3] of I, U times 255, V times 255; instances [H,W] as in `instance_map`, by I > 0).

    Raises:
        ValueError: IUV was not computed.
    """
    canvas, instances = np.zeros((*people.image_size, 3), dtype=np.uint8), nobody(people)
    crops = [people.iuv_crop(index, exact)[0] for index in range(len(people))]
    assign_contested_pixels(people, [iuv[0] for iuv in crops])
    for index, iuv in enumerate(crops):
        where = people.window(index).slices
        mask = iuv[0] > 0
        # np.copyto with such a mask is 30 times as slow
        cv2.copyTo(cv2.merge(list(iuv)), mask.view(np.uint8), canvas[where])
        instances[where][mask] = index + 1
    return canvas, instances


def inds_map(people: People, exact: bool = False, of_iuv: Instances | None = None) -> Instances:
    """INDS: whose each pixel is by the charts, as in `iuv_map`, if their head is trained; else by the parts, as in
    `instance_map`.

    Args:
        exact: as in `People.iuv_crop` and `People.mask`.
        of_iuv: the instances of `iuv_map`, where they were made already.

    Raises:
        ValueError: neither parts nor IUV were computed.
    """
    if "densepose" not in people.silhouette_tasks:
        return instance_map(people, exact)
    return iuv_map(people, exact)[1] if of_iuv is None else of_iuv


def nobody(people: People) -> Instances:
    """An empty instance map of these people's picture."""
    if len(people) < 256:
        return np.zeros(people.image_size, dtype=np.uint8)
    return np.zeros(people.image_size, dtype=np.uint16)
