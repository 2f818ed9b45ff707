"""Second boxes of one person: left out by hand-worked overlaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.people import People

# 0 and 1 share 80 x 100 of 12,000 pixels: IoU 2/3. 2 lies in 0 with 30 x 40 of its 36 x 40 pixels: 5/6.
BOXES = [[0, 0, 100, 100], [20, 0, 120, 100], [70, 30, 106, 70], [300, 0, 310, 10]]
SCORES = [0.9, 0.8, 0.7, 0.6]


def people(boxes: list[list[float]], scores: list[float]) -> People:
    return People(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), (400, 400))


def kept(who: People, **limits: float) -> list[int]:
    return [BOXES.index(box) for box in who.nms(**limits).boxes.tolist()]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, [0, 2, 3]),  # 1 goes by IoU, so 2, all of which lies in 1, stays
        ({"iou": 0.67}, [0, 1, 3]),
        ({"iou": 0.66}, [0, 2, 3]),
        ({"inside": 0.84}, [0, 2, 3]),
        ({"inside": 0.83}, [0, 3]),
        ({"iou": 1, "inside": 1}, [0, 1, 2, 3]),
    ],
)
def test_a_box_that_overlaps_a_better_kept_one_is_left_out(limits: dict[str, float], expected: list[int]) -> None:
    assert kept(people(BOXES, SCORES), **limits) == expected


def test_the_better_one_stays_wherever_it_stands() -> None:
    assert kept(people(BOXES[:2], [0.5, 0.8])) == [1]
    assert kept(people(BOXES[:2], [0.8, 0.8])) == [0]
    child, parent = [[10, 10, 30, 50]], [[0, 0, 100, 200]]
    assert people([*child, *parent], [0.9, 0.5]).nms().scores.tolist() == pytest.approx([0.9, 0.5])  # the small is best
    assert people([*parent, *child], [0.9, 0.5]).nms().scores.tolist() == pytest.approx([0.9])
    assert len(people([*parent, *child], [0.9, 0.5]).nms(inside=1)) == 2


def test_maps_go_with_their_people() -> None:
    parts = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 2, 2), np.uint8)
    who = people(BOXES, SCORES)
    found = People(who.boxes, who.scores, who.image_size, parts=parts).nms()
    assert found.parts is not None
    assert found.parts[:, 0, 0].tolist() == [0, 2, 3]
    assert len(People.empty((4, 4)).nms()) == 0


@given(st.lists(st.tuples(*[st.integers(0, 40)] * 4, st.floats(0, 1, width=32)), max_size=12))
def test_nobody_who_is_kept_overlaps_another(drawn: list[tuple[int, int, int, int, float]]) -> None:
    boxes = [[x, y, x + width, y + height] for x, y, width, height, _ in drawn]
    found = people(boxes, [score for *_, score in drawn]).nms(iou=0.3, inside=0.6).boxes.tolist()
    for index, (x1, y1, x2, y2) in enumerate(found):
        for left, top, right, bottom in found[index + 1 :]:
            shared = max(min(x2, right) - max(x1, left), 0) * max(min(y2, bottom) - max(y1, top), 0)
            assert shared <= 0.3 * ((x2 - x1) * (y2 - y1) + (right - left) * (bottom - top) - shared) + 1e-3


@pytest.mark.parametrize("limits", [{"iou": 1.5}, {"inside": -0.1}, {"iou": float("nan")}])
def test_limits_out_of_range_are_named(limits: dict[str, float]) -> None:
    with pytest.raises(InvalidOptions, match=rf"^{next(iter(limits))}: .* is outside 0\.\.1"):
        people(BOXES, SCORES).nms(**limits)
