"""Tiles of a picture: where they lie, who is taken from which by hand, and small people with the shipped model."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from export.rendered.pictures import render_scene
from parsing_rcnn.geometry import Region
from parsing_rcnn.inference.tiles import people_with_tiles, staying, tiles_of, united_with_tiles, whole
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline

SQUARE = (0, 0, 700, 700)  # of which neighbouring tiles share 100 pixels


def boxes(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize(
    "region",
    [
        (0, 0, 1920, 1080),
        (0, 0, 1080, 1920),
        (10, 20, 777, 787),
        (0, 0, 6000, 1200),
        (5, 0, 8, 2),
        (0, 0, 1, 1),
        (0, 0, 1, 2),
    ],
)
def test_tiles_cover_everything_are_of_one_size_and_share_a_seventh(region: Region, count: int) -> None:
    tiles = tiles_of(region, count)
    assert len({(right - left, bottom - top) for left, top, right, bottom in tiles}) == 1
    for axis in range(2):
        spans = sorted({(tile[axis], tile[axis + 2]) for tile in tiles})
        assert (spans[0][0], spans[-1][1]) == (region[axis], region[axis + 2])
        shared = max(region[2] - region[0], region[3] - region[1]) / 7
        for one, other in pairwise(spans):
            assert one[1] - other[0] > shared - 2  # whole pixels
    width, height = region[2] - region[0], region[3] - region[1]
    assert all(left < right and top < bottom for left, top, right, bottom in tiles)
    assert len({tile[0 if width >= height else 1] for tile in tiles}) == min(count, max(width, height))


@pytest.mark.parametrize(
    ("region", "count", "columns_and_rows"),
    [
        ((0, 0, 1600, 900), 2, (2, 2)),
        ((0, 0, 1600, 900), 3, (3, 3)),
        ((0, 0, 900, 1600), 4, (4, 4)),
        ((0, 0, 3000, 1000), 2, (2, 1)),
        ((0, 0, 3000, 1000), 4, (4, 2)),
        ((0, 0, 1000, 3000), 3, (2, 3)),
        ((0, 0, 10000, 500), 4, (4, 1)),
    ],
)
def test_a_panorama_has_fewer_rows_than_columns(region: Region, count: int, columns_and_rows: tuple[int, int]) -> None:
    tiles = tiles_of(region, count)
    assert (len({tile[0] for tile in tiles}), len({tile[1] for tile in tiles})) == columns_and_rows


def test_who_ends_at_an_inner_edge_is_cut() -> None:
    tile = (300, 0, 700, 400)  # left and lower edge lie inside the picture; a hundredth of it is four pixels
    people = boxes(
        [303, 10, 350, 90],  # at the left edge
        [304, 10, 350, 90],
        [600, 10, 700, 90],  # at the picture's right edge
        [400, 0, 450, 90],  # and its upper one
        [500, 300, 550, 397],  # at the lower edge
        [500, 300, 550, 396],
    )
    assert whole(people, tile, SQUARE).tolist() == [False, True, True, True, False, True]


def test_everybody_is_taken_once_from_a_tile_that_shows_all_of_them() -> None:
    one, other = tiles_of(SQUARE, 2)[:2]
    assert (one, other) == ((0, 0, 400, 400), (300, 0, 700, 400))
    nobody = (boxes(), scores())
    first = (boxes([310, 50, 360, 140], [20, 20, 60, 90], [350, 200, 400, 290]), scores(0.6, 0.9, 0.8))
    rows = staying(nobody, first, one, SQUARE, most=64)
    assert rows.tolist() == [0, 1]  # the third is cut
    kept = (first[0][rows], first[1][rows])
    second = (boxes([312, 50, 360, 142], [350, 200, 420, 290], [360, 210, 400, 250]), scores(0.7, 0.5, 0.4))
    # the first of the first tile is better in the second; the third of the second stands in front of that one's second
    assert staying(kept, second, other, SQUARE, most=64).tolist() == [1, 2, 3, 4]
    assert staying(kept, second, other, SQUARE, most=3).tolist() == [1, 2, 3]  # the best three
    assert staying(kept, nobody, other, SQUARE, most=64).tolist() == [0, 1]


def test_people_smaller_than_what_tiles_share_are_the_tiles_own() -> None:
    """In a picture of 700x700 those of up to 100 pixels; of the others a tile's score counts half."""
    first = (boxes([0, 0, 60, 200], [300, 300, 330, 390]), scores(0.9, 0.5))
    tiles = (boxes([302, 300, 330, 392], [500, 100, 530, 180], [100, 500, 250, 540]), scores(0.8, 0.7, 0.9))
    found = united_with_tiles(first, tiles, SQUARE, confidence=0.5, most=64)
    assert found.second.tolist() == [False, True, True]
    assert found.rows.tolist() == [0, 0, 1]
    np.testing.assert_allclose(found.scores, [0.9, 0.8, 0.7])
    lying = united_with_tiles(first, tiles, SQUARE, confidence=0.4, most=64)  # who is wide is none of the tiles' own
    assert (lying.rows.tolist()[-1], round(float(lying.scores[-1]), 3)) == (2, 0.45)
    assert united_with_tiles(first, tiles, SQUARE, confidence=0.5, most=1).rows.tolist() == [0]


