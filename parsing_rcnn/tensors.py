"""`People` as the named tensors that graphs and servers answer with, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.people import PER_PERSON, People

FIELDS = {name.upper(): name for name in PER_PERSON if name != "tracker_id"}
"""Tensor [n,...] -> field of `People`. No graph numbers people, so `tracker_id` has no tensor."""


def from_tensors(tensors: Mapping[str, NDArray[Any]], image_size: tuple[int, int], **fields: Any) -> People:
    """People from their tensors.

    Args:
        tensors: BOXES, SCORES and whatever maps there are, [n,...]; names that are not in `FIELDS` are passed over.
        image_size: (height, width) of the upright original.
        fields: further ones of `People`.

    Raises:
        KeyError: there are no BOXES or no SCORES.
        TypeError, ValueError: as of `People`.
    """
    arrays: dict[str, Any] = {"boxes": tensors["BOXES"], "scores": tensors["SCORES"]}
    arrays |= {field: tensors[name] for name, field in FIELDS.items() if name in tensors}
    return People(image_size=image_size, **arrays, **fields)


def to_tensors(people: People) -> dict[str, NDArray[Any]]:
    """The tensors of people: those of `FIELDS` that were computed, and IMAGE_SIZE int32 [2] (height, width)."""
    arrays = people.per_person()
    tensors = {name: arrays[field] for name, field in FIELDS.items() if field in arrays}
    return {**tensors, "IMAGE_SIZE": np.array(people.image_size, np.int32)}
