"""Run lengths against pycocotools, byte for byte."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from parsing_rcnn.codecs import rle

coco = pytest.importorskip("pycocotools.mask")

masks = st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(lambda s: arrays(np.bool_, s))


def golden(mask: NDArray[np.bool_]) -> dict[str, object]:
    encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


@given(masks)
def test_encode_is_what_pycocotools_writes(mask: NDArray[np.bool_]) -> None:
    assert rle.encode(mask) == golden(mask)


@given(masks)
def test_round_trip_and_area(mask: NDArray[np.bool_]) -> None:
    encoded = rle.encode(mask)
    assert np.array_equal(rle.decode(encoded), mask)
    assert rle.area(encoded) == mask.sum()


@given(masks, *(st.integers(0, 5) for _ in range(4)))
def test_a_crop_is_placed_without_painting(
    mask: NDArray[np.bool_], left: int, top: int, right: int, bottom: int
) -> None:
    frame = np.pad(mask, ((top, bottom), (left, right)))
    assert rle.shift(rle.encode(mask), (left, top), frame.shape) == golden(frame)
    assert rle.encode_at(mask, (left, top), frame.shape) == golden(frame)


@given(
    st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(lambda s: arrays(np.uint8, s, elements=st.integers(0, 4)))
)
def test_all_classes_in_one_pass_are_each_by_itself(labels: NDArray[np.uint8]) -> None:
    assert rle.encode_classes(labels) == {k: golden(labels == k) for k in np.unique(labels).tolist() if k}


def test_counts_beyond_16_bits() -> None:
    mask = np.zeros((3000, 2000), np.bool_)
    mask[2999, 1999] = mask[0, 0] = True
    assert rle.encode(mask) == golden(mask)
    assert np.array_equal(rle.decode(rle.encode(mask)), mask)


@pytest.mark.parametrize("value", [False, True])
def test_uniform_masks(value: bool) -> None:
    mask = np.full((7, 5), value)
    assert rle.encode(mask) == golden(mask)
    assert rle.area(rle.encode(mask)) == 35 * value


def test_bytes_from_pycocotools_are_read() -> None:
    mask = np.eye(9, dtype=np.uint8)
    assert np.array_equal(rle.decode(coco.encode(np.asfortranarray(mask))), mask)


@pytest.mark.parametrize(("offset", "size"), [((-1, 0), (9, 9)), ((0, 6), (9, 9)), ((6, 0), (9, 9)), ((0, 0), (3, 9))])
def test_a_crop_outside_the_frame_is_refused(offset: tuple[int, int], size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="leaves the"):
        rle.shift(rle.encode(np.ones((4, 4))), offset, size)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_damaged_strings_are_errors_not_crashes(counts: str) -> None:
    try:
        mask = rle.decode({"size": [4, 4], "counts": counts})
    except ValueError:
        return
    assert mask.shape == (4, 4)


@pytest.mark.parametrize("read", [rle.decode, rle.area, lambda mask: rle.shift(mask, (0, 0), (2, 2))])
def test_a_negative_count_is_damage_though_all_together_fill_the_size(read: Callable[[rle.RLE], object]) -> None:
    with pytest.raises(ValueError, match="do not fill 2x2"):
        read({"size": [2, 2], "counts": "3O2"})  # 3, -1 and 2 pixels


def test_a_mask_has_two_dimensions() -> None:
    with pytest.raises(ValueError, match=r"\[H,W\]"):
        rle.encode(np.zeros((1, 2, 3)))
