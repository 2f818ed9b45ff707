"""Who is in front where people overlap: one rule for every map and picture."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from parsing_rcnn import draw
from parsing_rcnn.codecs import npz
from parsing_rcnn.maps.overlaps import visible
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP

SIZE = (60, 100)
SIDE = 20


def block(left: int, right: int, top: int = 0, bottom: int = SIDE, label: int = 1) -> NDArray[np.uint8]:
    """A map with one rectangle of cells."""
    cells = np.zeros((SIDE, SIDE), np.uint8)
    cells[top:bottom, left:right] = label
    return cells


def crowd(*found: tuple[list[float], float, NDArray[np.uint8]], **fields: Any) -> People:
    """People of (box, score, parts); what is I > 0 of them is their silhouette too."""
    boxes, scores, parts = zip(*found, strict=True)
    cells = np.stack(parts)
    iuv = np.zeros((len(found), 3, SIDE, SIDE), np.uint8)
    iuv[:, 0] = cells
    whole = {"parts": cells, "iuv": iuv, **fields}
    return People(np.array(boxes, np.float32), np.array(scores, np.float32), SIZE, **whole)


def seam(near: float, far: float) -> People:
    """Two people whose silhouettes meet at x = 40: the first reaches 6 pixels too far, the second ends where it
    should, or the other way about: whoever is wrong is wrong at the rim."""
    return crowd(
        ([10, 0, 50, 60], near, block(0, 18, label=1)),  # to x = 46
        ([30, 0, 90, 60], far, block(0, 20, label=2)),  # from x = 30
    )


@pytest.mark.parametrize("scores", [(0.9, 0.6), (0.6, 0.9)])
def test_a_pixel_belongs_to_whoever_it_lies_deeper_in(scores: tuple[float, float]) -> None:
    row = seam(*scores).instance_map()[30]
    assert (row[10:30] == 1).all()
    assert (row[30:35] == 1).all()  # deep in the first, at the rim of the second
    assert (row[43:90] == 2).all()
    assert np.count_nonzero(np.diff(row[10:90].astype(int))) == 1  # one seam


@pytest.mark.parametrize("scores", [(0.9, 0.6), (0.6, 0.9)])
def test_a_pixel_is_of_the_deeper_one_however_little_deeper(scores: tuple[float, float]) -> None:
    """Cells of a pixel: beside the seam depths differ by a cell, 1/128 of a map's side."""
    boxes = np.array([[0, 0, 128, 128], [64, 0, 192, 128]], np.float32)
    parts = np.ones((2, 128, 128), np.uint8)
    row = People(boxes, np.array(scores, np.float32), (128, 192), parts=parts).instance_map()[64]
    assert row.tolist() == [1] * 96 + [2] * 96


@pytest.mark.parametrize("scores", [(0.9, 0.6), (0.6, 0.9)])
def test_a_child_in_front_of_a_grown_up_is_seen_whatever_the_scores(scores: tuple[float, float]) -> None:
    people = crowd(
        ([40, 20, 60, 60], scores[0], block(2, 18, label=1)),
        ([10, 0, 66, 60], scores[1], block(0, 14, label=2)),  # to x = 49
    )
    owner = people.instance_map()
    assert (owner[40, 46:58] == 1).all()
    assert (owner[40, 12:40] == 2).all()
    assert (owner[10, 12:48] == 2).all()  # above the child's head


