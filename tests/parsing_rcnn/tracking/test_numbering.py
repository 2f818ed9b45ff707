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


GREEN, YELLOW = (20, 180, 20), (220, 220, 20)


def in_file(step: float, coats: list[tuple[int, int, int]], pace: float, frames: int = 5) -> list[list[int]]:
    """The numbers of people 60 pixels apart, who walk so far from frame to frame; who is in the picture, by frame."""
    numbering, found = Numbering(), []
    for tick in range(frames):
        lefts = [20 + 60 * place + step * tick for place in range(len(coats))]
        there = [place for place, left in enumerate(lefts) if 0 <= left <= 360]
        picture = np.full((200, 400, 3), 127, np.uint8)
        for place in there:
            picture[50:170, round(lefts[place]) : round(lefts[place]) + 40] = coats[place]
        numbering.watch(picture)
        people = standing(*(lefts[place] for place in there))
        who = numbering.number(people, tick * pace, lambda picture=picture: picture).tracker_id  # type: ignore[misc]
        assert who is not None
        found.append([0] * len(coats))
        for place, number in zip(there, who.tolist(), strict=True):
            found[-1][place] = number
    return found


@pytest.mark.parametrize("pace", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("step", [60, -60, 50])
def test_of_rare_frames_nobody_takes_the_number_of_the_person_ahead(step: float, pace: float) -> None:
    """From one frame to the next everybody walks to where the next one was, or nearly so; the first one walks out."""
    coats = [RED, BLUE, GREEN, YELLOW]
    for numbers_now in in_file(step, coats, pace):
        assert all(number in (0, place + 1) for place, number in enumerate(numbers_now))


@pytest.mark.parametrize("pace", [0.1, 0.5, 1.0])
def test_people_dressed_alike_are_told_by_their_places(pace: float) -> None:
    assert in_file(8, [RED, RED, RED], pace) == [[1, 2, 3]] * 5


def test_somebody_alone_keeps_the_number_when_the_light_changes() -> None:
    numbering, found = Numbering(), []
    for tick, coat in enumerate((RED, RED, BLUE, RED)):
        picture = np.full((200, 400, 3), coat, np.uint8)
        numbered = numbering.number(standing(100), tick / 2, lambda picture=picture: picture)  # type: ignore[misc]
        found += numbered.tracker_id.tolist()  # type: ignore[union-attr]
    assert found == [1] * 4


GREYS = [(50, 50, 50), (85, 85, 85), (110, 105, 100), (150, 150, 155), (200, 200, 200)]
DARK = [(40, 40, 48), (46, 42, 44), (38, 44, 50), (50, 48, 42), (44, 40, 40)]
BRIGHT = [RED, (190, 60, 50), BLUE, (40, 40, 48), GREEN]
Coats = list[tuple[int, int, int]]


def in_a_row(pace: float, coats: Coats, lights: list[float], noise: float) -> list[list[int]]:
    """The numbers of people who stand still, a frame for each light; their colours change a little by themselves."""
    numbering, found, random = Numbering(), [], np.random.default_rng(3)
    for tick, light in enumerate(lights):
        picture = np.full((200, 400, 3), 127, np.uint8)
        lefts = [20 + 70 * place + random.normal(0, 1) for place in range(len(coats))]
        for left, coat in zip(lefts, coats, strict=True):
            colour = (np.array(coat) + random.normal(0, noise, 3)) * light
            picture[50:170, round(left) : round(left) + 40] = np.clip(colour, 0, 255)
        who = numbering.number(standing(*lefts), tick * pace, lambda picture=picture: picture)  # type: ignore[misc]
        found.append([] if who.tracker_id is None else who.tracker_id.tolist())
    return found


@pytest.mark.parametrize("pace", [0.34, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("coats", [GREYS, DARK, BRIGHT], ids=["greys", "dark", "bright"])
@pytest.mark.parametrize("noise", [0, 6, 15])
@pytest.mark.parametrize("light", [0, 0.3, 0.6])
def test_of_rare_frames_people_who_stand_keep_their_numbers_in_any_light(
    pace: float, coats: Coats, noise: float, light: float
) -> None:
    """In another light somebody may look as the next one did before, and of people dressed alike somebody always."""
    lights = [1 + light * float(np.sin(2 * tick * pace)) for tick in range(10)]
    assert in_a_row(pace, coats, lights, noise) == [[1, 2, 3, 4, 5]] * 10


@pytest.mark.parametrize("pace", [0.3, 0.34])
def test_of_three_frames_a_second_two_who_cross_keep_their_numbers(pace: float) -> None:
    """Each is where the other one was before, or nearly so, while their colours are learnt in part."""
    numbering, found = Numbering(), []
    for tick in range(8):
        lefts = [100 + 18 * tick, 250 - 18 * tick]
        picture = np.full((200, 400, 3), 127, np.uint8)
        for left, coat in zip(lefts, [RED, BLUE], strict=True):
            picture[50:170, left : left + 40] = coat
        who = numbering.number(standing(*lefts), tick * pace, lambda picture=picture: picture)  # type: ignore[misc]
        found.append([] if who.tracker_id is None else who.tracker_id.tolist())
    assert found == [[1, 2]] * 8
