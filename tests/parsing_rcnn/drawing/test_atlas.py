"""Textures from several photos of one person: what each shows lies in one atlas."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn import draw
from parsing_rcnn.people import People

RED, BLUE = (200, 30, 40), (20, 60, 220)
Photo = tuple[NDArray[np.uint8], People, int]


def photo(colour: tuple[int, int, int], iuv: NDArray[np.uint8], side: int = 128) -> Photo:
    """A picture of one colour, all over which somebody is, `side` pixels wide and high; behind somebody unseen."""
    who = People(
        np.array([[0, 0, side, side]] * 2, np.float32),
        np.array([0.9, 0.8], np.float32),
        (side, side),
        iuv=np.stack([np.zeros_like(iuv), iuv]),
    )
    return np.full((side, side, 3), colour, np.uint8), who, 1


def all_of(part: int) -> NDArray[np.uint8]:
    """Charts [3,128,128] of one part, over which U and V run from 0 to 1."""
    ramp = np.linspace(0, 255, 128).round().astype(np.uint8)
    return np.stack([np.full((128, 128), part, np.uint8), *np.meshgrid(ramp, ramp[::-1])])


def test_front_and_back_fill_one_atlas() -> None:
    front, back = photo(RED, all_of(2)), photo(BLUE, all_of(1))
    atlas = draw.unwrap(*front, others=[back], side=16)
    golden = np.zeros((6 * 16, 4 * 16, 4), np.uint8)
    golden[:16, :16] = (*BLUE, 255)  # part 1: back of the trunk
    golden[16:32, :16] = (*RED, 255)  # part 2: its front
    np.testing.assert_array_equal(atlas, golden)
    np.testing.assert_array_equal(draw.unwrap(*back, others=iter([front]), side=16), golden)
    assert (draw.unwrap(*front, side=16)[..., 3] > 0).sum() == 16 * 16


def test_what_several_photos_show_is_of_the_first_of_them() -> None:
    right_half = all_of(2)
    right_half[:, :, :64] = 0
    part, whole = photo(RED, right_half), photo(BLUE, all_of(2), side=64)
    both = draw.unwrap(*part, others=[whole, photo((9, 9, 9), all_of(2))], side=16)[16:32, :16]
    golden = np.empty((15, 16, 4), np.uint8)  # the last row is a V of 0 alone
    golden[:, :7], golden[:, 7:] = (*BLUE, 255), (*RED, 255)  # red begins at a U of 64/127, which is 7.6 of 15
    np.testing.assert_array_equal(both[:15], golden)
    assert (draw.unwrap(*whole, others=[part], side=16)[16:32, :16] == [*BLUE, 255]).all()


def test_a_picture_of_other_people_is_refused() -> None:
    image, who, index = photo(RED, all_of(2))
    with pytest.raises(ValueError, match=r"\(100, 128, 3\)"):
        draw.unwrap(image, who, index, others=[(image[:100], who, index)])