@pytest.mark.parametrize("exact", [False, True])
def test_every_map_and_picture_agrees_on_who_is_in_front(exact: bool) -> None:
    cells = seam(0.6, 0.9).parts
    assert cells is not None
    probabilities = (255 * (np.arange(len(CIHP))[None, :, None, None] == cells[:, None])).astype(np.uint8)
    people = replace(seam(0.6, 0.9), part_probs=probabilities)
    owner = people.instance_map(exact)
    assert np.array_equal(people.label_map(exact), owner)  # labels are 1 and 2 here
    values, inds = people.iuv_map(exact)
    assert np.array_equal(values[..., 0], inds)
    claimed = people.masks(exact).all(axis=0) & (people.iuv_map(exact)[1] > 0)
    assert claimed.any()
    assert np.array_equal(inds[claimed], owner[claimed])
    drawn = draw.parts(people, smooth=False)
    assert np.array_equal(drawn, CIHP.palette[people.label_map()])
    middle = (slice(20, 40), slice(None))  # away from the smooth picture's round corners
    same = (draw.parts(people)[middle] == drawn[middle]).all(axis=-1)
    assert same[:, :44].all()
    photo = np.full((*SIZE, 3), 90, np.uint8)
    painted = draw.overlay(photo, people, alpha=1, boxes=False, scores=False, outlines=False, smooth=False)
    assert np.array_equal(painted[owner > 0], CIHP.palette[owner][owner > 0])
    stretched = draw.iuv(people)[..., 0]
    assert (stretched[30, 31:35] == 255 // 24).all()
    assert (stretched[30, 50:85] == 2 * 255 // 24).all()


def test_silhouettes_that_meet_in_a_corner_cost_no_more_than_the_corner() -> None:
    """Boxes overlap by half; depths of all that the boxes share would be twice the memory, and most of the time."""

    def pair(top: int) -> People:
        boxes = np.array([[100, 0, 700, 600], [400, 0, 1000, 600]], np.float32)
        parts = np.stack([block(0, 14, 0, 5, label=1), block(0, 20, top, 20, label=2)])  # to y = 150
        return People(boxes, np.array([0.9, 0.6], np.float32), (600, 1000), parts=parts)

    def owners(people: People) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], int]:
        people.instance_map()  # what is imported, is
        tracemalloc.start()
        owner = people.instance_map()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return owner, peak

    people = pair(3)  # from y = 90
    owner, peak = owners(people)
    assert np.array_equal(owner > 0, people.masks().any(axis=0))
    assert {1, 2} == set(np.unique(owner[90:150, 400:520]))
    _, apart = owners(pair(6))
    assert peak < 1.2 * apart


def test_the_order_of_the_people_and_a_round_trip_change_nobody() -> None:
    people = crowd(
        ([5, 0, 45, 60], 0.9, block(0, 19, label=1)),
        ([25, 0, 75, 60], 0.8, block(1, 19, label=2)),
        ([35, 5, 95, 60], 0.7, block(2, 20, label=3)),
    )
    labels = people.label_map()
    assert set(np.unique(labels[30])) == {0, 1, 2, 3}
    for order in permutations(range(3)):
        assert np.array_equal(people.select(order).label_map(), labels)
    sent = npz.decode(npz.encode(people))
    assert np.array_equal(sent.label_map(), labels)
    assert np.array_equal(sent.instance_map(), people.instance_map())


def test_three_people_leave_no_hole_and_share_no_pixel() -> None:
    people = crowd(
        ([5, 0, 65, 60], 0.7, block(0, 20, label=1)),
        ([25, 0, 75, 60], 0.9, block(0, 20, label=2)),
        ([20, 10, 95, 50], 0.8, block(0, 20, label=3)),
    )
    owner = people.instance_map()
    assert np.array_equal(owner > 0, people.masks().any(axis=0))
    assert np.array_equal(people.label_map(), owner)


def test_of_equal_depths_the_higher_score_is_in_front_and_of_equal_scores_the_first() -> None:
    box = [10.0, 0.0, 50.0, 60.0]
    for scores, winner in (((0.6, 0.9), 2), ((0.9, 0.6), 1), ((0.5, 0.5), 1)):
        people = crowd((box, scores[0], block(0, 20, label=1)), (box, scores[1], block(0, 20, label=2)))
        assert (people.label_map()[:, 10:50] == winner).all()


def test_one_person_found_twice_stays_whole() -> None:
    # the upper two thirds of a body as a second, surer person: deeper in the other at the waist, where its own map ends
    whole = block(4, 16, label=1)
    upper = block(3, 17, label=2)
    people = crowd(([20, 0, 60, 60], 0.6, whole), ([22, 0, 58, 40], 0.8, upper))
    shared = people.masks().all(axis=0)
    assert shared.any()
    assert (people.label_map()[shared] == 2).all()
    swapped = replace(people, scores=np.array([0.8, 0.6], np.float32))
    assert (swapped.label_map()[shared] == 1).all()


