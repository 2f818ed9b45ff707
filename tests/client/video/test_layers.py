"""What is drawn where."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from parsing_rcnn import draw
from parsing_rcnn.analyzer import TASKS, ModelInfo
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP, DENSEPOSE
from parsing_rcnn_client.video.layers import Look
from tests.client.video.conftest import annotated

FACE, HAIR, COAT = 13, 2, 7
ONE = np.array([3], np.intp)


@pytest.fixture
def image() -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)


@pytest.fixture
def people() -> People:
    parts = np.full((1, 64, 64), COAT, np.uint8)
    parts[0, :16] = 0
    parts[0, 2:12, 24:40] = FACE
    iuv = np.zeros((1, 3, 64, 64), np.uint8)
    iuv[0, 0, 16:] = 2
    iuv[0, 1:, 16:] = 128
    return People(np.array([[40, 10, 104, 106]], np.float32), np.array([0.9], np.float32), (120, 160), parts, iuv=iuv)


def drawn(image: np.ndarray, people: People, **look: object) -> np.ndarray:  # type: ignore[type-arg]
    before = image.copy()
    picture = annotated(image, people, ONE, people.boxes, Look(**look))  # type: ignore[arg-type]
    np.testing.assert_array_equal(image, before)
    return picture


def test_parts_have_the_colours_of_the_taxonomy(image: np.ndarray, people: People) -> None:  # type: ignore[type-arg]
    picture = drawn(image, people, layers=("parts",), alpha=0.5)
    mixed = (image[80, 72].astype(int) + CIHP.palette[COAT]) / 2
    assert np.abs(picture[80, 72] - mixed).max() <= 2
    np.testing.assert_array_equal(picture[:, :40], image[:, :40])
    np.testing.assert_array_equal(picture[12, 50], image[12, 50])


def test_the_colour_of_a_box_is_that_of_the_track(image: np.ndarray, people: People) -> None:  # type: ignore[type-arg]
    assert tuple(drawn(image, people, layers=("boxes",))[90, 40]) == draw.instance_colour(3)


def test_a_box_beyond_the_height_of_a_wide_picture_has_its_right_edge(image: np.ndarray, people: People) -> None:  # type: ignore[type-arg]
    picture = drawn(image, replace(people, boxes=np.array([[90, 10, 150, 106]], np.float32)), layers=("boxes",))
    assert tuple(picture[90, 149]) == draw.instance_colour(3)
    np.testing.assert_array_equal(picture[:, 152:], image[:, 152:])


@pytest.mark.parametrize("style", ["pixelate", "blur"])
def test_a_hidden_face_is_gone_and_the_rest_is_not(image: np.ndarray, people: People, style: str) -> None:  # type: ignore[type-arg]
    picture = drawn(image, people, layers=("anonymise",), hide="faces", style=style)
    face = (slice(13, 28), slice(64, 80))
    assert np.abs(picture[face].astype(int) - image[face]).mean() > 30
    assert picture[face].std() < 0.7 * image[face].std()
    np.testing.assert_array_equal(picture[60:], image[60:])


@pytest.mark.parametrize("box", [[40, 10, 104, 106], [-20.4, -9.7, 71.3, 90.2], [150.6, 3.3, 159.2, 119.9]])
def test_every_pixel_of_a_face_is_hidden_wherever_the_box_lies(box: list[float], people: People) -> None:
    # a picture of stripes one pixel wide: what is hidden is smooth
    image = np.zeros((120, 160, 3), np.uint8)
    image[:, ::2] = 255
    moved = replace(people, boxes=np.array([box], np.float32))
    for style in ("pixelate", "blur"):
        picture = drawn(image, moved, layers=("anonymise",), hide="faces", style=style)
        face = moved.label_map() == FACE
        assert (picture[face] == image[face]).mean() < 0.02


def test_where_no_head_was_found_the_top_of_the_box_is_hidden(image: np.ndarray, people: People) -> None:  # type: ignore[type-arg]
    people.parts[people.parts == FACE] = 0  # type: ignore[index, operator]
    picture = drawn(image, people, layers=("anonymise",))
    assert np.abs(picture[10:30, 45:100].astype(int) - image[10:30, 45:100]).mean() > 30
    np.testing.assert_array_equal(picture[36:], image[36:])


def hidden_rows(image: np.ndarray, people: People, hide: str) -> tuple[int, int]:  # type: ignore[type-arg]
    """The first row that "anonymise" changes, and the one after the last."""
    changed = (drawn(image, people, layers=("anonymise",), hide=hide) != image).any(axis=(1, 2)).nonzero()[0]
    return int(changed[0]), int(changed[-1]) + 1


@pytest.mark.parametrize(("hide", "rows"), [("people", (10, 106)), ("heads", (10, 34)), ("faces", (10, 34))])
def test_of_somebody_without_maps_the_box_is_hidden_or_its_top_quarter(
    image: np.ndarray,  # type: ignore[type-arg]
    people: People,
    hide: str,
    rows: tuple[int, int],
) -> None:
    assert hidden_rows(image, replace(people, parts=None, iuv=None), hide) == rows


def test_where_only_charts_are_known_the_head_is_hidden_for_the_face(image: np.ndarray, people: People) -> None:  # type: ignore[type-arg]
    people.iuv[0, 0, 40:48] = 23  # type: ignore[index]
    first, last = hidden_rows(image, replace(people, parts=None), "faces")
    # cells of 1.5 rows: the head is at 70 to 82, far from the top quarter
    assert 60 < first <= 70
    assert 82 <= last < 92


def test_three_cells_around_a_face_are_hidden_too(image: np.ndarray, people: People) -> None:  # type: ignore[type-arg]
    people.parts[0, :12], people.parts[0, 30:40] = COAT, FACE  # type: ignore[index]
    first, last = hidden_rows(image, people, "faces")
    assert abs(first - (10 + 1.5 * (30 - 3))) <= 1.5
    assert abs(last - (10 + 1.5 * (40 + 3))) <= 1.5


@pytest.mark.parametrize("hide", ["heads", "faces"])
def test_a_speck_is_no_head_and_the_top_of_the_box_is_hidden_as_well(
    image: np.ndarray,  # type: ignore[type-arg]
    people: People,
    hide: str,
) -> None:
    people.parts[people.parts == FACE] = 0  # type: ignore[index, operator]
    people.parts[0, 18:20, 24:30] = FACE  # type: ignore[index]
    first, last = hidden_rows(image, people, hide)
    assert (first, last) == (10, pytest.approx(10 + 1.5 * 23, abs=1.5))  # to three cells below the speck
    picture = drawn(image, people, layers=("anonymise",), hide=hide)
    assert (picture[10:34, 40:104] != image[10:34, 40:104]).mean() > 0.9


@pytest.mark.parametrize("hide", ["heads", "faces"])
def test_of_somebody_who_lies_all_is_hidden_where_no_head_was_found(
    image: np.ndarray,  # type: ignore[type-arg]
    people: People,
    hide: str,
) -> None:
    lying = replace(people, boxes=np.array([[20, 40, 140, 90]], np.float32))
    assert hidden_rows(image, lying, hide)[1] < 60  # a head that was found is enough
    people.parts[people.parts == FACE] = 0  # type: ignore[index, operator]
    assert hidden_rows(image, lying, hide) == (40, 90)
    people.parts[0, 18:20, 24:30] = FACE  # type: ignore[index]
    assert hidden_rows(image, lying, hide) == (40, 90)


def test_a_speck_far_below_the_top_says_that_somebody_is_upside_down(image: np.ndarray, people: People) -> None:  # type: ignore[type-arg]
    people.parts[people.parts == FACE] = 0  # type: ignore[index, operator]
    people.parts[0, 58:60, 24:30] = FACE  # type: ignore[index]
    assert hidden_rows(image, people, "heads") == (10, 106)


def test_people_are_hidden_whole(image: np.ndarray, people: People) -> None:  # type: ignore[type-arg]
    picture = drawn(image, people, layers=("anonymise",), hide="people")
    inside = people.label_map() > 0
    assert np.abs(picture[inside].astype(int) - image[inside]).mean() > 30


def test_iuv_contours_and_texture_change_the_body_only(image: np.ndarray, people: People) -> None:  # type: ignore[type-arg]
    atlas = np.full((24, 16, 3), 200, np.uint8)
    for layer in ("iuv", "contours", "texture"):
        picture = drawn(image, people, layers=(layer,), atlas=atlas)
        assert (picture[60:100, 45:100] != image[60:100, 45:100]).mean() > 0.5, layer
        np.testing.assert_array_equal(picture[:, :38], image[:, :38])


def test_wrong_names_are_refused() -> None:
    for wrong in ({"layers": ("part",)}, {"layers": ()}, {"hide": "hands"}, {"style": "ink"}, {"layers": ("texture",)}):
        with pytest.raises(InvalidOptions):
            Look(**wrong)  # type: ignore[arg-type]


def test_of_equal_scores_the_same_person_is_in_front_as_everywhere(image: np.ndarray) -> None:  # type: ignore[type-arg]
    cells = np.stack([np.full((8, 8), part, np.uint8) for part in (FACE, COAT)])
    two = People(np.array([[40, 10, 104, 106]] * 2, np.float32), np.full(2, 0.9, np.float32), (120, 160), cells)
    numbers = np.array([1, 2], np.intp)
    picture = annotated(image, two, numbers, two.boxes, Look(layers=("parts",), alpha=1.0))
    assert two.label_map()[60, 70] == FACE
    assert tuple(picture[60, 70]) == tuple(CIHP.palette[FACE])


@pytest.mark.parametrize("layer", ["parts", "iuv"])
def test_who_is_in_front_is_so_as_everywhere_and_is_not_mixed_with_who_is_behind(image: np.ndarray, layer: str) -> None:  # type: ignore[type-arg]
    """The surer one reaches a little into the other, who stands in front."""
    surer, other = np.zeros((2, 32, 32), np.uint8)
    surer[:, :26] = COAT
    other[:, :] = FACE
    cells = np.stack([surer, other])
    iuv = np.stack([cells, np.full_like(cells, 90), np.full_like(cells, 200)], axis=1)
    boxes = np.array([[10, 10, 90, 110], [60, 10, 140, 110]], np.float32)
    two = People(boxes, np.array([0.9, 0.6], np.float32), (120, 160), cells, iuv=iuv)
    assert set(np.unique(two.label_map()[50:70, 68:74])) == {FACE}
    numbers = np.array([1, 2], np.intp)
    look = Look(layers=(layer,), alpha=0.5)
    both = annotated(image, two, numbers, boxes, look)
    alone = annotated(image, two.select([1]), numbers[1:], boxes[1:], look)
    np.testing.assert_array_equal(both[50:70, 71:74], alone[50:70, 71:74])


def test_parts_are_those_of_the_charts_where_only_these_are_trained(image: np.ndarray, people: People) -> None:  # type: ignore[type-arg]
    doubted = replace(people, untrained=frozenset({"parsing"}))
    picture = drawn(image, doubted, layers=("parts",), alpha=0.5)
    np.testing.assert_array_equal(picture, drawn(image, replace(people, parts=None), layers=("parts",), alpha=0.5))
    mixed = (image[80, 72].astype(int) + DENSEPOSE.palette[2]) / 2
    assert np.abs(picture[80, 72] - mixed).max() <= 2


def test_no_head_is_asked_that_is_not_trained() -> None:
    def model(*trained: str) -> ModelInfo:
        return ModelInfo("mine", "1", "none", {task: task in trained for task in TASKS}, (), (), {})

    charts, parts, both, none = model("densepose"), model("parsing"), model(*TASKS), model()
    hidden = Look(layers=("anonymise", "boxes"), hide="faces")
    assert [sorted(hidden.of(info).tasks) for info in (charts, parts)] == [["densepose"], ["parsing"]]
    assert hidden.of(both).tasks == hidden.of(none).tasks == hidden.tasks == set(TASKS)
    assert Look().of(charts).tasks == {"densepose"}
    assert Look().of(both).tasks == Look().of(parts).tasks == {"parsing"}
    for layer in ("iuv", "contours", "texture"):
        look = Look(layers=(layer,), atlas=np.zeros((24, 16, 3), np.uint8))
        assert look.of(charts).tasks == look.of(both).tasks == {"densepose"}
        with pytest.raises(InvalidOptions, match=f"the layer {layer} needs the task densepose, whose head is not"):
            look.of(parts)
