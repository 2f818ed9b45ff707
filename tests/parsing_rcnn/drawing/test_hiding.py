"""Photos in which nobody can be recognised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from parsing_rcnn import draw
from parsing_rcnn.analyzer import Options
from parsing_rcnn.codecs.image import decode
from parsing_rcnn.drawing.hiding import apply_threshold, lower_threshold
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.own_classes import read_taxonomy
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline

FACE, HAIR, COAT, SUNGLASSES = 13, 2, 7, 4
SIZE = (120, 160)
STRIPES = np.zeros((*SIZE, 3), np.uint8)
STRIPES[:, ::2] = 255  # whatever is hidden is smooth


def person(box: list[float] | None = None) -> People:
    """A face below hair over a coat, in a box of 64x96 pixels: cells of 1 x 1.5."""
    parts = np.full((1, 64, 64), COAT, np.uint8)
    parts[0, :12] = 0
    parts[0, 2:6, 24:40], parts[0, 6:12, 24:40] = HAIR, FACE
    boxes = np.array([box or [40, 10, 104, 106]], np.float32)
    return People(boxes, np.array([0.9], np.float32), SIZE, parts)


def changed(hide: str, who: People | None = None, style: str = "pixelate") -> NDArray[np.bool_]:
    image = STRIPES.copy()
    picture = draw.anonymise(image, person() if who is None else who, hide=hide, style=style)
    np.testing.assert_array_equal(image, STRIPES)
    return (picture != STRIPES).any(axis=2)


@pytest.mark.parametrize("style", ["pixelate", "blur"])
@pytest.mark.parametrize(("hide", "rows"), [("faces", (6, 12)), ("heads", (2, 12)), ("people", (2, 64))])
def test_the_chosen_parts_and_three_cells_around_them_are_hidden(hide: str, rows: tuple[int, int], style: str) -> None:
    hidden = changed(hide, style=style)
    first, last = np.flatnonzero(hidden.any(axis=1))[[0, -1]]
    # of cell k the rows begin at 10 + 1.5 k; no map goes beyond its box
    assert first == pytest.approx(max(10 + 1.5 * (rows[0] - 3), 10), abs=1.5)
    assert last + 1 == pytest.approx(min(10 + 1.5 * (rows[1] + 3), 106), abs=1.5)
    wanted = {"faces": [FACE], "heads": [FACE, HAIR], "people": [FACE, HAIR, COAT]}[hide]
    assert hidden[np.isin(person().label_map(), wanted)].mean() > 0.98


@pytest.mark.parametrize("hide", ["heads", "faces", "people"])
def test_it_is_coarse_however_large_somebody_is(hide: str) -> None:
    """At most eight cells on the longer side, and none is as the photo was."""
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    whole = np.full((1, 8, 8), FACE, np.uint8)
    who = People(np.array([[0, 0, 160, 120]], np.float32), np.array([0.9], np.float32), SIZE, whole)
    picture = draw.anonymise(noise, who, hide=hide)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) <= 8 * 6
    assert (picture == noise).all(axis=2).mean() < 0.01


def test_nobody_is_hidden_where_nobody_is_and_nobody_beside_the_picture() -> None:
    assert not changed("heads", People.empty(SIZE)).any()
    beside = changed("heads", person([-300, -300, -200, -200]))
    assert beside.sum() <= 1  # a window has at least one pixel


def test_people_without_maps_are_hidden_by_their_box() -> None:
    bare = replace(person(), parts=None)
    assert changed("people", bare)[10:106, 40:104].all()
    top = changed("faces", bare)
    assert top[10:34, 40:104].all()
    assert not top[34:].any()


def in_own_classes(box: list[float] | None = None, *, charted: bool = False) -> People:
    """The same person where only the middle of the coat, as a vest, and the hair, as a helmet, have a class."""
    own = read_taxonomy({"name": "work", "classes": ["Background", "Vest", "Helmet"]})
    parts = np.zeros((1, 64, 64), np.uint8)
    parts[0, 30:40, 24:40], parts[0, 2:6, 24:40] = 1, 2
    iuv = np.zeros((1, 3, 64, 64), np.uint8)
    iuv[0, 0, 12:], iuv[0, 0, 2:12, 24:40] = 1, 23
    return replace(person(box), parts=parts, taxonomy=own, iuv=iuv if charted else None)


def test_classes_of_ones_own_need_not_cover_a_body() -> None:
    assert changed("people", in_own_classes())[10:106, 40:104].all()  # the box, and not the vest and the helmet alone
    bare = changed("people", in_own_classes(charted=True))
    assert bare[28:106, 40:104].all()  # as DensePose sees the body
    assert not bare[10:22, 40:55].any()  # beside the head


@pytest.mark.parametrize("hide", ["heads", "faces"])
def test_classes_of_ones_own_do_not_say_where_a_face_is(hide: str) -> None:
    top = changed(hide, in_own_classes())
    assert top[10:34, 40:104].all()  # a helmet is no face: the top of the box
    assert not top[36:].any()
    assert changed(hide, in_own_classes(WIDE))[20:100, 10:150].all()
    charted = changed(hide, in_own_classes(charted=True))
    np.testing.assert_array_equal(charted, changed(hide, replace(in_own_classes(charted=True), parts=None)))
    assert charted[13:28, 64:80].all()


@pytest.mark.parametrize(("names", "says"), [({"hide": "hands"}, "heads, faces"), ({"style": "ink"}, "pixelate, blur")])
def test_wrong_names_are_refused(names: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidOptions, match=says):
        draw.anonymise(STRIPES, person(), **names)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(60, 160, 3\)"):
        draw.anonymise(STRIPES[:60], person())


def test_lowering_the_threshold_is_undone_by_applying_it() -> None:
    options = Options(frozenset({"parsing"}), confidence=0.5, max_people=1)
    assert lower_threshold(options) == Options(frozenset({"parsing"}), confidence=0.1, max_people=64)
    assert lower_threshold(replace(options, confidence=0.05)).confidence == 0.05
    boxes = np.zeros((4, 4), np.float32)
    found = People(boxes, np.array([0.9, 0.5, 0.4, 0.1], np.float32), SIZE)
    assert apply_threshold(found, options).scores.tolist() == pytest.approx([0.9])
    assert apply_threshold(found, replace(options, max_people=64)).scores.tolist() == pytest.approx([0.9, 0.5])


@pytest.mark.parametrize("hide", ["heads", "faces"])
def test_sunglasses_are_part_of_a_head_and_of_a_face(hide: str) -> None:
    who = person()
    assert who.parts is not None
    who.parts[np.isin(who.parts, (FACE, HAIR))] = 0
    who.parts[0, 20:30, 24:40] = SUNGLASSES  # below the top quarter, which is hidden of whoever shows no head
    assert changed(hide, who)[who.label_map() == SUNGLASSES].mean() > 0.98


@pytest.mark.parametrize(("row", "last"), [(20, 47.5), (21, 106)])
def test_a_speck_of_a_face_below_the_upper_third_says_that_somebody_is_upside_down(row: int, last: float) -> None:
    who = person()
    assert who.parts is not None
    who.parts[np.isin(who.parts, (FACE, HAIR))] = 0
    who.parts[0, row : row + 2, 24:30] = FACE  # 12 of some 3300 cells; a third of 64 rows is 21.3
    hidden = changed("heads", who)
    rows = np.flatnonzero(hidden.any(axis=1))
    # in the upper third: to three cells of 1.5 pixels below it, and the top of the box; else all of the box
    assert (rows[0], rows[-1] + 1) == (10, pytest.approx(last, abs=1.5))


def turned_away(*, charted: int | None = None, face: int = 0, box: list[float] | None = None) -> People:
    """Hair in rows 2 to 12, a face of so many cells and so many rows of a head that DensePose sees, from row 2."""
    who = person(box)
    assert who.parts is not None
    who.parts[who.parts == FACE] = HAIR
    who.parts[0, 13, 24 : 24 + face] = FACE
    iuv = np.zeros((1, 3, 64, 64), np.uint8)
    iuv[0, 0, 12:] = 1
    iuv[0, 0, 2 : 2 + (charted or 0), 24:40] = 23
    return replace(who, iuv=None if charted is None else iuv)


WIDE = [10.0, 20, 150, 100]


@pytest.mark.parametrize("face", [0, 8, 16])
@pytest.mark.parametrize("box", [None, WIDE])
@pytest.mark.parametrize("charted", [None, 0, 3, 10])
def test_people_hide_all_that_heads_hide_and_heads_all_that_faces_hide(
    charted: int | None, face: int, box: list[float] | None
) -> None:
    who = turned_away(charted=charted, face=face, box=box)
    faces, heads, people = (changed(hide, who) for hide in ("faces", "heads", "people"))
    assert not (faces & ~heads).any()
    assert not (heads & ~people).any()
    assert heads[who.label_map() == HAIR].mean() > 0.98
    assert people[who.label_map() > 0].mean() > 0.98


@pytest.mark.parametrize(("box", "top"), [(None, slice(10, 34)), (WIDE, slice(20, 100))])
def test_whose_silhouette_misses_the_head_is_hidden_where_it_may_be(box: list[float] | None, top: slice) -> None:
    who = person(box)
    assert who.parts is not None
    who.parts[0, :30] = 0  # nothing but the coat, in the lower half of the box
    x1, _, x2, _ = who.boxes[0].astype(int)
    hidden = changed("people", who)
    assert hidden[top, x1:x2].all()
    assert hidden[who.label_map() == COAT].mean() > 0.98
    assert not hidden[:, : x1 - 1].any()


@given(
    st.tuples(*[st.integers(0, 63)] * 4),
    st.tuples(*[st.integers(0, 63)] * 4),
    st.sampled_from([0, COAT, HAIR, FACE]),
    st.sampled_from([None, 0, 1, 23]),
    st.sampled_from(["own", "parts", "charts"]),
    st.sampled_from([None, WIDE]),
)
def test_more_is_hidden_of_people_than_of_heads_than_of_faces(
    body: tuple[int, ...], spot: tuple[int, ...], part: int, chart: int | None, kind: str, box: list[float] | None
) -> None:
    """Whatever the maps say: a coat in some rectangle of cells, in it or beside it something else."""
    who = in_own_classes(box) if kind == "own" else person(box)
    assert who.parts is not None
    parts, iuv = np.zeros_like(who.parts), np.zeros((1, 3, 64, 64), np.uint8)
    for (top, bottom, left, right), label, charted in ((body, COAT, 1), (spot, part, chart or 0)):
        cells = 0, slice(min(top, bottom), max(top, bottom)), slice(min(left, right), max(left, right))
        parts[cells], iuv[:, 0][cells] = min(label, len(who.taxonomy) - 1), charted
    bare = kind == "charts" and chart is not None
    who = replace(who, parts=None if bare else parts, iuv=None if chart is None else iuv)
    faces, heads, people = (changed(hide, who) for hide in ("faces", "heads", "people"))
    assert not (faces & ~heads).any()
    assert not (heads & ~people).any()


@pytest.mark.parametrize("turned", [0, 1, 2])
def test_of_a_photo_too_more_is_hidden_of_people_than_of_heads(
    pipeline: Pipeline, photo_jpeg: bytes, turned: int
) -> None:
    """Of people upside down, or on their side, silhouettes often miss the head."""
    photo = np.ascontiguousarray(np.rot90(decode(photo_jpeg), turned))
    everybody = pipeline.analyze(photo, confidence=0.1)
    assert len(everybody)
    noise = np.random.default_rng(0).integers(0, 256, photo.shape, np.uint8)
    hidden = [(draw.anonymise(noise, everybody, hide=hide) != noise).any(axis=2) for hide in ("heads", "people")]
    # one pixel of a thousand may happen to be as it was
    assert (hidden[0] & ~hidden[1]).sum() <= 0.001 * hidden[0].sum()


def test_hair_alone_does_not_tell_where_the_face_is() -> None:
    hidden = changed("heads", turned_away())
    assert hidden[10:34, 40:104].all()  # the top quarter of the box
    assert not hidden[36:].any()
    assert changed("heads", turned_away(box=WIDE))[20:100, 10:150].all()  # of somebody who lies, all


@pytest.mark.parametrize("hide", ["heads", "faces"])
def test_a_head_that_densepose_sees_is_hidden_with_what_is_beside_it(hide: str) -> None:
    """That of somebody from behind: 16x15 pixels, so 0.6 of 15.5, three cells and no more on every side."""
    hidden = changed(hide, turned_away(charted=10))
    rows, columns = np.flatnonzero(hidden.any(axis=1)), np.flatnonzero(hidden.any(axis=0))
    assert (columns[0], columns[-1] + 1) == (pytest.approx(64 - 13, abs=1.5), pytest.approx(80 + 13, abs=1.5))
    assert rows[-1] + 1 == pytest.approx(10 + 1.5 * 12 + 15, abs=2)
    assert not changed(hide, turned_away(charted=10, box=WIDE))[80:].any()


@pytest.mark.parametrize("hide", ["heads", "faces"])
def test_a_head_that_charts_of_another_size_see_alone_is_looked_for_at_the_top(hide: str) -> None:
    who = turned_away()
    assert who.parts is not None
    who.parts[who.parts == HAIR] = 0
    iuv = np.zeros((1, 3, 32, 32), np.uint8)
    iuv[0, 0, 12:], iuv[0, 0, :12] = 1, 23
    hidden = changed(hide, replace(who, iuv=iuv))
    assert hidden[10:34, 40:104].all()