@pytest.mark.parametrize("between", [0.95, 0.8, 0.5])
def test_the_doubtful_half_of_one_person_found_twice_hides_nobody(between: float) -> None:
    """The third lies deeper than the surer half, and the other half, which lies deepest, would win it back."""
    wide = ([10, 0, 90, 60], 0.7, block(0, 20, label=2))
    narrow = ([10, 0, 56, 60], 0.9, block(0, 20, label=1))  # at its right edge the wide one is deeper
    third = ([44, 0, 60, 60], between, block(0, 20, label=3))
    twice = crowd(wide, narrow)
    shared = twice.masks().all(axis=0)
    assert (twice.label_map()[shared] == 1).all()
    people = crowd(wide, narrow, third)
    assert not (people.label_map()[shared] == 2).any()
    row = people.label_map()[30]
    beside = crowd(narrow, third).label_map()[30]
    assert {1, 3} == set(beside[44:56].tolist())
    assert np.array_equal(row[10:56], beside[10:56])  # as if the doubtful half were not there


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 30), st.integers(20, 50), st.integers(20, 30)),
        min_size=3,
        max_size=5,
    ),
    st.permutations([0.9, 0.8, 0.7, 0.6, 0.5]),
)
def test_whoever_is_in_front_of_many_is_in_front_of_each(places: list[tuple[int, ...]], scores: list[float]) -> None:
    boxes = [[float(x), float(y), float(x + width), float(y + height)] for x, y, width, height in places]
    people = crowd(*[(box, score, block(0, 20)) for box, score in zip(boxes, scores, strict=False)])
    masks, owner = people.masks(), people.instance_map()
    ahead = people.back_to_front()[::-1]
    left = masks.copy()  # to whom a pixel may belong once nobody is there twice
    beaten = np.zeros_like(masks)
    for place, back in enumerate(ahead):
        for front in ahead[:place]:
            both = masks[front] & masks[back]
            overlap = both.sum() / (masks[front] | masks[back]).sum()
            assume(not 0.4 < overlap < 0.5)
            if overlap > 0.45:
                left[back] &= ~left[front]
    for front, back in permutations(range(len(people)), 2):
        before = people.select([front, back]).instance_map()
        beaten[back] |= left[front] & left[back] & (before == 1)
    for index in range(len(people)):
        assert np.array_equal(owner == index + 1, left[index] & ~beaten[index])


@pytest.mark.parametrize("scores", [(0.9, 0.6), (0.6, 0.9)])
def test_two_who_embrace_both_stay(scores: tuple[float, float]) -> None:
    """They lean on each other in one box, with a third of their union in common: more than a rim, and still two."""
    y, x = np.mgrid[:SIDE, :SIDE]
    left, right = (x < y + 4).astype(np.uint8), 2 * (x > y - 4).astype(np.uint8)
    box = [10.0, 0.0, 70.0, 60.0]
    people = crowd((box, scores[0], left), (box, scores[1], right))
    masks = people.masks()
    both = masks.all(axis=0)
    assert 0.2 < both.sum() / masks.any(axis=0).sum() < 0.44
    assert 0.35 < (people.instance_map()[both] == 2).mean() < 0.65
    once = replace(people, parts=np.stack([left, 2 * (x > y - 8).astype(np.uint8)]), iuv=None)
    both = once.masks().all(axis=0)
    assert 0.46 < both.sum() / once.masks().any(axis=0).sum() < 0.55  # the same, a little closer: one found twice
    assert (once.instance_map()[both] == 1 + int(np.argmax(scores))).all()


def test_two_who_stand_close_side_by_side_are_not_one_found_twice() -> None:
    # 20 x 60 pixels each, 10 x 60 in common: a third of their union; each has the half of it that is deeper in theirs
    close = crowd(
        ([10, 0, 30, 60], 0.9, block(0, 20, label=1)),
        ([20, 0, 40, 60], 0.8, block(0, 20, label=2)),
    )
    assert close.instance_map()[30, 10:40].tolist() == [1] * 15 + [2] * 15


