"""Counting people in areas and across lines: numbers worked out by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn_client.video.pictures import draw_counts, draw_lines
from parsing_rcnn_client.video.zones import Counts, Line, Zone, ZoneCounter, Zones

SIZE = (100, 200)  # height, width


def standing(*feet: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """(numbers from 1, boxes 20 wide and 50 high) of people whose feet are at these x, y."""
    boxes = np.array([[x - 10, y - 50, x + 10, y] for x, y in feet], np.float32).reshape(-1, 4)
    return np.arange(1, len(feet) + 1), boxes


def walked(line: Line, *way: tuple[float, float]) -> dict[str, int]:
    """What a line counts of one person who stands at these points one after the other."""
    counter = ZoneCounter(Zones(lines=[line]), SIZE)
    counts = Counts()
    for foot in way:
        counts = counter.update(*standing(foot))
    return counts.lines[line.name]


def test_a_person_is_where_the_middle_of_the_lower_edge_is() -> None:
    square = Zone("square", [(50, 40), (150, 40), (150, 90), (50, 90)])
    triangle = Zone.parse("triangle=0,0,100%,0,0,100%")  # what lies above the diagonal from lower left to upper right
    counter = ZoneCounter(Zones([square, triangle]), SIZE)
    # in both; in the square alone; on the edge of the square; below it, with the box in it; right of it, likewise
    counts = counter.update(*standing((60, 60), (140, 80), (150, 90), (100, 91), (151, 60)))
    assert counts.inside == {"square": [1, 2, 3], "triangle": [1]}
    assert counts.zones == {"square": 3, "triangle": 1}
    assert counts.lines == {}
    assert counter.update(*standing()).zones == {"square": 0, "triangle": 0}


LEVEL = Line("level", [(50, 60), (150, 60)])  # from left to right: in is below


@pytest.mark.parametrize(
    ("line", "way", "passed"),
    [
        (LEVEL, [(100, 50), (100, 70)], (1, 0)),
        (LEVEL, [(100, 70), (100, 50)], (0, 1)),
        (LEVEL, [(100, 50), (100, 70), (100, 50), (100, 70)], (2, 1)),
        (Line("back", [(150, 60), (50, 60)]), [(100, 50), (100, 70)], (0, 1)),
        (Line("down", [(100, 0), (100, 100)]), [(120, 80), (80, 80)], (1, 0)),  # its right is the picture's left
        (Line("slope", [(0, 100), (200, 0)]), [(20, 50), (180, 60)], (1, 0)),
        (LEVEL, [(40, 50), (40, 70)], (0, 0)),  # past its end
        (LEVEL, [(140, 50), (170, 70)], (0, 0)),  # the way meets it at x = 155
        (LEVEL, [(140, 50), (158, 70)], (1, 0)),  # at x = 149
        (LEVEL, [(100, 70), (100, 90)], (0, 0)),  # came to be seen on this side
        (LEVEL, [(100, 50), (100, 60), (100, 70)], (1, 0)),  # for a moment on it
        (LEVEL, [(100, 50), (100, 60), (100, 50)], (0, 0)),  # turned round on it
        # boxes are 50 high, so 1 pixel from it is on it, and trembling there is no walking
        (LEVEL, [(100, 50), (100, 61), (100, 59), (100, 61), (100, 59)], (0, 0)),
        (LEVEL, [(100, 50), (100, 61.5), (100, 59)], (1, 0)),
    ],
)
def test_a_line_is_passed_from_one_side_to_the_other_between_its_ends(
    line: Line, way: list[tuple[float, float]], passed: tuple[int, int]
) -> None:
    assert walked(line, *way) == {"in": passed[0], "out": passed[1]}


def test_people_are_told_apart_by_their_numbers_and_may_be_unseen_for_a_while() -> None:
    counter = ZoneCounter(Zones(lines=[LEVEL]), SIZE)
    _, (above, below) = standing((100, 50), (100, 70))
    counter.update(np.array([1, 2]), np.stack([above, below]))
    counts = counter.update(np.array([2, 3]), np.stack([below, below]))  # 3 is new, 1 is hidden
    assert counts.lines == {"level": {"in": 0, "out": 0}}
    counts = counter.update(np.array([3, 1, 2]), np.stack([below, below, above]))
    assert counts.lines == {"level": {"in": 1, "out": 1}}


def test_where_the_camera_jumped_nobody_passes_a_line_by_that() -> None:
    counter = ZoneCounter(Zones(lines=[LEVEL]), SIZE)
    counter.update(*standing((100, 50)))
    counter.update(*standing((100, 70)), view=1)
    counts = counter.update(*standing((100, 70)), view=1)
    assert counts.lines == {"level": {"in": 0, "out": 0}}
    counts = counter.update(*standing((100, 50)), view=1)  # and there they go
    assert counts.lines == {"level": {"in": 0, "out": 1}}


def test_of_very_many_people_only_those_of_late_are_known() -> None:
    counter = ZoneCounter(Zones(lines=[LEVEL]), SIZE)
    _, (above, below) = standing((100, 50), (100, 70))
    for number in range(2, 3000):  # 1 stays all the time
        counter.update(np.array([1, number]), np.stack([above, above]))
    counts = counter.update(np.array([1, 2, 2999]), np.stack([below] * 3))
    assert counts.lines["level"]["in"] == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("door=1,2,3,4", "zone door: 2 points enclose nothing: name three or more"),
        ("door=1,2,3,4,5", "has 5 numbers, and points are x,y"),
        ("door=1,2,3,4,5,x", "zone door: 'x' is no number: pixels (320), or percent (50%)"),
        ("door=1,2,3,4,5,nan", "'nan' is no number"),
        ("door=1,2,3,4,5,", "'' is no number"),
        ("door=1,2,3,4,101%,5", "zone door: 101% is not from 0% to 100%"),
        ("door=1,2,3,4,-1%,5", "zone door: -1% is not from 0% to 100%"),
        ("1,2,3,4,5,6", "has no name: NAME=x,y"),
        ("=1,2,3,4,5,6", "has no name: NAME=x,y"),
        ("door=1,2,3,4,201,6", "zone door: 201,6 lies outside the picture of 200x100 pixels"),
        ("door=1,2,3,4,5,-6", "zone door: 5,-6 lies outside the picture"),
        ("door=1,2,3,4,5,6", "zone door: its points are all on one line"),
    ],
)
def test_what_is_no_zone_is_said(text: str, says: str) -> None:
    with pytest.raises(InvalidOptions) as raised:
        ZoneCounter(Zones([Zone.parse(text)]), SIZE)
    assert says in raised.value.detail


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gate=1,2", "line gate: 1 point, and a line has two: x,y,x,y"),
        ("gate=1,2,3,4,5,6", "line gate: 3 points, and a line has two"),
        ("gate=0,50,0%,50%", "line gate: its points are one and the same"),
    ],
)
def test_what_is_no_line_is_said(text: str, says: str) -> None:
    with pytest.raises(InvalidOptions) as raised:
        ZoneCounter(Zones(lines=[Line.parse(text)]), SIZE)
    assert says in raised.value.detail


def test_two_of_one_name_are_refused() -> None:
    door = Zone.parse("door=0,0,9,0,9,9")
    with pytest.raises(InvalidOptions, match="2 zones are named door"):
        Zones([door, door])
    Zones([door], [Line.parse("door=0,0,9,9")])  # a zone and a line are told apart


def test_what_is_drawn_is_an_outline_a_label_and_an_arrow() -> None:
    zones = Zones([Zone("a", [(20, 20), (180, 20), (180, 180), (20, 180)])], [Line("b", [(240, 150), (360, 150)])])
    counter = ZoneCounter(zones, (200, 400))
    counts = counter.update(*standing())
    canvas = np.full((200, 400, 3), 128, np.uint8)
    draw_lines(canvas, counter)
    draw_counts(canvas, counter, counts)
    drawn = (canvas != 128).any(axis=2)
    assert drawn[20, 20:180].all()
    assert drawn[20:180, 180].all()
    assert drawn[150, 240:360].all()
    assert not drawn[60:175, 30:175].any()  # the label is in the corner, and nothing is filled
    assert drawn[151:162, 300].all()  # the arrow, to the side that is in
    assert not drawn[165:, 190:].any()
    more = np.full((200, 400, 3), 128, np.uint8)
    draw_lines(more, counter)
    draw_counts(more, counter, Counts({"a": [1, 2]}, counts.lines))
    rows, columns = np.nonzero((more != canvas).any(axis=2))
    assert (rows.max() < 45, columns.max() < 90) == (True, True)  # where the number stands
    assert rows.size > 0


def test_labels_of_the_border_stay_in_the_picture() -> None:
    zones = Zones([Zone.parse("a long name=100%,100%,90%,100%,100%,98%")], [Line.parse("top=0,0,100%,0")])
    counter = ZoneCounter(zones, (120, 300))
    canvas = np.full((120, 300, 3), 128, np.uint8)
    draw_lines(canvas, counter)
    draw_counts(canvas, counter, counter.update(*standing()))
    (wide, _), _ = cv2.getTextSize("a long name: 0", cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
    assert (canvas[-3, 300 - wide :] != 128).any(axis=1).all()
    assert (canvas[1] != 128).any(axis=1).sum() > 50
