"""People: the contract's checks, the paste, and who is in front."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import CIHP, MHP


def make(boxes: list[list[float]], size: tuple[int, int] = (20, 30), **fields: Any) -> People:
    scores = np.linspace(0.9, 0.5, len(boxes), dtype=np.float32)
    return People(np.array(boxes, np.float32).reshape(-1, 4), fields.pop("scores", scores), size, **fields)


def checker(side: int = 8) -> NDArray[np.uint8]:
    return (np.indices((side, side)).sum(axis=0) % 19 + 1).astype(np.uint8)


def disc_logits(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """Background, a disc, and a smaller disc inside it; x and y in 0..1 of the box."""
    distance = np.hypot(x - 0.5, y - 0.5)
    return np.stack([distance - 0.45, 0.45 - distance, 2.5 * (0.25 - distance) + 0.2])


def test_a_box_on_pixel_edges_copies_its_map() -> None:
    parts = checker()
    people = make([[3, 5, 11, 13]], parts=parts[None])
    labels, offset = people.crop(0)
    assert offset == (3, 5)
    assert np.array_equal(labels, parts)
    whole = people.label_map()
    assert whole.shape == (20, 30)
    assert np.array_equal(whole[5:13, 3:11], parts)
    assert np.count_nonzero(whole) == 64


def test_enlarging_by_two_doubles_every_cell() -> None:
    parts = checker()
    assert np.array_equal(make([[0, 0, 16, 16]], parts=parts[None]).crop(0)[0], np.kron(parts, np.ones((2, 2), int)))


@pytest.mark.parametrize(
    ("box", "offset", "columns"),
    [
        ([2.4, 0, 6.4, 4], (2, 0), [1, 2, 3, 4]),  # pixel centres 2.5, 3.5, ... are 0.1 into their cells
        ([2.6, 0, 6.6, 4], (3, 0), [1, 2, 3, 4]),
        ([2, 0, 4, 4], (2, 0), [2, 4]),  # centres 2.5, 3.5 are on the edges of cells 1 and 3, which begin there
        ([-2, 0, 2, 4], (0, 0), [3, 4]),
        ([28, 0, 32, 4], (28, 0), [1, 2]),
        ([1, 0, 1, 4], (1, 0), None),
    ],
)
def test_a_pixel_takes_the_cell_under_its_centre(
    box: list[float], offset: tuple[int, int], columns: list[int] | None
) -> None:
    parts = np.tile(np.arange(1, 5, dtype=np.uint8), (4, 1))
    labels, where = make([box], parts=parts[None]).crop(0)
    assert where == offset
    if columns is None:
        assert labels.shape == (4, 1)  # too thin for any centre: one column is kept
    else:
        assert labels[0].tolist() == columns


@given(
    st.integers(-40, 60), st.integers(-40, 60), st.floats(0, 40, width=32), st.floats(0, 40, width=32), st.booleans()
)
def test_the_paste_never_leaves_the_picture(left: int, top: int, width: float, height: float, exact: bool) -> None:
    probabilities = np.zeros((1, len(CIHP), 8, 8), np.uint8)
    probabilities[0, 3] = 255
    people = make([[left, top, left + width, top + height]], parts=checker()[None], part_probs=probabilities)
    labels, (x0, y0) = people.crop(0, exact)
    assert x0 >= 0
    assert y0 >= 0
    assert labels.size > 0
    assert x0 + labels.shape[1] <= 30
    assert y0 + labels.shape[0] <= 20
    assert people.label_map(exact).shape == (20, 30)


@given(st.integers(-40, 60), st.integers(-40, 60), st.floats(0, 40, width=32), st.floats(0, 40, width=32))
def test_areas_are_those_of_the_pasted_pixels(left: int, top: int, width: float, height: float) -> None:
    people = make([[left, top, left + width, top + height]], parts=checker()[None])
    assert people.areas(0).tolist() == np.bincount(people.crop(0)[0].ravel(), minlength=len(CIHP)).tolist()


@given(st.integers(-40, 60), st.integers(-40, 60), st.floats(0, 40, width=32), st.floats(0, 40, width=32))
def test_areas_of_charts_are_those_of_the_pasted_pixels(left: int, top: int, width: float, height: float) -> None:
    people = make([[left, top, left + width, top + height]], iuv=np.stack([checker()] * 3)[None])
    found = people.chart_areas(0)
    assert found.dtype == np.int64
    assert found.tolist() == np.bincount(people.iuv_crop(0)[0][0].ravel(), minlength=25).tolist()


def test_areas_of_charts_by_hand() -> None:
    iuv = np.zeros((1, 3, 2, 2), np.uint8)
    iuv[0, 0] = [[0, 2], [24, 2]]
    people = make([[0, 0, 6, 4]], iuv=iuv)  # a cell is 3 x 2 pixels
    assert {k: int(area) for k, area in enumerate(people.chart_areas(0)) if area} == {0: 6, 2: 12, 24: 6}
    with pytest.raises(ValueError, match="no iuv"):
        make([[0, 0, 6, 4]]).chart_areas(0)


def test_people_are_taken_like_rows_of_an_array() -> None:
    people = make([[x, 0, x + 4, 4] for x in range(4)], parts=np.arange(4, dtype=np.uint8).reshape(4, 1, 1))
    rows = np.arange(4)
    for index in (
        0,
        -1,
        np.int64(2),
        slice(1, 3),
        slice(None, None, -1),
        [2, 0],
        [],
        np.array([3, 3]),
        people.scores > 0.6,
        [True, False, False, True],
    ):
        found, wanted = people[index], np.atleast_1d(rows[index if np.size(index) else slice(0)])
        assert found.parts is not None
        assert found.boxes[:, 0].tolist() == wanted.tolist()
        assert found.parts.ravel().tolist() == wanted.tolist()
    assert len(People.empty((4, 4))[np.zeros(0, bool)]) == 0


def test_wrong_indices_are_named() -> None:
    people = make([[0, 0, 4, 4], [5, 0, 9, 4]])
    for index in (2, -3, [0, 2], [True, False, True]):
        with pytest.raises(IndexError):
            people[index]
    for mask in (np.zeros(0, bool), np.ones(3, bool)):
        for taken in (people.__getitem__, people.select):
            with pytest.raises(
                IndexError, match=rf"a bool mask \({len(mask)},\) for 2 people: it has a value for each"
            ):
                taken(mask)
    for index in ("0", 1.0, True, None, [[0, 1]], [0.0, 1.0]):
        with pytest.raises(TypeError, match="people are taken by an int, a slice, a bool mask"):
            people[index]  # type: ignore[index]


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 63), st.booleans())
def test_moving_a_box_by_whole_pixels_moves_its_labels(dx: int, dy: int, part: int, exact: bool) -> None:
    fraction = part / 64  # what float32 holds exactly, here and ten pixels further
    grid = (np.arange(8) + 0.5) / 8
    soft = disc_logits(grid[None, :], grid[:, None])
    probabilities = np.zeros((1, len(CIHP), 8, 8), np.uint8)
    probabilities[0, :3] = np.rint(255 * np.exp(4 * soft) / np.exp(4 * soft).sum(axis=0))
    box = np.array([1 + fraction, 2 + fraction / 2, 15, 11.25])
    maps = {"parts": probabilities[:, :3].argmax(axis=1).astype(np.uint8), "part_probs": probabilities}
    here = make([box.tolist()], (30, 40), **maps).label_map(exact)
    there = make([(box + np.array([dx, dy, dx, dy])).tolist()], (30, 40), **maps).label_map(exact)
    assert np.array_equal(np.roll(here, (dy, dx), axis=(0, 1)), there)


@pytest.mark.parametrize("tall", [60, 300])
def test_the_exact_paste_is_closer_to_a_smooth_shape(tall: int) -> None:
    box = np.array([7.3, 4.8, 7.3 + tall / 2, 4.8 + tall])
    size = (tall + 12, tall // 2 + 20)
    x = (np.arange(size[1]) + 0.5 - box[0]) / (box[2] - box[0])
    y = (np.arange(size[0]) + 0.5 - box[1]) / (box[3] - box[1])
    truth = disc_logits(x[None, :], y[:, None]).argmax(axis=0)
    cells = (np.arange(64) + 0.5) / 64
    soft = disc_logits(cells[None, :], cells[:, None])
    probabilities = np.zeros((1, len(CIHP), 64, 64), np.uint8)
    probabilities[0, :3] = np.rint(255 * np.exp(12 * soft) / np.exp(12 * soft).sum(axis=0))
    people = make([box.tolist()], size, parts=soft.argmax(axis=0).astype(np.uint8)[None], part_probs=probabilities)

    def mean_iou(labels: NDArray[np.uint8]) -> float:
        return float(
            np.mean([((labels == k) & (truth == k)).sum() / ((labels == k) | (truth == k)).sum() for k in range(3)])
        )

    fast, exact = mean_iou(people.label_map()), mean_iou(people.label_map(exact=True))
    assert fast > 0.95
    assert exact > 0.99
    assert exact > fast


def test_the_exact_paste_interpolates_between_cell_centres() -> None:
    # Class 1 fades from 200 to 0, class 2 from 50 to 210: by hand they cross 150/360 of the way from centre to centre.
    probabilities = np.zeros((1, len(CIHP), 1, 2), np.uint8)
    probabilities[0, 1] = [200, 0]
    probabilities[0, 2] = [50, 210]
    labels = make([[0, 0, 72, 1]], (1, 72), part_probs=probabilities).crop(0, exact=True)[0][0]
    crossing = 18 + 36 * 150 / 360  # pixels: the cell centres are at 18 and 54
    assert labels.tolist() == [1 if x + 0.5 < crossing else 2 for x in range(72)]


def test_the_higher_score_is_in_front_and_background_hides_nobody() -> None:
    front = np.zeros((4, 4), np.uint8)
    front[:, :2] = 5
    back = np.full((4, 4), 9, np.uint8)
    people = make([[0, 0, 4, 4], [0, 0, 8, 4]], (4, 8), parts=np.stack([front, back]))
    assert people.label_map()[0].tolist() == [5, 5, 9, 9, 9, 9, 9, 9]
    assert people.instance_map()[0].tolist() == [1, 1, 2, 2, 2, 2, 2, 2]
    swapped = make([[0, 0, 4, 4], [0, 0, 8, 4]], (4, 8), parts=np.stack([front, back]), scores=np.float32([0.1, 0.8]))
    assert (swapped.label_map() == 9).all()
    assert (swapped.instance_map() == 2).all()


def test_of_equal_scores_the_first_is_in_front() -> None:
    parts = np.stack([np.full((2, 2), k, np.uint8) for k in (3, 4)])
    people = make([[0, 0, 2, 2]] * 2, (2, 2), parts=parts, scores=np.full(2, 0.5, np.float32))
    assert (people.label_map() == 3).all()


def test_iuv_map_keeps_the_values_and_says_whose_they_are() -> None:
    iuv = np.zeros((2, 3, 2, 2), np.uint8)
    iuv[0, :, 0, 0] = (24, 255, 1)
    iuv[1] = np.array([7, 100, 200])[:, None, None]
    people = make([[0, 0, 2, 2], [1, 0, 3, 2]], (2, 4), iuv=iuv)
    values, owner = people.iuv_map()
    assert owner.tolist() == [[1, 2, 2, 0], [0, 2, 2, 0]]
    assert values[0, 0].tolist() == [24, 255, 1]
    assert values[1, 2].tolist() == [7, 100, 200]
    assert values[0, 3].tolist() == [0, 0, 0]
    assert np.array_equal(people.instance_map(), owner)  # the silhouette without part maps


def test_a_smooth_iuv_crop_interpolates_inside_a_part_and_never_across_its_edge() -> None:
    iuv = np.zeros((1, 3, 16, 16), np.uint8)
    iuv[0, 0] = np.where(np.arange(16) < 8, 2, 15)  # two parts side by side
    iuv[0, 1] = np.where(np.arange(16) < 8, 10 * np.arange(16), 200)
    people = make([[0, 0, 64, 64]], (64, 64), iuv=iuv)
    (part, u, _), offset = people.iuv_crop(0, exact=True)
    assert offset == (0, 0)
    plain = people.iuv_crop(0)[0]
    assert plain.shape == (3, 64, 64)
    row = u[32].astype(int)
    assert (part[32, :30] == 2).all()
    assert (part[32, 34:] == 15).all()
    assert (np.diff(row[:30]) >= 0).all()
    assert np.diff(row[:30]).max() <= 4  # 10 a cell of 4 pixels
    assert set(np.diff(plain[1, 32, :32].astype(int))) == {0, 10}
    assert row[:31].max() <= 72  # nothing of the neighbour's 200
    assert abs(row[40] - 200) <= 1


def test_smooth_u_and_v_that_are_the_same_everywhere_stay_as_they_are() -> None:
    for value in range(256):
        iuv = np.full((1, 3, 8, 8), value, np.uint8)
        iuv[:, 0] = 1
        crop, _ = make([[0, 0, 16, 16]], (16, 16), iuv=iuv).iuv_crop(0, exact=True)
        assert set(crop[1:].ravel().tolist()) == {value}


def test_smooth_maps_of_the_picture_are_the_smooth_crops() -> None:
    iuv = np.zeros((1, 3, 8, 8), np.uint8)
    iuv[0, 0, 2:6, 2:6] = 3
    iuv[0, 1, 2:6, 2:6] = 40 * np.arange(4)
    people = make([[0, 0, 64, 64]], (64, 64), iuv=iuv)
    values, owner = people.iuv_map(exact=True)
    crop = people.iuv_crop(0, exact=True)[0]
    assert np.array_equal(values, crop.transpose(1, 2, 0))
    assert np.array_equal(owner > 0, crop[0] > 0)
    assert np.array_equal(people.instance_map(exact=True), owner)
    assert not np.array_equal(people.instance_map(), owner)


def test_exact_instances_are_the_exact_silhouettes() -> None:
    probabilities = np.zeros((1, len(CIHP), 8, 8), np.uint8)
    probabilities[0, 0] = 255
    probabilities[0, :2, 2:6, 2:6] = [[[55]], [[200]]]
    people = make([[0, 0, 64, 64]], (64, 64), parts=probabilities.argmax(1).astype(np.uint8), part_probs=probabilities)
    assert np.array_equal(people.instance_map(exact=True) > 0, people.label_map(exact=True) > 0)
    assert not np.array_equal(people.instance_map(exact=True), people.instance_map())


@pytest.mark.parametrize(("count", "kind"), [(255, np.uint8), (256, np.uint16), (300, np.uint16)])
def test_more_than_255_people_need_16_bits(count: int, kind: type) -> None:
    boxes = [[x, 0, x + 1, 1] for x in range(count)]
    maps = {"parts": np.ones((count, 1, 1), np.uint8), "iuv": np.ones((count, 3, 1, 1), np.uint8)}
    people = make(boxes, (1, count), **maps)
    for instances in (people.instance_map(), people.iuv_map()[1]):
        assert instances.dtype == kind
        assert instances[0].tolist() == list(range(1, count + 1))


@pytest.mark.parametrize("shape", [(0, 128, 128), (0, 0, 0)])
def test_nobody(shape: tuple[int, ...]) -> None:
    people = People.empty((4, 6), parts=np.zeros(shape, np.uint8), iuv=np.zeros((0, 3, 8, 8), np.uint8))
    assert len(people) == 0
    assert people.label_map().tolist() == np.zeros((4, 6)).tolist()
    assert people.instance_map().shape == (4, 6)
    assert people.iuv_map()[0].shape == (4, 6, 3)
    assert people.to_coco(1) == []
    assert people.to_densepose() == []
    assert len(people.select([])) == 0


def test_select() -> None:
    people = make(
        [[0, 0, 2, 2], [1, 1, 3, 3], [2, 2, 4, 4]],
        parts=np.arange(1, 4, dtype=np.uint8)[:, None, None],
        timings={"a": 1.0},
    )
    chosen = people.select([2, 0])
    assert chosen.boxes[:, 0].tolist() == [2, 0]
    assert chosen.parts is not None
    assert chosen.parts.ravel().tolist() == [3, 1]
    assert chosen.iuv is None
    assert chosen.timings == {"a": 1.0}
    assert len(people.select(people.scores > 0.6)) == 2
    assert len(people.select([])) == 0


def test_each_of_the_people_is_people_of_one() -> None:
    people = make([[0, 0, 2, 2], [1, 1, 3, 3]], parts=np.arange(1, 3, dtype=np.uint8)[:, None, None])
    ones = list(people)
    assert [one.boxes.tolist() for one in ones] == [[[0, 0, 2, 2]], [[1, 1, 3, 3]]]
    assert ones[1].label_map().tolist() == np.where(people.masks()[1], 2, 0).tolist()
    assert list(People.empty((4, 6))) == []


def test_masks_of_everybody_share_the_pixels_where_people_overlap() -> None:
    people = make([[0, 0, 4, 4], [2, 2, 6, 6], [28, 18, 40, 40]], parts=np.ones((3, 1, 1), np.uint8))
    masks = people.masks()
    assert (masks.shape, masks.dtype) == ((3, 20, 30), np.bool_)
    assert masks.sum(axis=(1, 2)).tolist() == [16, 16, 4]
    assert masks[:2, 3, 3].all()
    assert make([], parts=np.ones((0, 1, 1), np.uint8)).masks().shape == (0, 20, 30)
    with pytest.raises(ValueError, match="no parts"):
        make([[0, 0, 4, 4]]).masks()


@given(st.integers(0, 2**32 - 1))
def test_polygons_filled_are_the_silhouette_without_its_holes(seed: int) -> None:
    cells = cv2.resize(np.random.default_rng(seed).random((6, 6)).astype(np.float32), (24, 24)) > 0.5
    people = make([[3.3, 5.2, 27.1, 18.9]], parts=cells[None].astype(np.uint8))
    filled = np.zeros(people.image_size, np.uint8)
    pieces = people.polygons(0)
    cv2.fillPoly(filled, pieces, 1)
    mask = people.masks()[0]
    # lines and dots have no three corners
    sure = cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    assert (filled[sure > 0] == 1).all()
    around = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    _, regions = cv2.connectedComponents(around, connectivity=4)
    assert not filled[(regions == regions[0, 0])[1:-1, 1:-1]].any()
    areas = [cv2.contourArea(piece) for piece in pieces]
    assert areas == sorted(areas, reverse=True)
    assert all(piece.shape[1:] == (2,) and piece.dtype == np.int32 for piece in pieces)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    people = make(
        [[0.5, 0, 2, 2.25]],
        parts=np.full((1, 8, 8), 58, np.uint8),
        part_scores=np.full((1, len(MHP)), 0.5, np.float32),
        iuv=np.full((1, 3, 8, 8), 7, np.uint8),
        iuv_scores=np.full((1, 25), 0.25, np.float32),
        taxonomy=MHP,
    )
    people.save(tmp_path / "people.npz")
    again = People.load(str(tmp_path / "people.npz"), MHP)
    for name in ("boxes", "scores", "parts", "part_scores", "iuv", "iuv_scores"):
        np.testing.assert_array_equal(getattr(again, name), getattr(people, name))
    assert (again.image_size, again.taxonomy) == (people.image_size, MHP)
    told = People.load(tmp_path / "people.npz")  # by the number of its classes
    assert told.taxonomy is MHP
    np.testing.assert_array_equal(told.parts, people.parts)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"parts: contains 58, the highest id is 19"):
        People.load(tmp_path / "people.npz", CIHP)
    replace(people, part_scores=None).save(tmp_path / "fewer.npz")
    with pytest.raises(ValueError, match=r"parts: contains 58, the highest id is 19"):
        People.load(tmp_path / "fewer.npz")
    assert People.load(tmp_path / "fewer.npz", MHP).taxonomy is MHP
    people.select([]).save(tmp_path / "nobody.npz")
    assert People.load(tmp_path / "nobody.npz").taxonomy is MHP
    (tmp_path / "other.npz").write_bytes(b"something else")
    with pytest.raises(ValueError, match="npz of people"):
        People.load(tmp_path / "other.npz")


def test_people_and_charts_print_as_one_line() -> None:
    maps = {"parts": np.ones((2, 2, 2), np.uint8), "iuv": np.ones((2, 3, 2, 2), np.uint8)}
    people = make([[0, 0, 4, 4], [2, 1, 10, 5]], (336, 448), **maps)
    assert repr(people) == "People(2 in 448x336: 0.90, 0.50; parts, iuv)"
    assert str(people.to_densepose()) == "[ChartResult(4x4 at (0, 0): 0.90), ChartResult(8x4 at (2, 1): 0.50)]"
    assert repr(People.empty((336, 448), parts=maps["parts"][:0])) == "People(0 in 448x336; parts)"
    crowd = make([[0, 0, 4, 4]] * 64)
    assert repr(crowd) == "People(64 in 30x20: 0.90, 0.89, 0.89, 0.88, 0.87, 0.87, 0.86, 0.86, ...; boxes only)"


def test_a_missing_map_is_named_with_its_task() -> None:
    people = make([[0, 0, 4, 4]], parts=np.ones((1, 2, 2), np.uint8))
    with pytest.raises(ValueError, match=r"no iuv.*densepose"):
        people.iuv_map()
    with pytest.raises(ValueError, match=r"no part_probs.*Options\(part_probs=True\)"):
        people.label_map(exact=True)
    with pytest.raises(ValueError, match=r"no parts.*parsing"):
        make([[0, 0, 4, 4]]).instance_map()


BOX = np.array([[0, 0, 2, 2]], np.float32)
SCORE = np.array([0.5], np.float32)


@pytest.mark.parametrize(
    ("arguments", "fields", "error", "message"),
    [
        ((BOX.astype(np.float64), SCORE, (4, 4)), {}, TypeError, "boxes: expected float32, got float64"),
        ((BOX.tolist(), SCORE, (4, 4)), {}, TypeError, "boxes: expected float32, got list"),
        ((BOX[0], SCORE, (4, 4)), {}, ValueError, "boxes: expected shape"),
        ((BOX, np.ones(2, np.float32), (4, 4)), {}, ValueError, r"scores: expected shape \(1\), got \(2,\)"),
        ((BOX, SCORE, (0, 4)), {}, ValueError, "at least one pixel"),
        ((BOX * np.float32(np.nan), SCORE, (4, 4)), {}, ValueError, "boxes: contains NaN"),
        ((BOX[:, ::-1].copy(), SCORE, (4, 4)), {}, ValueError, "x1 <= x2"),
        ((BOX, SCORE, (4, 4)), {"parts": np.zeros((2, 4, 4), np.uint8)}, ValueError, r"parts: .*\(1, S, S\)"),
        ((BOX, SCORE, (4, 4)), {"parts": np.zeros((1, 4, 0), np.uint8)}, ValueError, "parts: expected shape"),
        ((BOX, SCORE, (4, 4)), {"parts": np.zeros((1, 4, 4), np.int64)}, TypeError, "parts: expected uint8, got int64"),
        ((BOX, SCORE, (4, 4)), {"parts": np.full((1, 4, 4), 20, np.uint8)}, ValueError, r"20.*highest id is 19"),
        ((BOX, SCORE, (4, 4)), {"iuv": np.zeros((1, 2, 4, 4), np.uint8)}, ValueError, r"iuv: .*\(1, 3, S, S\)"),
        ((BOX, SCORE, (4, 4)), {"iuv": np.full((1, 3, 4, 4), 25, np.uint8)}, ValueError, "highest id is 24"),
        ((BOX, SCORE, (4, 4)), {"part_scores": np.zeros((1, 7), np.float32)}, ValueError, "part_scores"),
        ((BOX, SCORE, (4, 4)), {"iuv_scores": np.zeros((1, 24), np.float32)}, ValueError, "iuv_scores"),
        ((BOX, SCORE, (4, 4)), {"part_probs": np.zeros((1, 7, 4, 4), np.uint8)}, ValueError, "part_probs"),
    ],
)  # fmt: skip
def test_wrong_arrays_are_refused(
    arguments: tuple[Any, ...], fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        People(*arguments, **fields)