@pytest.mark.parametrize("first", [0, 1])
def test_somebody_too_thin_for_a_pixel_shares_none_with_whoever_begins_beside(first: int) -> None:
    # of 0.2 pixels one is kept, which is the first of the box beside; it lies as deep in both, and one of them is surer
    wide = ([10.3, 0, 30, 60], 0.9, block(0, 20, label=1))
    thin = ([10.0, 0, 10.2, 60], 0.5, block(0, 20, label=2))
    people = crowd(thin, wide) if first else crowd(wide, thin)
    assert people.instance_map()[30, 10:14].tolist() == [first + 1] * 4


def test_boxes_that_overlap_without_a_common_pixel_change_nothing() -> None:
    people = crowd(
        ([10, 0, 50, 60], 0.6, block(0, 8, label=1)),
        ([30, 0, 90, 60], 0.9, block(6, 20, label=2)),
    )
    labels = people.label_map()
    for index in range(2):
        alone, _ = people.crop(index)
        assert np.array_equal(labels[people.window(index).slices][alone > 0], alone[alone > 0])
    assert np.array_equal(people.instance_map(), labels)


@pytest.mark.parametrize("kept", ["parts", "iuv", "part_probs"])
def test_any_map_alone_is_enough(kept: str) -> None:
    whole = seam(0.6, 0.9)
    assert whole.parts is not None
    classes = np.arange(len(CIHP))[:, None, None]
    maps = {
        "parts": whole.parts,
        "iuv": whole.iuv,
        "part_probs": np.where(classes == whole.parts[:, None], 255, 0).astype(np.uint8),
    }
    people = replace(whole, **{name: array if name == kept else None for name, array in maps.items()})
    assert np.array_equal(people.instance_map(exact=kept == "part_probs"), whole.instance_map())


def test_maps_of_different_sides_are_compared_by_their_share() -> None:
    people = seam(0.6, 0.9)
    assert people.iuv is not None
    finer = replace(people, iuv=people.iuv.repeat(2, axis=2).repeat(2, axis=3))
    assert (finer.instance_map() != people.instance_map()).mean() < 0.01


@pytest.mark.parametrize("scores", [(0.9, 0.6), (0.6, 0.9)])
def test_visible_cells_are_those_of_the_maps_of_the_picture(scores: tuple[float, float]) -> None:
    people = seam(*scores)
    seen = visible(people)
    assert (seen.masks().sum(axis=0) > 1).sum() <= 3 * SIZE[0]  # a cell's width along the seam
    assert (seen.instance_map() != people.instance_map()).sum() <= 3 * SIZE[0]
    assert seen.iuv is not None
    assert seen.parts is not None
    assert np.array_equal(seen.iuv[:, 0], seen.parts)
    assert people.parts is not None
    assert np.array_equal(people.parts, seam(*scores).parts)  # the same as before


def test_who_overlaps_nobody_keeps_every_cell() -> None:
    apart = crowd(([0, 0, 30, 60], 0.6, block(0, 20)), ([40, 0, 90, 60], 0.9, block(0, 20)))
    assert visible(apart) is apart
    small = crowd(([0, 0, 7, 9], 0.6, block(9, 10)), ([5, 0, 90, 60], 0.9, block(2, 20)))  # cells smaller than pixels
    assert np.array_equal(visible(small).parts, small.parts)


def test_visible_cells_of_people_who_begin_below_the_top_of_the_picture() -> None:
    parts = np.stack([block(0, SIDE, bottom=18, label=1), block(0, SIDE, label=2)])
    boxes = np.array([[0, 10, 60, 50], [0, 30, 60, 90]], np.float32)  # cells of 2 rows, to row 46; of 3, from row 30
    seen = visible(People(boxes, np.array([0.6, 0.9], np.float32), (100, 60), parts=parts)).parts
    assert seen is not None
    # as deep from either edge in row 39.6: (46 - y) / 2 = (y - 30) / 3; the last middles above it are at 39 and 37.5
    assert seen[0, :, 10].tolist() == [1] * 15 + [0] * 5
    assert seen[1, :, 10].tolist() == [0] * 3 + [2] * 17
