"""No array of `People` is lost: when some are selected, joined from two sizes, stored, or sent as tensors."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields

import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.codecs import npz
from parsing_rcnn.inference.two_sizes import united_people
from parsing_rcnn.models import SecondSize
from parsing_rcnn.people import PER_PERSON, People
from parsing_rcnn.tensors import FIELDS, from_tensors, to_tensors


def everything(count: int = 3) -> People:
    """People with every array there is, each person's unlike the others'."""
    rng = np.random.default_rng(0)
    corners = np.arange(count, dtype=np.float32)[:, None] * 20 + np.array([0, 0, 10, 16], np.float32)
    iuv = rng.integers(0, 256, (count, 3, 8, 8), np.uint8)
    iuv[:, 0] %= 25
    return People(
        corners,
        np.linspace(0.9, 0.6, count, dtype=np.float32),
        (80, 90),
        parts=rng.integers(0, 20, (count, 8, 8), np.uint8),
        part_scores=rng.random((count, 20), np.float32),
        part_probs=rng.integers(0, 256, (count, 20, 8, 8), np.uint8),
        iuv=iuv,
        iuv_scores=rng.random((count, 25), np.float32),
        tracker_id=np.arange(1, count + 1, dtype=np.int32),
    )


def assert_same(found: dict[str, NDArray[np.generic]], people: People, but: Collection[str] = ()) -> None:
    assert found.keys() == set(PER_PERSON) - set(but)
    for name, array in found.items():
        np.testing.assert_array_equal(array, getattr(people, name))
        assert array.dtype == getattr(people, name).dtype


def test_the_table_names_every_array_with_a_row_for_each_person() -> None:
    people = everything()
    arrays = [field.name for field in fields(People) if isinstance(getattr(people, field.name), np.ndarray)]
    assert list(PER_PERSON) == arrays
    assert [field.name for field in fields(People) if "NDArray" in str(field.type)] == arrays


def test_whoever_is_selected_keeps_every_array() -> None:
    people = everything()
    for index, person in enumerate(people):
        assert_same({name: array[index : index + 1] for name, array in people.per_person().items()}, person)


def test_tensors_and_back() -> None:
    people = everything()
    tensors = to_tensors(people)
    assert tensors.keys() == {*FIELDS, "IMAGE_SIZE"}
    assert tensors["IMAGE_SIZE"].tolist() == [80, 90]
    assert tensors["IMAGE_SIZE"].dtype == np.int32
    assert_same(from_tensors(tensors, (80, 90)).per_person(), people, but={"tracker_id"})


def test_what_was_not_computed_has_no_tensor_and_needs_none() -> None:
    boxes_only = everything().empty((80, 90))
    assert to_tensors(boxes_only).keys() == {"BOXES", "SCORES", "IMAGE_SIZE"}
    found = from_tensors({**to_tensors(boxes_only), "COUNT": np.zeros(1)}, (80, 90), untrained=frozenset({"parsing"}))
    assert (len(found), found.parts, found.iuv, found.untrained) == (0, None, None, {"parsing"})
    with pytest.raises(KeyError, match="SCORES"):
        from_tensors({"BOXES": boxes_only.boxes}, (80, 90))


def test_an_archive_has_all_but_the_probabilities() -> None:
    people = everything()
    assert_same(npz.decode(npz.encode(people)).per_person(), people, but={"part_probs"})


def test_two_sizes_are_joined_with_every_array() -> None:
    people = everything()
    joined = united_people(people, people.select([]), SecondSize(((128, 128),), 1.0), ((96, 96),), 0.1, 64)
    assert_same(joined.per_person(), people, but={"tracker_id"})
