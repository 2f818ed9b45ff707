"""People cut out: who is in the picture, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn import draw
from parsing_rcnn.drawing import cutouts
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP

SIZE = (120, 160)
COAT, DRESS = 7, 6


def disc(radius: float = 14.0, side: int = 32) -> NDArray[np.bool_]:
    y, x = np.indices((side, side)) + 0.5 - side / 2
    return np.asarray(np.hypot(x, y) < radius)


def round_person(box: list[float]) -> People:
    parts = np.where(disc(), COAT, 0).astype(np.uint8)[None]
    return People(np.array([box], np.float32), np.array([0.9], np.float32), SIZE, parts)


def photo(inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Red people before green: whatever is green at an edge is of what is behind."""
    return np.where(inside[..., None], np.uint8([200, 0, 0]), np.uint8([0, 200, 0])).astype(np.uint8)


def circle(radius: float) -> NDArray[np.bool_]:
    """Pixels within a distance of (80, 60)."""
    y, x = np.indices(SIZE) + 0.5
    return np.asarray(np.hypot(x - 80, y - 60) < radius)


def test_edges_are_smooth_and_where_the_silhouette_is() -> None:
    """A disc of radius 14 of 32 cells on 96 pixels: 42 pixels."""
    picture = draw.cutout(photo(circle(42)), round_person([32, 12, 128, 108]))
    assert picture.shape == (*SIZE, 4)
    opacity = picture[..., 3]
    assert (opacity[circle(39)] == 255).all()
    assert not opacity[~circle(45)].any()
    assert opacity.sum() / 255 == pytest.approx(np.pi * 42**2, rel=0.02)
    edge = (opacity > 0) & (opacity < 255)
    # about a pixel wide all around
    assert 0.5 < edge.sum() / (2 * np.pi * 42) < 2
    assert len(np.unique(opacity[edge])) > 20


def test_nothing_behind_can_be_seen_or_brought_back() -> None:
    picture = draw.cutout(photo(circle(43.5)), round_person([32, 12, 128, 108]))
    opacity = picture[..., 3]
    assert not picture[opacity == 0].any()
    edge = (opacity > 0) & (opacity < 255)
    assert (picture[edge][:, :3] == [200, 0, 0]).all()  # the colour within, also where the photo has the green
    assert (draw.cutout(photo(circle(43.5)), People.empty(SIZE)) == 0).all()


def test_the_probabilities_give_the_edge_where_there_are_any() -> None:
    """Three quarters of the box by the labels; by the probabilities the edge is at cell 20 of 32: row 12 + 3 x 20."""
    who = round_person([32, 12, 128, 108])
    ramp = np.clip(128 + 12 * (19.5 - np.arange(32)), 0, 255)
    probabilities = np.zeros((1, len(CIHP), 32, 32), np.uint8)
    probabilities[0, COAT] = ramp[:, None]
    probabilities[0, 0] = 255 - ramp[:, None]
    who = replace(who, part_probs=probabilities)
    opacity = draw.cutout(photo(circle(40)), who)[..., 3]
    column = opacity[:, 80] / 255
    assert column[12:108].sum() == pytest.approx(60, abs=1)
    assert (column[12:70] == 1).all()


def test_charts_do_where_there_are_no_parts_and_boxes_do_not() -> None:
    who = round_person([32, 12, 128, 108])
    iuv = np.zeros((1, 3, 32, 32), np.uint8)
    iuv[0, 0] = np.where(disc(), 2, 0)
    charts = replace(who, parts=None, iuv=iuv)
    assert np.array_equal(draw.cutout(photo(circle(42)), charts), draw.cutout(photo(circle(42)), who))
    with pytest.raises(ValueError, match="no iuv"):
        draw.cutout(photo(circle(42)), replace(who, parts=None))


def test_large_people_are_cut_out_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    who = round_person([20.3, 3.7, 131.2, 118.9])
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    whole = draw.cutout(image, who)
    monkeypatch.setattr(cutouts, "_BAND", 700)
    np.testing.assert_array_equal(draw.cutout(image, who), whole)


def crowd() -> People:
    """Two all over boxes that overlap from column 60 to 84; the first is in front there, up to the middle."""
    cells = np.stack([np.full((32, 32), part, np.uint8) for part in (COAT, DRESS)])
    boxes = np.array([[20, 30, 84, 94], [60, 30, 124, 94]], np.float32)
    return People(boxes, np.array([0.93, 0.41], np.float32), SIZE, cells)


NUMBERED = np.random.default_rng(1).integers(0, 256, (*SIZE, 3)).astype(np.uint8)


def test_cut_is_the_box_with_a_margin_as_far_as_the_picture_goes() -> None:
    who = crowd()
    picture = who.cut(NUMBERED, 0)
    np.testing.assert_array_equal(picture, NUMBERED[30:94, 20:84])
    assert not np.shares_memory(picture, NUMBERED)
    np.testing.assert_array_equal(who.cut(NUMBERED, 0, margin=0.25), NUMBERED[14:110, 4:100])
    np.testing.assert_array_equal(who.cut(NUMBERED, 0, margin=1), NUMBERED[:, :148])
    bare = replace(who, parts=None)
    np.testing.assert_array_equal(bare.cut(NUMBERED, 1), NUMBERED[30:94, 60:124])
    for margin in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="margin is"):
            who.cut(NUMBERED, 0, margin=margin)
    with pytest.raises(ValueError, match=r"\(60, 160, 3\)"):
        who.cut(NUMBERED[:60], 0)


def test_a_transparent_cut_has_one_person_and_nobody_in_front_of_them() -> None:
    who = crowd()
    owner = who.instance_map()
    assert {1, 2} <= set(np.unique(owner[40:80, 60:84]))  # each has some of what both claim
    for index, x in ((0, 20), (1, 60)):
        picture = who.cut(NUMBERED, index, transparent=True)
        assert picture.shape == (64, 64, 4)
        mine = owner[30:94, x : x + 64] == index + 1
        np.testing.assert_array_equal(picture[..., 3] > 127, mine)
        solid = picture[..., 3] == 255
        np.testing.assert_array_equal(picture[solid][:, :3], NUMBERED[30:94, x : x + 64][solid])
    around = who.cut(NUMBERED, 1, margin=0.25, transparent=True)
    assert around.shape == (96, 96, 4)
    np.testing.assert_array_equal(around[16:80, 16:80], who.cut(NUMBERED, 1, transparent=True))
    assert not around[:16].any()
    with pytest.raises(ValueError, match="no iuv"):
        replace(who, parts=None).cut(NUMBERED, 0, transparent=True)