@pytest.fixture(scope="module")
def square() -> np.ndarray:
    """Twelve people of 60-90 pixels in a picture of 1800x2700, in whose whole on the network's input they are 12-20."""
    picture = np.full((1800, 2700, 3), (150, 160, 170), np.uint8)
    for number, (top, left) in enumerate([(200, 300), (1100, 1250), (900, 2200), (1600, 100)]):
        picture[top : top + 110, left : left + 220] = cv2.resize(render_scene(number, 330, 660, 3), (220, 110))
    return picture


def test_small_people_of_a_large_picture_are_found_in_its_tiles(pipeline: Pipeline, square: np.ndarray) -> None:
    alone = pipeline.analyze(square, confidence=0.3)
    counts = [len(alone), *(len(pipeline.analyze(square, confidence=0.3, tiles=count)) for count in (2, 4))]
    assert counts[0] < counts[1] < counts[2]
    people = pipeline.analyze(square, confidence=0.3, tiles=4)
    assert len(people) >= 8
    assert people.image_size == (1800, 2700)
    placed = people.masks().any(0)
    assert placed.any()
    centres = (people.boxes[:, :2] + people.boxes[:, 2:]) / 2
    streets = [(300, 200), (1250, 1100), (2200, 900), (100, 1600)]
    assert all(any(x <= cx <= x + 220 and y <= cy <= y + 110 for x, y in streets) for cx, cy in centres)


def test_encoded_and_decoded_pictures_have_the_same_people(pipeline: Pipeline, square: np.ndarray) -> None:
    png = cv2.imencode(".png", square[..., ::-1])[1].tobytes()
    one, other = (pipeline.analyze(picture, confidence=0.3, tiles=4, tasks="") for picture in (png, square))
    np.testing.assert_array_equal(one.boxes, other.boxes)


def test_answers_of_tiles_are_put_together_as_their_detections_are(pipeline: Pipeline, square: np.ndarray) -> None:
    """What a gateway and the SDK do with a server's answers, in two tasks and with probabilities."""
    region = (100, 100, 2600, 1790)
    options = {"confidence": 0.2, "part_probs": True}
    ours = pipeline.analyze(square, region=region, tiles=2, **options)
    first = pipeline.analyze(square, region=region, **options)
    others = [pipeline.analyze(square, region=tile, **options) for tile in tiles_of(region, 2)]
    theirs = people_with_tiles(first, others, 2, region, confidence=0.2, most=64)
    assert len(ours) == len(theirs) > len(first)
    np.testing.assert_allclose(theirs.boxes, ours.boxes, atol=0.01)
    np.testing.assert_allclose(theirs.scores, ours.scores, atol=1e-5)
    for name in ("parts", "iuv", "part_probs"):
        assert (getattr(theirs, name) == getattr(ours, name)).mean() > 0.99
    assert theirs.timings["detector"] == round(sum(p.timings["detector"] for p in (first, *others)), 3)


def test_answers_of_different_pictures_or_tasks_are_not_put_together(pipeline: Pipeline, photo_jpeg: bytes) -> None:
    people, boxes_alone = pipeline.analyze(photo_jpeg), pipeline.analyze(photo_jpeg, tasks="")
    with pytest.raises(ValueError, match="image_size"):
        people_with_tiles(people, [People.empty((5, 5))] * 4, 2, None, 0.5, 64)
    with pytest.raises(ValueError, match="parts: only"):
        people_with_tiles(people, [people, people, people, boxes_alone], 2, None, 0.5, 64)
    with pytest.raises(ValueError, match="parts: only"):
        people_with_tiles(people, [boxes_alone] * 4, 2, None, 0.5, 64)
