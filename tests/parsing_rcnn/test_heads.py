"""Heads that are not trained, and whom to believe instead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn import draw
from parsing_rcnn.analyzer import ModelInfo
from parsing_rcnn.convert import to_coco
from parsing_rcnn.heads import trained, warnings
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import DENSEPOSE

SIZE = (120, 160)
STRIPES = np.zeros((*SIZE, 3), np.uint8)
STRIPES[:, ::2] = 255
FACE = 13


def model(**tasks: bool) -> ModelInfo:
    return ModelInfo("mine", "1", "none", tasks, (), (), {})


def noise(places: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 20, (1, places, places)).astype(np.uint8)


def person(untrained: set[str]) -> People:
    """A body below a head by the charts, and anything anywhere by the parts, in a box of 64x96 pixels."""
    iuv = np.zeros((1, 3, 64, 64), np.uint8)
    iuv[0, 0, 4:16, 24:40], iuv[0, 0, 16:, 16:48] = 23, 1
    boxes = np.array([[40, 10, 104, 106]], np.float32)
    found = People(boxes, np.array([0.9], np.float32), SIZE, noise(), iuv=iuv)
    return replace(found, untrained=frozenset(untrained))


DOUBTED = person({"parsing"})
CHARTS = replace(DOUBTED, parts=None)


def test_default_tasks_are_the_trained_ones_or_all_where_none_is() -> None:
    assert trained(model(parsing=True, densepose=False)) == {"parsing"}
    assert trained(model(parsing=False, densepose=True)) == {"densepose"}
    assert trained(model(parsing=True)) == {"parsing", "densepose"}  # of the other one it says nothing
    assert trained(model(parsing=False, densepose=False)) == {"parsing", "densepose"}
    assert warnings(model(parsing=False), ["densepose"]) == []
    assert warnings(model(parsing=False), ["parsing"]) == [
        "the parsing head of this model is not trained: its maps mean nothing"
    ]


def test_silhouettes_are_of_the_trained_head() -> None:
    np.testing.assert_array_equal(DOUBTED.mask(0)[0], CHARTS.mask(0)[0])
    np.testing.assert_array_equal(DOUBTED.instance_map(), CHARTS.instance_map())
    assert to_coco(DOUBTED, 1) == to_coco(CHARTS, 1)
    assert (person(set()).mask(0)[0] != CHARTS.mask(0)[0]).any()
    other = person({"densepose"})
    np.testing.assert_array_equal(other.mask(0)[0], other.crop(0)[0] > 0)


def test_an_untrained_head_alone_answers_all_the_same() -> None:
    alone = replace(DOUBTED, iuv=None)
    np.testing.assert_array_equal(alone.mask(0)[0], alone.crop(0)[0] > 0)
    np.testing.assert_array_equal(DOUBTED.label_map(), alone.label_map())  # and what is of it alone stays its own
    np.testing.assert_array_equal(draw.parts(DOUBTED), draw.parts(alone))


def test_the_overlay_and_the_cutout_are_of_the_trained_head() -> None:
    np.testing.assert_array_equal(draw.overlay(STRIPES, DOUBTED), draw.overlay(STRIPES, CHARTS))
    np.testing.assert_array_equal(draw.cutout(STRIPES, DOUBTED), draw.cutout(STRIPES, CHARTS))
    probabilities = np.zeros((1, 20, 64, 64), np.uint8)
    probabilities[:, FACE] = 255
    sure = replace(DOUBTED, part_probs=probabilities)
    np.testing.assert_array_equal(draw.cutout(STRIPES, sure), draw.cutout(STRIPES, CHARTS))
    torso = draw.overlay(STRIPES, sure, alpha=1, boxes=False, scores=False, outlines=False)[90, 72]
    assert tuple(torso) == tuple(DENSEPOSE.palette[1])


def test_the_trained_head_decides_who_is_in_front() -> None:
    def two(who: People) -> People:
        both = who.select([0, 0])
        return replace(both, boxes=both.boxes + np.array([[0], [20]], np.float32))

    np.testing.assert_array_equal(two(DOUBTED).iuv_map()[1], two(CHARTS).iuv_map()[1])
    assert (two(person(set())).iuv_map()[1] != two(CHARTS).iuv_map()[1]).any()


@pytest.mark.parametrize("hide", ["heads", "faces", "people"])
def test_people_are_hidden_where_the_trained_head_says(hide: str) -> None:
    """Faces that an untrained head sees anywhere hide nothing, and must not keep the head of the charts from sight."""
    elsewhere = np.zeros((1, 64, 64), np.uint8)
    elsewhere[0, 50:60, 10:20] = FACE
    wrong = replace(DOUBTED, parts=elsewhere)
    picture = draw.anonymise(STRIPES, wrong, hide=hide)
    np.testing.assert_array_equal(picture, draw.anonymise(STRIPES, CHARTS, hide=hide))
    head = (slice(16, 34), slice(64, 80))
    assert (picture[head] != STRIPES[head]).any(axis=2).all()


@pytest.mark.parametrize("hide", ["heads", "faces"])
def test_where_nothing_is_trained_the_top_of_the_box_is_hidden(hide: str) -> None:
    picture = draw.anonymise(STRIPES, person({"parsing", "densepose"}), hide=hide)
    assert (picture[10:34, 40:104] != STRIPES[10:34, 40:104]).any(axis=2).all()
    np.testing.assert_array_equal(picture[34:], STRIPES[34:])
