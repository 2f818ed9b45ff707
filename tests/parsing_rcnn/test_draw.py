"""Drawing: the right colours in the right places, and no touch of the caller's picture."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from parsing_rcnn import draw
from parsing_rcnn.codecs.image import ImageLimits, decode
from parsing_rcnn.errors import ImageTooLarge, InvalidImage, InvalidOptions
from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP, DENSEPOSE

SIZE = (120, 160)
GREY = np.full((*SIZE, 3), 100, np.uint8)


def people(parts: bool = True, iuv: bool = True) -> People:
    """Two people of one square part each: a coat (front), a dress (behind, overlapping on the right)."""
    cells = np.zeros((2, 32, 32), np.uint8)
    cells[:, 4:28, 4:28] = np.array([7, 6])[:, None, None]
    ramp = np.arange(32, dtype=np.uint8) * 8
    charts = np.zeros((2, 3, 32, 32), np.uint8)
    charts[:, 0] = np.where(cells > 0, 2, 0)
    charts[:, 1] = np.where(cells > 0, ramp[None, :], 0)
    charts[:, 2] = np.where(cells > 0, ramp[:, None], 0)
    return People(
        np.array([[20, 30, 84, 94], [60, 30, 124, 94]], np.float32),
        np.array([0.93, 0.41], np.float32),
        SIZE,
        parts=cells if parts else None,
        iuv=charts if iuv else None,
    )


BARE: dict[str, Any] = {"boxes": False, "scores": False, "outlines": False}


def bare(image: NDArray[np.uint8], who: People) -> NDArray[np.uint8]:
    return draw.overlay(image, who, boxes=False, scores=False, outlines=False)


@pytest.mark.parametrize("smooth", [False, True])
def test_overlay_blends_the_colour_of_each_part(smooth: bool) -> None:
    picture = draw.overlay(GREY, people(), alpha=0.5, boxes=False, scores=False, outlines=False, smooth=smooth)
    for x, class_id in ((50, 7), (100, 6)):
        expected = (CIHP.palette[class_id].astype(float) + 100) / 2
        assert np.abs(picture[60, x] - expected).max() <= 1
    assert (picture[10, 10] == 100).all()


def test_the_front_person_is_not_tinted_by_the_one_behind() -> None:
    both, alone = bare(GREY, people()), bare(GREY, people().select([0]))
    assert np.array_equal(both[60, 70], alone[60, 70])  # both are here
    assert not np.array_equal(both[60, 100], alone[60, 100])


def test_of_equal_scores_the_first_is_in_front_as_in_the_label_map() -> None:
    who = people()
    who = replace(who, scores=np.full(2, 0.5, np.float32))
    assert who.label_map()[60, 70] == 7
    assert (draw.parts(who)[60, 70] == CIHP.palette[7]).all()
    alone = bare(GREY, who.select([0]))
    assert np.array_equal(bare(GREY, who)[60, 70], alone[60, 70])


def test_outlines_are_those_of_the_probabilities_where_there_are_any() -> None:
    """A dress gives way to a coat along a slant: by the labels in steps of cells of 2 pixels."""
    across = np.arange(32)[None, :] + np.arange(32)[:, None] / 3
    ramp = np.clip(128 - 20 * (across - 20.3), 0, 255).astype(np.uint8)
    probabilities = np.zeros((1, len(CIHP), 32, 32), np.uint8)
    probabilities[0, 6], probabilities[0, 7] = ramp, 255 - ramp
    who = replace(people().select([0]), parts=probabilities.argmax(1).astype(np.uint8), part_probs=probabilities)
    plain = replace(who, part_probs=None)
    exact = who.label_map(exact=True)
    assert not np.array_equal(exact, who.label_map())
    inside = (slice(36, 88), slice(26, 78))
    assert np.array_equal(draw.parts(who)[inside], CIHP.palette[exact][inside])
    painted = draw.overlay(GREY, who, alpha=1, boxes=False, scores=False, outlines=False)
    assert np.array_equal(painted[inside], CIHP.palette[exact][inside])
    assert not np.array_equal(bare(GREY, who), bare(GREY, plain))
    cells = {"boxes": False, "scores": False, "smooth": False}
    assert np.array_equal(draw.overlay(GREY, who, **cells), draw.overlay(GREY, plain, **cells))
    assert np.array_equal(draw.parts(who, smooth=False), CIHP.palette[who.label_map()])


def test_boxes_lie_on_the_box() -> None:
    picture = draw.overlay(GREY, people().select([0]), scores=False, outlines=False, alpha=0)
    changed = np.argwhere((picture != 100).any(axis=2))
    assert changed.min(axis=0).tolist() == [30, 20]
    assert changed.max(axis=0).tolist() == [93, 83]
    assert (picture[31:93, 21:83] == 100).all()


def test_the_score_is_written_above_the_box_or_inside_at_the_top_edge() -> None:
    picture = draw.overlay(GREY, people().select([0]), boxes=False, outlines=False, alpha=0)
    rows = np.flatnonzero((picture != 100).any(axis=(1, 2)))
    assert rows.max() == 29
    assert 8 <= len(rows) <= 24
    at_top = People(np.array([[0, 0, 20, 60]], np.float32), np.array([0.5], np.float32), SIZE)
    assert (draw.overlay(GREY, at_top)[4:8, 4:16] != 100).any()


def test_without_parts_the_charts_are_coloured_and_without_maps_nothing_is() -> None:
    picture = draw.overlay(GREY, people(parts=False), alpha=1, boxes=False, scores=False, outlines=False)
    assert picture[60, 50].tolist() == DENSEPOSE.palette[2].tolist()
    assert np.array_equal(bare(GREY, people(parts=False, iuv=False)), GREY)


@pytest.mark.parametrize("smooth", [False, True])
def test_parts_picture_has_palette_colours_only(smooth: bool) -> None:
    picture = draw.parts(people(), smooth=smooth)
    colours = {tuple(c) for c in picture.reshape(-1, 3).tolist()}
    assert colours == {tuple(CIHP.palette[k].tolist()) for k in (0, 6, 7)}
    assert picture[60, 70].tolist() == CIHP.palette[7].tolist()


def test_instances_have_their_own_colours() -> None:
    picture = draw.instances(people())
    assert tuple(picture[60, 50].tolist()) == draw.instance_colour(0)
    assert tuple(picture[60, 110].tolist()) == draw.instance_colour(1)
    assert picture[0, 0].tolist() == [0, 0, 0]
    assert len({draw.instance_colour(i) for i in range(64)}) == 64


def test_iuv_picture_shows_part_u_and_v() -> None:
    picture = draw.iuv(people())
    # Column 52 is cell 16 of 32 (its first half), row 62 likewise: U = V = about 16 * 8 - 2.
    assert picture[62, 52].tolist() == pytest.approx([2 * 255 // 24, 126, 126], abs=3)
    assert picture[0, 0].tolist() == [0, 0, 0]
    assert draw.iuv(people(), GREY)[0, 0].tolist() == [100, 100, 100]


def test_the_last_part_is_as_red_as_can_be_and_the_twelfth_half_as_much() -> None:
    charts = np.zeros((2, 3, 8, 8), np.uint8)
    charts[:, 0] = np.array([24, 12])[:, None, None]
    boxes = np.array([[0, 0, 8, 8], [8, 0, 16, 8]], np.float32)
    who = People(boxes, np.array([0.9, 0.8], np.float32), (8, 16), iuv=charts)
    assert draw.iuv(who)[4, [4, 12], 0].tolist() == [255, 127]


def test_charts_are_coloured_beside_parts() -> None:
    picture = draw.charts(GREY, people(), alpha=1, outlines=False)
    assert np.array_equal(picture, bare_charts := draw.overlay(GREY, people(parts=False), alpha=1, **BARE))
    assert picture[60, 50].tolist() == DENSEPOSE.palette[2].tolist()
    assert not np.array_equal(bare_charts, draw.overlay(GREY, people(), alpha=1, **BARE))
    assert not np.array_equal(draw.charts(GREY, people()), draw.charts(GREY, people(), outlines=False))
    with pytest.raises(ValueError, match="no iuv"):
        draw.charts(GREY, people(iuv=False))


@pytest.mark.parametrize(("picture", "channel"), [(draw.u, 1), (draw.v, 2)])
def test_a_coordinate_goes_from_blue_to_yellow(picture: Any, channel: int) -> None:
    charts = np.zeros((1, 3, 8, 8), np.uint8)
    charts[0, 0] = 2
    charts[0, channel, :, 4:] = 255
    charts[0, 3 - channel] = 128
    who = People(np.array([[20, 20, 60, 60]], np.float32), np.array([0.9], np.float32), SIZE, iuv=charts)
    drawn = picture(GREY, who, alpha=1)
    red, green, blue = drawn[40, 22].tolist()
    assert blue > red + 50
    red, green, blue = drawn[40, 57].tolist()
    assert min(red, green) > blue + 80
    assert (drawn[18] == 100).all()
    mixed = picture(GREY, who, alpha=0.5)[40, 22].astype(float)
    assert mixed == pytest.approx((drawn[40, 22].astype(float) + 100) / 2, abs=1)


def test_labels_are_written_instead_of_scores() -> None:
    only = {"alpha": 0.0, "boxes": False, "outlines": False}
    for labels in (["0.93", "0.41"], np.array(["0.93", "0.41"]), ("0.93", 0.41)):
        assert np.array_equal(draw.overlay(GREY, people(), labels=labels, **only), draw.overlay(GREY, people(), **only))
    named = draw.overlay(GREY, people(), labels=["Ann", 7], scores=False, **only)
    assert not np.array_equal(named, draw.overlay(GREY, people(), **only))
    assert np.array_equal(people().draw(GREY, labels=["Ann", 7], **only), named)
    with pytest.raises(ValueError, match="1 labels for 2 people"):
        draw.overlay(GREY, people(), labels=["Ann"])


def test_a_tracked_person_keeps_the_colour_of_the_number() -> None:
    followed = replace(people(), tracker_id=np.array([5, 3], np.int32))
    assert tuple(draw.instances(followed)[60, 50].tolist()) == draw.instance_colour(5)
    assert tuple(draw.overlay(GREY, followed, scores=False)[30, 120].tolist()) == draw.instance_colour(3)


def test_contours_are_lines_inside_the_person() -> None:
    picture = draw.contours(GREY, people().select([0]), levels=5)
    changed = (picture != 100).any(axis=2)
    assert not changed[:, 90:].any()
    row = picture[58, 30:76].astype(int)
    # U runs from 32 to 216 of 255 over the part, so of the levels 0, 1/4, .. 1 three are crossed: 1/4, 1/2, 3/4.
    bright = (row.max(axis=1) > 110).astype(int)
    assert (np.diff(np.r_[0, bright]) == 1).sum() == 3


def test_texture_is_looked_up_column_by_column_with_v_upwards() -> None:
    side = 4
    atlas = np.zeros((6 * side, 4 * side, 3), np.uint8)
    atlas[side : 2 * side, :side] = 50  # part 2: second row of the first column
    atlas[side : side + 2, :side] = 200  # its upper half is V > 0.5
    picture = draw.texture(GREY, people().select([0]), atlas)
    assert picture[85, 50].tolist() == [200] * 3  # V grows downwards here
    assert picture[40, 50].tolist() == [50] * 3
    atlas[:] = 0
    atlas[:side, :side] = 255  # part 1: nobody has it, and black texels show the photo
    assert np.array_equal(draw.texture(GREY, people(), atlas), GREY)


def test_a_transparent_texture_shows_the_photo() -> None:
    atlas = np.full((6, 4, 4), 200, np.uint8)
    atlas[..., 3] = 0
    assert np.array_equal(draw.texture(GREY, people(), atlas), GREY)
    atlas[..., 3] = 51  # a fifth
    assert draw.texture(GREY, people(), atlas)[60, 50].tolist() == [120] * 3


def worn(boxes: list[list[float]]) -> tuple[NDArray[np.uint8], People]:
    """A grey picture and people all over whose boxes U and V of part 10 run, from 0 to 1."""
    ramp = np.linspace(0, 255, 128).round().astype(np.uint8)
    iuv = np.stack([np.full((128, 128), 10, np.uint8), *np.meshgrid(ramp, ramp[::-1])])
    scores = np.linspace(0.9, 0.5, len(boxes)).astype(np.float32)
    size = (200, 300)
    who = People(np.array(boxes, np.float32), scores, size, iuv=np.repeat(iuv[None], len(boxes), axis=0))
    return np.full((*size, 3), 100, np.uint8), who


@pytest.mark.parametrize("box", [[20, 10, 210, 190], [30.4, 20.2, 99.7, 130.9], [40, 40, 62, 70]])
def test_unwrap_takes_off_what_texture_puts_on(box: list[float]) -> None:
    grey, who = worn([box])
    coarse = np.random.default_rng(0).integers(30, 225, (6 * 4, 4 * 4, 3)).astype(np.uint8)
    atlas = cv2.resize(coarse, (4 * 32, 6 * 32), interpolation=cv2.INTER_LINEAR)
    dressed = draw.texture(grey, who, atlas)
    taken = draw.unwrap(dressed, who, 0, side=32)
    assert taken.shape == (6 * 32, 4 * 32, 4)
    tile = (slice(3 * 32, 4 * 32), slice(32, 2 * 32))  # part 10: fourth row of the second column
    assert (taken[tile][1:-1, 1:-1, 3] == 255).all()
    others = taken.copy()
    others[tile] = 0
    assert not others.any()
    seen = taken[tile][..., 3] > 0
    error = np.abs(taken[tile][..., :3].astype(int) - atlas[tile])[seen]
    assert error.mean() < 8  # neighbouring texels differ by as much, and the smallest person has 22 x 30 pixels
    again = draw.texture(grey, who, taken)
    assert np.abs(again.astype(int) - dressed).mean(axis=-1)[who.masks()[0]].mean() < 4


def test_unwrap_goes_through_a_photo_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    _, who = worn([[20.3, 10, 210.7, 190], [150, 10, 290, 190]])
    photo = np.random.default_rng(0).integers(0, 255, (*who.image_size, 3)).astype(np.uint8)
    whole = [draw.unwrap(photo, who, index, side=32) for index in range(2)]
    monkeypatch.setattr("parsing_rcnn.drawing.atlas._BAND", 5000)
    for index, taken in enumerate(whole):
        assert np.array_equal(draw.unwrap(photo, who, index, side=32), taken)


def test_unwrap_holds_no_more_than_what_it_looks_at() -> None:
    """The whole picture, enlarged eight times each way as a hand is here, would take half a gigabyte."""
    iuv = np.zeros((1, 3, 128, 128), np.uint8)
    iuv[0, :, :30, :15] = [[[3]], [[90]], [[30]]]
    size = (750, 500)
    who = People(np.array([[0, 0, 500, 750]], np.float32), np.array([0.9], np.float32), size, iuv=iuv)
    photo = np.full((*size, 3), 100, np.uint8)
    tracemalloc.start()
    try:
        taken = draw.unwrap(photo, who, 0, side=128)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (taken[taken[..., 3] > 0] == [100, 100, 100, 255]).all()
    assert taken.any()
    assert peak < 100e6


def test_unwrap_takes_nothing_of_who_is_in_front() -> None:
    grey, who = worn([[150, 10, 290, 190], [10, 10, 290, 190]])
    picture = grey.copy()
    picture[:, 150:] = [200, 0, 0]
    taken = draw.unwrap(picture, who, 1, side=32)[3 * 32 : 4 * 32, 32:64]
    assert (taken[4:28, 2:14] == [100, 100, 100, 255]).all()
    assert (taken[4:28, 18:30] == 0).all()
    assert not (taken[..., 0] > 110).any()
    assert not draw.unwrap(picture, replace(who, iuv=np.zeros_like(who.iuv)), 0).any()  # type: ignore[type-var]
    with pytest.raises(ValueError, match="no iuv"):
        draw.unwrap(GREY, people(iuv=False), 0)
    with pytest.raises(ValueError, match=r"\(60, 160, 3\)"):
        draw.unwrap(GREY[:60], people(), 0)


def test_unwrap_of_somebody_beside_the_picture_is_of_their_one_pixel_in_it() -> None:
    boxes = np.array([[0, 0, 8, 8], [18, 0, 26, 8]], np.float32)
    who = People(boxes, np.array([0.9, 0.8], np.float32), (8, 16), iuv=np.ones((2, 3, 8, 8), np.uint8))
    picture = np.zeros((8, 16, 3), np.uint8)
    picture[:, 15] = 90
    taken = draw.unwrap(picture, who, 1, side=8)
    assert taken.shape == (48, 32, 4)
    assert (taken[taken[..., 3] > 0] == [90, 90, 90, 255]).all()


@pytest.mark.parametrize("shape", [(6, 5, 3), (5, 4, 3), (6, 4), (6, 4, 2), (0, 0, 3)])
def test_a_wrong_atlas_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="texture atlas"):
        draw.texture(GREY, people(), np.zeros(shape, np.uint8))


PICTURES: list[Callable[[NDArray[np.uint8], People], NDArray[np.uint8]]] = [
    draw.overlay,
    lambda image, who: draw.instances(who, image),
    lambda image, who: draw.iuv(who, image),
    draw.contours,
    draw.charts,
    draw.u,
    draw.v,
    lambda image, who: draw.texture(image, who, np.full((6, 4, 3), 9, np.uint8)),
]


@pytest.mark.parametrize("picture", PICTURES)
def test_the_callers_picture_is_left_alone_and_nobody_changes_nothing(
    picture: Callable[[NDArray[np.uint8], People], NDArray[np.uint8]],
) -> None:
    image = GREY.copy()
    assert not np.array_equal(picture(image, people()), GREY)
    assert np.array_equal(image, GREY)
    nobody = picture(image, People.empty(SIZE))
    assert np.array_equal(nobody, GREY)
    assert nobody is not image


@pytest.mark.parametrize("picture", PICTURES)
def test_a_picture_of_another_size_is_refused(
    picture: Callable[[NDArray[np.uint8], People], NDArray[np.uint8]],
) -> None:
    with pytest.raises(ValueError, match=r"\(60, 160, 3\).*\(120, 160, 3\)"):
        picture(GREY[:60], people())


@pytest.mark.parametrize(
    "picture",
    [
        *PICTURES,
        lambda image, who: draw.unwrap(image, who, 0, side=8),
        lambda image, who: draw.unwrap(GREY, who, 1, others=[(image, who, 0)], side=8),
        draw.anonymise,
        draw.cutout,
        lambda image, who: who.cut(image, 1, transparent=True),
        lambda image, who: who.draw(image),
    ],
)
def test_a_photo_is_drawn_on_however_it_is_given(
    picture: Callable[[Any, People], NDArray[np.uint8]], tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, GREY.shape).astype(np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(noise).save(path)
    wanted = picture(noise, people())
    for given in (path, str(path), path.read_bytes(), Image.open(path)):
        assert np.array_equal(picture(given, people()), wanted)
    with pytest.raises(InvalidImage, match="no such file"):
        picture(tmp_path / "gone.png", people())
    with pytest.raises(ValueError, match=r"uint8 \(120, 160\), the people .*np\.dstack"):
        picture(noise[..., 0], people())


def test_a_photo_larger_than_the_usual_limits_is_drawn_on_where_people_were_found_in_it() -> None:
    limits = ImageLimits()
    buffer = BytesIO()
    Image.new("RGB", (limits.max_side + 4, 4)).save(buffer, "PNG")
    wide = People(np.array([[2, 0, 8, 4]], np.float32), np.ones(1, np.float32), (4, limits.max_side + 4))
    assert wide.draw(buffer.getvalue(), scores=False).shape == (*wide.image_size, 3)
    assert wide.cut(buffer.getvalue(), 0).shape == (4, 6, 3)
    buffer = BytesIO()
    Image.fromarray(GREY).save(buffer, "PNG")
    heavy = buffer.getvalue() + bytes(limits.max_bytes)
    assert np.array_equal(people().draw(heavy), people().draw(GREY))
    with pytest.raises(ImageTooLarge):
        decode(heavy)


def test_a_photo_that_lies_on_its_side_is_named_in_the_error() -> None:
    with pytest.raises(ValueError, match=r"\(160, 120, 3\), the people .*lies on its side.*codecs\.image\.decode"):
        draw.overlay(np.zeros((160, 120, 3), np.uint8), people())


@pytest.mark.parametrize("picture", [draw.iuv, draw.instances])
def test_a_photo_in_the_place_of_people_is_named_in_the_error(picture: Any) -> None:
    for image in (GREY, "photo.jpg"):
        with pytest.raises(TypeError, match=r"the other way round: this takes \(people, image\), and"):
            picture(image, people())
    with pytest.raises(TypeError, match="ndarray is no People"):
        picture(GREY)


@pytest.mark.parametrize("picture", [draw.overlay, draw.contours, draw.charts, draw.u, draw.anonymise, draw.cutout])
def test_people_in_the_place_of_a_photo_are_named_in_the_error(picture: Any) -> None:
    with pytest.raises(TypeError, match=r"the other way round: this takes \(image, people\), and ndarray is no People"):
        picture(people(), GREY)


def test_a_photo_given_to_parts_is_named_in_the_error() -> None:
    with pytest.raises(TypeError, match=r"this takes \(people\), and ndarray is no People"):
        draw.parts(GREY)  # type: ignore[arg-type]


def test_people_of_a_pixel_and_people_half_outside() -> None:
    boxes = np.array([[3, 3, 3.2, 3.2], [150, 100, 190, 150], [-20, -20, 5, 5]], np.float32)
    charts = np.full((3, 3, 8, 8), 5, np.uint8)
    who = People(boxes, np.full(3, 0.5, np.float32), SIZE, parts=charts[:, 0], iuv=charts)
    for picture in PICTURES:
        assert picture(GREY, who).shape == GREY.shape


def test_people_draw_is_the_overlay() -> None:
    assert np.array_equal(people().draw(GREY, alpha=0.3), draw.overlay(GREY, people(), alpha=0.3))


OPENCV: list[tuple[str, Callable[..., NDArray[np.uint8]]]] = [
    ("overlay", draw.overlay),
    ("charts", draw.charts),
    ("u", draw.u),
    ("v", draw.v),
    ("parts", lambda image, who, **given: draw.parts(who, **given)),
    ("labels", lambda image, who, **given: draw.parts(who, smooth=False, **given)),
    ("instances", lambda image, who, **given: draw.instances(who, image, **given)),
    ("instances on black", lambda image, who, **given: draw.instances(who, **given)),
    ("iuv", lambda image, who, **given: draw.iuv(who, image, **given)),
    ("iuv on black", lambda image, who, **given: draw.iuv(who, **given)),
    ("contours", draw.contours),
    ("anonymise", lambda image, who, **given: draw.anonymise(image, who, hide="people", **given)),
    ("cutout", draw.cutout),
    ("unwrap", lambda image, who, **given: draw.unwrap(image, who, 0, others=[(image, who, 1)], side=8, **given)),
    ("draw", lambda image, who, **given: who.draw(image, **given)),
    ("legend", lambda image, who, **given: draw.legend(who.taxonomy, **given)),
    ("cut", lambda image, who, **given: who.cut(image, 0, **given)),
    ("cut alone", lambda image, who, **given: who.cut(image, 1, transparent=True, **given)),
]


@pytest.mark.parametrize("picture", [picture for _, picture in OPENCV], ids=[name for name, _ in OPENCV])
def test_a_picture_of_opencv_comes_back_as_one(picture: Callable[..., NDArray[np.uint8]]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, GREY.shape).astype(np.uint8)
    blue_first = photo[..., ::-1].copy()
    drawn = picture(photo, people())
    found = picture(blue_first, people(), bgr=True)
    assert np.array_equal(found, drawn[..., [2, 1, 0, *range(3, drawn.shape[2])]])
    assert not np.array_equal(found, drawn)
    assert np.array_equal(blue_first, photo[..., ::-1])  # the caller's is left alone


def test_every_function_that_draws_takes_pictures_of_opencv() -> None:
    without = {name for name in draw.__all__ if "bgr" not in signature(getattr(draw, name)).parameters}
    assert without == {"instance_colour"}


def test_colours_of_opencv_to_the_number() -> None:
    blue = np.full((*SIZE, 3), (200, 100, 40), np.uint8)  # blue first
    coat = np.array([0xDD, 0x77, 0x00])  # #0077dd
    solid = draw.overlay(blue, people(), alpha=1, bgr=True, **BARE)
    assert solid[60, 50].tolist() == coat.tolist()
    assert solid[10, 10].tolist() == [200, 100, 40]
    half = draw.overlay(blue, people(), alpha=0.5, bgr=True, **BARE)
    assert np.abs(half[60, 50] - (coat + solid[10, 10]) / 2).max() <= 1
    assert draw.parts(people(), bgr=True)[60, 50].tolist() == coat.tolist()
    assert draw.iuv(people(), bgr=True)[62, 52].tolist() == pytest.approx([126, 126, 2 * 255 // 24], abs=3)
    atlas = np.full((6, 4, 4), (10, 20, 30, 255), np.uint8)  # blue first as well
    assert draw.texture(blue, people(), atlas, bgr=True)[60, 50].tolist() == [10, 20, 30]
    assert draw.unwrap(blue, people(), 0, side=8, bgr=True).max(axis=(0, 1)).tolist() == [200, 100, 40, 255]
    assert people().cut(blue, 0, bgr=True)[0, 0].tolist() == [200, 100, 40]
    assert draw.cutout(blue, people(), bgr=True)[60, 50].tolist() == [200, 100, 40, 255]


def test_only_arrays_are_of_opencv(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(GREY).save(path)
    for given in (path, path.read_bytes(), Image.open(path)):
        with pytest.raises(InvalidOptions, match=r"bgr: says how the channels of an array lie.*leave bgr out"):
            people().draw(given, bgr=True)
        with pytest.raises(InvalidOptions, match="leave bgr out"):
            people().cut(given, 0, bgr=True)
    with pytest.raises(ValueError, match=r"uint8 \(120, 160\), the people .*np\.dstack"):
        draw.u(GREY[..., 0], people(), bgr=True)
    with pytest.raises(ValueError, match=r"\(60, 160, 3\).*\(120, 160, 3\)"):
        draw.u(GREY[:60], people(), bgr=True)
    beside = People(np.array([[170, 20, 180, 40]], np.float32), np.ones(1, np.float32), SIZE)
    assert beside.cut(GREY, 0, bgr=True).shape == beside.cut(GREY, 0).shape
