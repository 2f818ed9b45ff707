"""Numbers for a live source: when people are new, and when a picture is looked at."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.people import People
from parsing_rcnn.tracking.numbering import Numbering

RED, BLUE = (200, 20, 20), (20, 20, 200)


def standing(*lefts: float, score: float = 0.9, maps: bool = True) -> People:
    """People of 40x120 pixels, all of whose cells are a coat, in a picture of 400x200."""
    boxes = np.array([[left, 50, left + 40, 170] for left in lefts], np.float32).reshape(-1, 4)
    parts = np.full((len(lefts), 16, 16), 7, np.uint8) if maps else None
    return People(boxes, np.full(len(lefts), score, np.float32), (200, 400), parts=parts)


def numbers(numbering: Numbering, people: People, time: float) -> list[int]:
    found = numbering.number(people, time).tracker_id
    assert found is not None
    return found.tolist()


@pytest.mark.parametrize(("pause", "number"), [(0.9, 1), (1.3, 2), (3600, 2)])
def test_after_a_pause_everybody_is_new(pause: float, number: int) -> None:
    numbering = Numbering()  # a frame each 0.1 s: the patience of a second, and two frames
    for tick in range(5):
        assert numbers(numbering, standing(100), tick / 10) == [1]
    assert numbers(numbering, standing(100), 0.4 + pause) == [number]


def test_a_slow_source_is_no_pause() -> None:
    numbering = Numbering()
    assert [numbers(numbering, standing(100), 1.8 * frame) for frame in range(5)] == [[1]] * 5


@pytest.mark.parametrize(("pace", "found"), [(4.9, [1, 1, 1]), (5.1, [1, 2, 3])])
def test_after_five_seconds_everybody_is_new_however_slow_the_source_is(pace: float, found: list[int]) -> None:
    numbering = Numbering()
    assert [numbers(numbering, standing(100), pace * frame)[0] for frame in range(3)] == found


def sized(people: People, times: float) -> People:
    """The same scene in a frame of another size, whose sides are whole numbers of pixels."""
    height, width = (int(length * times) for length in people.image_size)
    scale = np.array([width / people.image_size[1], height / people.image_size[0]] * 2, np.float32)
    return replace(people, boxes=people.boxes * scale, image_size=(height, width))


@pytest.mark.parametrize("first", [1.0, 0.37, 2.0])
@pytest.mark.parametrize("then", [0.5, 0.333, 1.77, 0.1])
def test_numbers_stay_with_people_when_frames_change_their_size(first: float, then: float) -> None:
    """In half the size the second stands where the first one stood."""
    scene = standing(100, 200)
    numbering = Numbering()
    for tick, times in enumerate((first, first, then, then, first)):
        found = numbering.number(sized(scene, times), tick / 10)
        assert found.tracker_id is not None
        assert found.tracker_id.tolist() == [1, 2]
        np.testing.assert_array_equal(found.boxes, sized(scene, times).boxes)  # of this frame, as they were


def test_all_are_new_when_frames_change_their_shape() -> None:
    numbering = Numbering()
    scene = standing(100)
    turned = replace(scene, image_size=(400, 200))
    assert [numbers(numbering, people, tick / 10) for tick, people in enumerate((scene, turned, turned, scene))] == [
        [1],
        [2],
        [2],
        [3],
    ]


def test_in_another_scene_whoever_stands_there_is_somebody_new() -> None:
    numbering = Numbering()
    assert [numbers(numbering, standing(100, 300), tick / 10) for tick in (0, 1)] == [[1, 2]] * 2
    numbering.forget()
    assert [numbers(numbering, standing(100), tick / 10) for tick in (2, 3)] == [[3]] * 2


def wall(seed: int) -> NDArray[np.uint8]:
    """A wall of 1200x200 that no other one is like."""
    shapes = np.random.default_rng(seed).normal(127, 90, (5, 30, 3)).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(shapes, (1200, 200), interpolation=cv2.INTER_CUBIC), np.uint8)


def watched(*frames: tuple[NDArray[np.uint8], float], size: float = 1.0) -> list[list[int]]:
    """The numbers of who stands there, without maps, in pictures of so many times the size of 400x200."""
    numbering, found = Numbering(), []
    for tick, (picture, left) in enumerate(frames):
        numbering.watch(cv2.resize(picture, None, fx=size, fy=size, interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]
        found.append(numbers(numbering, standing(left, maps=False), tick / 10))
    return found


@pytest.mark.parametrize("size", [1.0, 0.72, 2.0])
def test_nobody_keeps_a_number_over_a_cut(size: float) -> None:
    one, other = wall(1)[:, :400], wall(2)[:, :400]
    lit = (one * 0.5 + 120).astype(np.uint8)
    frames = (one, 100.0), (one, 100.0), (other, 100.0), (other, 100.0), (one, 100.0)
    assert watched(*frames, size=size) == [[1], [1], [2], [2], [3]]
    assert watched((one, 100), (lit, 100), (np.zeros_like(one), 100), (one, 100), size=size) == [[1]] * 4


@pytest.mark.parametrize("size", [1.0, 0.72, 2.0])
def test_people_keep_their_numbers_where_the_camera_is_knocked(size: float) -> None:
    """To where they do not overlap with themselves: their boxes are 40 pixels wide, and the picture jumps by 75."""
    wide = wall(3)
    frames = [(wide[:, left : left + 400], 300.0 - left) for left in (100, 100, 175, 175, 100)]
    assert watched(*frames, size=size) == [[1]] * 5


def test_frames_whose_people_nobody_asked_for_are_watched_too() -> None:
    one, wide, numbering = wall(1)[:, :400], wall(3), Numbering()
    numbering.watch(wide[:, 100:500])
    assert numbers(numbering, standing(250), 0) == [1]
    for left in (175, 250):  # by more in all than would be found again in one step
        numbering.watch(wide[:, left : left + 400])
    assert numbers(numbering, standing(100), 0.1) == [1]
    numbering.watch(one)
    numbering.watch(wide[:, 250:650])
    assert numbers(numbering, standing(100), 0.2) == [2]


def test_who_is_away_for_longer_than_a_second_is_somebody_new() -> None:
    for away, number in ((0.8, 1), (1.2, 2)):
        numbering = Numbering()
        assert numbers(numbering, standing(100), 0) == [1]
        for tick in range(1, round(10 * away)):
            assert numbers(numbering, standing(), tick / 10) == []
        assert numbers(numbering, standing(100), away) == [number]


def test_doubtful_boxes_are_those_of_known_people_or_nobodys() -> None:
    numbering = Numbering(confidence=0.6)
    assert numbers(numbering, standing(100, score=0.5), 0) == []
    assert numbers(numbering, standing(100, score=0.6), 0.1) == [1]
    found = numbering.number(standing(300, 102, score=0.3), 0.2)
    assert found.tracker_id is not None
    assert (found.boxes[:, 0].tolist(), found.tracker_id.tolist()) == ([102], [1])


def test_colours_are_looked_at_where_there_are_maps_and_no_oftener_than_needed() -> None:
    looked: list[float] = []

    def picture(colour: tuple[int, int, int], time: float) -> NDArray[np.uint8]:
        looked.append(time)
        return np.full((200, 400, 3), colour, np.uint8)

    numbering = Numbering()
    for tick in range(11):  # two people, looked at together, every fifth of a second
        numbering.number(standing(100, 300), tick / 10, lambda tick=tick: picture(RED, tick / 10))  # type: ignore[misc]
    assert len(looked) in (5, 6)
    assert len(set(looked)) == len(looked)  # once for both
    looked.clear()
    for tick in range(11):
        Numbering().number(standing(100, maps=False), tick / 10, lambda: picture(RED, 0))
    assert looked == []


@pytest.mark.parametrize(("colour", "number"), [(RED, 1), (BLUE, 2)])
def test_who_comes_back_in_the_same_coat_is_the_same(colour: tuple[int, int, int], number: int) -> None:
    numbering = Numbering()
    numbering.number(standing(100), 0, lambda: np.full((200, 400, 3), RED, np.uint8))
    numbering.number(standing(), 0.1)
    back = numbering.number(standing(200), 0.2, lambda: np.full((200, 400, 3), colour, np.uint8))
    assert back.tracker_id is not None
    assert back.tracker_id.tolist() == [number]
