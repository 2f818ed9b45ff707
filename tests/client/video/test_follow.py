"""Who is carried into frames, and for how long; who is known again, and who is not."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from parsing_rcnn.people import People
from parsing_rcnn.taxonomy import MHP
from parsing_rcnn_client.video.follow import Follower, Tracked
from parsing_rcnn_client.video.layers import Look
from parsing_rcnn_client.video.media import Frame
from parsing_rcnn_client.video.zones import Counts, Line, ZoneCounter, Zones
from tests.client.video.conftest import annotated

IMAGE = np.full((240, 320, 3), 127, np.uint8)
PARTS = np.ones((1, 32, 32), np.uint8)


def walker(x: float, parts: bool) -> People:
    box, score = np.array([[x, 50, x + 40, 200]], np.float32), np.array([0.9], np.float32)
    return People(box, score, (240, 320), parts=PARTS if parts else None)


def walked(follower: Follower, parts: bool, gap: float = 1 / 30) -> float:
    """Ten analyses of somebody who walks: the time of the last one."""
    for i in range(10):
        follower.follow(Frame(i, i * gap, IMAGE), walker(100 + 4 * i, parts))
    return 9 * gap


@pytest.mark.parametrize("parts", [True, False])
def test_nobody_is_carried_for_ever(parts: bool) -> None:
    follower = Follower()
    blank = follower.follow(Frame(0, 0, IMAGE), None)
    assert (len(blank.people), blank.covered) == (0, False)
    last = walked(follower, parts)
    soon = follower.follow(Frame(10, last + 0.5, IMAGE), None)
    assert (len(soon.people), soon.covered) == (1, True)
    assert 0 < soon.shown[0, 0] < 320
    late = follower.follow(Frame(11, last + 1.5, IMAGE), None)
    assert (len(late.people), late.covered) == (0, False)
    again = follower.follow(Frame(12, last + 1.6, IMAGE), walker(100, parts))
    assert (len(again.people), again.covered) == (1, True)


def test_a_slow_engine_s_people_are_carried_to_its_next_answer_but_through_no_outage() -> None:
    follower = Follower()
    last = walked(follower, parts=True, gap=1.2)
    # the next answer comes at 1.2 s and is shown until 2.4 s
    assert len(follower.follow(Frame(10, last + 2.4, IMAGE), None).people) == 1
    follower.follow(Frame(11, last + 60, IMAGE), walker(100, parts=True))  # one outage changes nothing
    assert not follower.follow(Frame(12, last + 60 + 5, IMAGE), None).covered


def test_where_the_next_analysis_is_certain_people_are_carried_to_it() -> None:
    follower = Follower(gap=math.inf)
    last = walked(follower, parts=True)
    assert len(follower.follow(Frame(10, last + 10, IMAGE), None).people) == 1


@pytest.mark.parametrize("parts", [True, False])
def test_boxes_to_show_stay_within_the_picture_and_maps_where_they_lie(parts: bool) -> None:
    follower, far = Follower(), 0.0
    for i in range(20):  # every other one is carried, by what the last steps were
        people = walker(min(160 + 10 * i, 280), parts) if i % 2 == 0 else None
        tracked = follower.follow(Frame(i, i / 30, IMAGE), people)
        assert (tracked.shown >= 0).all()
        assert (tracked.shown <= [320, 240, 320, 240]).all()
        far = max(far, float(tracked.people.boxes[:, 2].max()))
    assert far > 320
    for i in range(20, 40):
        tracked = follower.follow(Frame(i, i / 30, IMAGE), None)
        assert (tracked.shown <= [320, 240, 320, 240]).all()


def people_of(*boxes: tuple[float, ...], score: float = 0.9, parts: bool = True) -> People:
    """A silhouette fills each box."""
    found = np.array(boxes, np.float32).reshape(-1, 4)
    maps = np.ones((len(found), 32, 32), np.uint8) if parts else None
    return People(found, np.full(len(found), score, np.float32), (240, 320), parts=maps)


@pytest.mark.parametrize("parts", [True, False])
@pytest.mark.parametrize("between", [0, 1])
def test_somebody_who_is_missed_for_a_moment_stays_in_the_picture(parts: bool, between: int) -> None:
    follower, step, time = Follower(), 1 / 30, 0.0
    for i in range(10):
        time = i * step
        seen = follower.follow(Frame(i, time, IMAGE), walker(100, parts))
    for i in range(1, 9):  # nobody is found for a little less than 0.3 seconds
        missed = follower.follow(Frame(10 + i, time + i * step, IMAGE), people_of(parts=parts))
        assert missed.numbers.tolist() == [1]
        assert missed.people.scores.tolist() == [0]
        assert np.abs(missed.shown - seen.shown).max() < 8
        if between:
            missed = follower.follow(Frame(10 + i, time + (i + 0.5) * step, IMAGE), None)
            assert (missed.numbers.tolist(), missed.people.scores.tolist()) == ([1], [0])
    assert len(follower.follow(Frame(20, time + 0.4, IMAGE), people_of(parts=parts)).numbers) == 0
    assert follower.follow(Frame(21, time + 0.5, IMAGE), walker(100, parts)).numbers.tolist() == [1]


@pytest.mark.parametrize("late", [0, 0.2])
def test_an_analysis_that_misses_somebody_counts_for_less_where_analyses_are_rare(late: float) -> None:
    follower = Follower()
    for i in range(6):
        follower.follow(Frame(i, i * 0.5, IMAGE), walker(100, parts=True))
    missed = follower.follow(Frame(6, 3.0 + late, IMAGE), people_of())
    assert missed.numbers.tolist() == [1]


def test_an_analysis_that_misses_everybody_has_its_own_timings() -> None:
    follower = Follower()
    follower.follow(Frame(0, 0, IMAGE), replace(walker(100, True), timings={"detector": 1.0}))
    missed = follower.follow(Frame(1, 1 / 30, IMAGE), replace(people_of(), timings={"detector": 2.0}))
    assert (missed.numbers.tolist(), missed.people.timings) == ([1], {"detector": 2.0})


def test_who_disappears_behind_somebody_else_is_hidden_by_anonymise_only() -> None:
    follower = Follower()
    front, behind = (100.0, 40.0, 180.0, 220.0), (130.0, 60.0, 170.0, 200.0)
    for i in range(5):
        both = people_of(front, (behind[0] + 60, behind[1], behind[2] + 60, behind[3]))
        assert follower.follow(Frame(i, i / 30, IMAGE), both).numbers.tolist() == [1, 2]
    follower.follow(Frame(5, 5 / 30, IMAGE), people_of(front, behind))
    alone = follower.follow(Frame(6, 6 / 30, IMAGE), people_of(front))
    assert alone.numbers.tolist() == [1]
    assert alone.doubtful is not None
    assert len(alone.doubtful) == 1


@pytest.mark.parametrize(("under", "numbers", "doubtful"), [(0.85, [1], 1), (0.7, [1, 2], 0)])
def test_who_is_missed_is_behind_somebody_who_covers_most_of_them(
    under: float, numbers: list[int], doubtful: int
) -> None:
    follower, front = Follower(), (100.0, 40.0, 180.0, 220.0)
    left = 180 - 40 * under
    for i in range(5):
        follower.follow(Frame(i, i / 30, IMAGE), people_of(front, (left, 60.0, left + 40, 200.0)))
    alone = follower.follow(Frame(5, 5 / 30, IMAGE), people_of(front))
    assert (alone.numbers.tolist(), len(alone.doubtful or ())) == (numbers, doubtful)


def test_probabilities_of_parts_change_nothing_of_who_is_joined() -> None:
    def sure(people: People) -> People:
        """As the engine in this process answers."""
        assert people.parts is not None
        probs = np.zeros((len(people), len(people.taxonomy), 32, 32), np.uint8)
        probs[:, 1] = 255 * people.parts
        scores = np.ones((len(people), len(people.taxonomy)), np.float32)
        return replace(people, part_probs=probs, part_scores=scores)

    follower = Follower()
    front, behind, doubted = (100.0, 40.0, 180.0, 220.0), (130.0, 60.0, 170.0, 200.0), (10.0, 50.0, 60.0, 200.0)
    for i in range(5):
        follower.follow(Frame(i, i / 30, IMAGE), sure(people_of(front, behind)))
    alone = follower.follow(Frame(5, 5 / 30, IMAGE), sure(people_of(front)))
    assert (alone.numbers.tolist(), len(alone.doubtful or ())) == ([1], 1)
    both = people_of(front, doubted)
    both = replace(both, scores=np.array([0.9, 0.2], np.float32))
    two = follower.follow(Frame(6, 6 / 30, IMAGE), sure(both))
    assert (two.numbers.tolist(), len(two.doubtful or ())) == ([1], 2)
    none = follower.follow(Frame(7, 7 / 30, IMAGE), sure(people_of()))
    assert sorted(none.numbers.tolist()) == [1, 2]


OTHER = {
    "size": replace(people_of((60, 50, 100, 200)), parts=np.ones((1, 48, 48), np.uint8)),
    "parts": replace(people_of((60, 50, 100, 200)), taxonomy=MHP, parts=np.full((1, 32, 32), 50, np.uint8)),
    "tasks": people_of((60, 50, 100, 200), parts=False),
    "nobody": People.empty((240, 320)),
}


@pytest.mark.parametrize("other", OTHER)
@pytest.mark.parametrize("before", OTHER)
def test_another_engine_may_answer_at_any_time(before: str, other: str) -> None:
    follower = Follower()
    for i, name in enumerate((before, before, other, "nobody", before, before, "nobody", other)):
        tracked = follower.follow(Frame(2 * i, i / 15, IMAGE), OTHER[name])
        follower.follow(Frame(2 * i + 1, i / 15 + 1 / 30, IMAGE), None)
    assert len(tracked.people) == (0 if before == other == "nobody" else 1)


def test_anonymise_hides_whom_nobody_follows() -> None:
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3)).astype(np.uint8)
    doubted: Tracked = Follower().follow(Frame(0, 0, image), people_of((100, 50, 140, 200), score=0.2))
    assert len(doubted.numbers) == 0

    def drawn(*layers: str) -> np.ndarray:  # type: ignore[type-arg]
        look = Look(layers=layers, hide="people")
        return annotated(image, doubted.people, doubted.numbers, doubted.shown, look, doubted.doubtful)

    changed = (drawn("anonymise") != image).any(axis=2)
    assert changed[60:190, 105:135].mean() > 0.9
    assert not changed[:, 200:].any()
    assert (drawn("parts", "boxes") == image).all()


def painted(*people: tuple[tuple[float, ...], tuple[int, int, int]]) -> np.ndarray:  # type: ignore[type-arg]
    """A grey room with somebody in clothes of one colour in each box, later ones in front."""
    image = np.full((240, 320, 3), 127, np.uint8)
    for (x1, y1, x2, y2), colour in people:
        image[int(y1) : int(y2), int(x1) : int(x2)] = colour
    return image


RED, GREEN, BLUE = (200, 40, 40), (40, 160, 60), (40, 40, 200)


@pytest.mark.parametrize(("colour", "number"), [(GREEN, 2), (BLUE, 3)])
def test_who_turns_round_behind_somebody_is_known_by_the_clothes(colour: tuple[int, int, int], number: int) -> None:
    follower = Follower()
    front = (80.0, 40.0, 190.0, 220.0)
    for i in range(46):
        left = 270.0 - 8 * min(i, 46 - i)  # walks behind the one in front, turns there, and comes out where it went in
        there = (left, 50.0, left + 40, 210.0)
        seen = people_of(front) if left < 185 else people_of(front, there)
        image = painted((there, GREEN if i < 20 else colour), (front, RED))
        tracked = follower.follow(Frame(i, i / 30, image), seen)
    assert tracked.numbers.tolist() == [1, number]
    assert follower.count == number


def test_who_leaves_and_comes_back_within_a_second_is_known_but_not_from_afar() -> None:
    for place, number in ((270.0, 1), (5.0, 2)):
        follower = Follower()
        boxes = [(200.0 + 8 * i, 50.0, 240.0 + 8 * i, 150.0) for i in range(10)]
        for i, box in enumerate(boxes):
            follower.follow(Frame(i, i / 30, painted((box, GREEN))), people_of(box))
        for i in range(10, 34):
            follower.follow(Frame(i, i / 30, painted()), people_of())
        back = (place, 50.0, place + 40, 150.0)
        assert follower.follow(Frame(35, 35 / 30, painted((back, GREEN))), people_of(back)).numbers.tolist() == [number]


Shot = tuple[np.ndarray, People]  # type: ignore[type-arg]


def shot(*people: tuple[tuple[float, ...], tuple[int, int, int]]) -> Shot:
    """A picture of people dressed in one colour each, and who is in it."""
    return painted(*people), people_of(*(box for box, _ in people))


def back(before: Shot, after: Shot) -> list[int]:
    """Numbers in `after`, of whom nobody was seen for a third of a second after `before`."""
    follower, nobody = Follower(), (painted(), before[1].select(np.zeros(len(before[1]), bool)))
    for i in range(20):
        image, people = before if i < 10 else nobody
        follower.follow(Frame(i, i / 30, image), people)
    return [follower.follow(Frame(i, i / 30, after[0]), after[1]).numbers.tolist() for i in (20, 21)][1]


LEFT, MIDDLE, RIGHT = (60.0, 50.0, 100.0, 150.0), (140.0, 50.0, 180.0, 150.0), (220.0, 50.0, 260.0, 150.0)
NAVY, ROYAL, SCARLET, ORANGE, YELLOW = (0, 0, 128), (65, 105, 225), (255, 0, 0), (255, 120, 0), (200, 255, 0)


@pytest.mark.parametrize("coat", [NAVY, ROYAL, SCARLET, ORANGE, YELLOW, BLUE])
def test_strong_colours_are_known_again(coat: tuple[int, int, int]) -> None:
    for other in (NAVY, ROYAL, SCARLET, ORANGE, YELLOW, BLUE):
        assert back(shot((MIDDLE, coat)), shot((LEFT, other))) == [1 if other == coat else 2]


@pytest.mark.parametrize("maps", ["parts", "iuv"])
def test_two_who_come_back_at_once_each_have_their_number(maps: str) -> None:
    def mapped(shown: Shot) -> Shot:
        image, people = shown
        if maps == "parts":
            return shown
        return image, replace(people, parts=None, iuv=np.stack([people.parts] * 3, axis=1))  # type: ignore[list-item]

    changed_sides = shot((LEFT, GREEN), (MIDDLE, RED))
    assert back(mapped(shot((MIDDLE, RED), (RIGHT, GREEN))), mapped(changed_sides)) == [2, 1]


def test_of_two_who_are_dressed_nearly_alike_the_one_who_looks_more_like_it_comes_back() -> None:
    scarf = (MIDDLE[0], 130.0, MIDDLE[2], 150.0)
    both = painted((LEFT, GREEN), (MIDDLE, GREEN), (scarf, YELLOW)), people_of(LEFT, MIDDLE)
    for scarfed in (False, True):
        place = (RIGHT[0], 130.0, RIGHT[2], 150.0)
        after = painted((RIGHT, GREEN), (place, YELLOW if scarfed else GREEN)), people_of(RIGHT)
        assert back(both, after) == [2 if scarfed else 1]


def test_two_who_look_the_same_never_share_a_number() -> None:
    assert sorted(back(shot((MIDDLE, GREEN)), shot((LEFT, GREEN), (RIGHT, GREEN)))) == [1, 2]
    assert back(shot((LEFT, GREEN), (MIDDLE, GREEN)), shot((RIGHT, GREEN))) in ([1], [2])


def test_a_child_in_the_same_clothes_is_somebody_else() -> None:
    grown, child = (140.0, 30.0, 200.0, 200.0), (60.0, 130.0, 84.0, 200.0)
    assert back(shot((grown, GREEN)), shot((child, GREEN))) == [2]


def test_shirt_and_trousers_of_each_other_s_colours_are_somebody_else_s() -> None:
    def dressed(box: tuple[float, ...], shirt: tuple[int, int, int], trousers: tuple[int, int, int]) -> Shot:
        return painted((box, trousers), ((box[0], box[1], box[2], (box[1] + box[3]) / 2), shirt)), people_of(box)

    assert back(dressed(MIDDLE, RED, BLUE), dressed(LEFT, RED, BLUE)) == [1]
    assert back(dressed(MIDDLE, RED, BLUE), dressed(LEFT, BLUE, RED)) == [2]


def test_what_stands_in_front_is_no_part_of_a_look() -> None:
    follower, front = Follower(), (145.0, 60.0, 210.0, 220.0)
    for i in range(10):
        follower.follow(Frame(i, i / 30, painted((MIDDLE, GREEN))), people_of(MIDDLE))
    for i in range(10, 100):  # three seconds behind somebody who then goes on alone
        both = people_of(front, MIDDLE)
        assert follower.follow(Frame(i, i / 30, painted((MIDDLE, GREEN), (front, RED))), both).numbers.tolist() == [
            2,
            1,
        ]
    for i in range(100, 115):
        follower.follow(Frame(i, i / 30, painted((front, RED))), people_of(front))
    after = painted((front, RED), (LEFT, GREEN))
    assert follower.follow(Frame(115, 115 / 30, after), people_of(front, LEFT)).numbers.tolist() == [2, 1]


def test_one_odd_moment_does_not_replace_what_is_remembered() -> None:
    follower, bag = Follower(), (160.0, 70.0, 180.0, 150.0)
    for i in range(50):  # a bag is held up before half of the coat when the last look is taken
        odd = painted((MIDDLE, GREEN), (bag, RED)) if 41 < i < 49 else painted((MIDDLE, GREEN))
        follower.follow(Frame(i, i / 30, odd), people_of(MIDDLE))
    for i in range(50, 60):
        follower.follow(Frame(i, i / 30, painted()), people_of())
    assert follower.follow(Frame(60, 2, painted((LEFT, GREEN))), people_of(LEFT)).numbers.tolist() == [1]


def test_who_was_missed_is_not_carried_for_as_long_as_who_was_found() -> None:
    follower = Follower()
    for i in range(10):
        follower.follow(Frame(i, i / 30, IMAGE), people_of(LEFT, RIGHT))
    missed = follower.follow(Frame(10, 10 / 30, IMAGE), people_of(LEFT))
    assert missed.numbers.tolist() == [1, 2]
    shown = [follower.follow(Frame(i, i / 30, IMAGE), None).numbers.tolist() for i in range(11, 30)]
    assert shown[0] == [1, 2]
    assert shown[-1] == [1]


def test_a_pan_over_a_dull_wall_is_no_cut() -> None:
    random, follower = np.random.default_rng(0), Follower()
    for i in range(4):
        wall = cv2.resize(random.normal(127, 8, (18, 32)), (320, 240)).astype(np.uint8)
        image = np.repeat(wall[:, :, None], 3, axis=2)
        assert follower.follow(Frame(i, i / 30, image), people_of(MIDDLE)).numbers.tolist() == [1]


def test_nobody_is_followed_across_a_cut() -> None:
    random, follower = np.random.default_rng(0), Follower()
    scenes = [random.integers(0, 256, (9, 16, 3)).astype(np.uint8).repeat(15, 0).repeat(20, 1) for _ in range(2)]
    black, time = np.zeros_like(scenes[0]), 0.0

    def show(image: np.ndarray, people: People | None) -> Tracked:  # type: ignore[type-arg]
        nonlocal time
        time += 1 / 30
        return follower.follow(Frame(0, time, image), people)

    assert show(scenes[0], walker(100, True)).numbers.tolist() == [1]
    assert show(scenes[0] // 2 + 100, walker(100, True)).numbers.tolist() == [1]  # a flash
    assert show(black, walker(100, True)).numbers.tolist() == [1]
    assert show(scenes[0], walker(100, True)).numbers.tolist() == [1]
    assert show(scenes[1], walker(100, True)).numbers.tolist() == [2]
    assert show(black, None).covered
    carried = show(scenes[0], None)
    assert (len(carried.people), carried.covered) == (0, False)
    assert show(scenes[0], walker(100, True)).numbers.tolist() == [3]


def test_who_was_doubted_before_a_cut_is_hidden_in_no_frame_after_it() -> None:
    random, follower = np.random.default_rng(0), Follower()
    one, other = (random.integers(0, 256, (9, 16, 3)).astype(np.uint8).repeat(15, 0).repeat(20, 1) for _ in range(2))
    follower.follow(Frame(0, 0, one), people_of(LEFT, score=0.2))
    assert len(follower.follow(Frame(1, 1 / 30, one), None).doubtful or ()) == 1
    assert not follower.follow(Frame(2, 2 / 30, other), None).doubtful


def test_answers_that_come_late_make_no_cuts_in_a_pan() -> None:
    room = np.random.default_rng(0).integers(0, 256, (9, 40, 3)).astype(np.uint8).repeat(30, 0).repeat(40, 1)[:240]
    coat = np.random.default_rng(1).integers(0, 256, (30, 8, 3)).astype(np.uint8).repeat(5, 0).repeat(5, 1)

    def frame(index: int) -> Frame:
        image = room[:, 10 * index : 10 * index + 320].copy()
        image[50:200, 140:180] = coat
        return Frame(index, index / 30, image)

    follower = Follower()
    follower.follow(frame(0), walker(140, True))
    for asked in range(0, 96, 12):
        for index in range(asked, asked + 12):
            meanwhile = follower.follow(frame(index), None)
            assert (meanwhile.covered, meanwhile.numbers.tolist()) == (True, [1])
        assert follower.follow(frame(asked), walker(140, True)).numbers.tolist() == [1]


def test_the_first_people_are_carried_to_the_second_answer_however_late_it_is() -> None:
    follower = Follower()
    for asked in range(0, 80, 20):
        for index in range(asked, asked + 20):
            meanwhile = follower.follow(Frame(index, index / 30, IMAGE), None)
            assert meanwhile.numbers.tolist() == ([1] if asked else [])
        follower.follow(Frame(asked, asked / 30, IMAGE), walker(100, True))


def test_an_answer_that_comes_after_a_cut_says_nothing_of_the_new_scene() -> None:
    random, follower = np.random.default_rng(0), Follower()
    scenes = [random.integers(0, 256, (9, 16, 3)).astype(np.uint8).repeat(15, 0).repeat(20, 1) for _ in range(2)]
    frames = [Frame(index, index / 30, scenes[index // 6]) for index in range(12)]
    assert follower.follow(frames[0], walker(100, True)).numbers.tolist() == [1]
    for frame in frames[3:8]:
        follower.follow(frame, None)
    late = follower.follow(frames[3], walker(100, True))
    assert (late.covered, len(late.people)) == (False, 0)
    after = follower.follow(frames[8], None)
    assert (after.covered, len(after.people)) == (False, 0)
    follower.follow(frames[9], None)
    assert follower.follow(frames[8], walker(100, True)).numbers.tolist() == [2]
    assert follower.follow(frames[10], None).numbers.tolist() == [2]


def room(seed: int) -> np.ndarray:  # type: ignore[type-arg]
    """A room that no other one is like."""
    cells = np.random.default_rng(seed).integers(0, 256, (9, 16, 3)).astype(np.uint8)
    return cells.repeat(27, 0).repeat(20, 1)[:240]


@pytest.mark.parametrize("dull", [True, False])
def test_nobody_is_followed_from_one_opening_of_a_source_to_the_next(dull: bool) -> None:
    """Two cameras before the same dull wall look the same: no cut is seen."""
    follower, before, after = Follower(), room(0), room(0) if dull else room(1)
    for i in range(5):
        assert follower.follow(Frame(i, i / 30, before), people_of(MIDDLE)).numbers.tolist() == [1]
    for i in range(5, 8):
        again = follower.follow(Frame(i, i / 30, after, opened=1), people_of(MIDDLE))
        assert again.numbers.tolist() == [2]
    late = follower.follow(Frame(4, 4 / 30, before), people_of(MIDDLE))  # asked before the source was lost
    assert (late.analysed, late.numbers.tolist()) == (False, [2])
    carried = follower.follow(Frame(8, 8 / 30, after, opened=2), None)
    assert (carried.covered, len(carried.people)) == (False, 0)


@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize(
    ("pause", "colour", "parts", "number"),
    [
        (0.9, BLUE, True, 1),
        (1.3, GREEN, True, 1),  # a hiccup: they are known again
        (1.3, BLUE, True, 2),
        (1.3, GREEN, False, 2),  # without maps there are no looks
        (4.9, GREEN, True, 1),
        (5.1, GREEN, True, 2),
        (60.0, GREEN, True, 2),
    ],
)
def test_after_a_pause_whoever_stands_there_is_somebody_new_but_in_the_same_clothes(
    pause: float, colour: tuple[int, int, int], parts: bool, number: int, shown: bool
) -> None:
    follower = Follower()  # analyses each 0.1 s: the patience of a second, and two of them
    before, after = painted((MIDDLE, GREEN)), painted((MIDDLE, colour))
    for i in range(10):
        follower.follow(Frame(i, i / 10, before), people_of(MIDDLE, parts=parts))
    for i in range(10 if shown else 0):  # the engine is late, the camera is not
        meanwhile = follower.follow(Frame(10 + i, 0.9 + pause * i / 10, before), None)
        assert meanwhile.covered == (pause * i / 10 <= 1.2)
    again = follower.follow(Frame(20, 0.9 + pause, after), people_of(MIDDLE, parts=parts))
    assert again.numbers.tolist() == [number]


def test_after_a_hiccup_two_who_changed_their_sides_are_known_by_their_clothes() -> None:
    follower = Follower()
    for i in range(10):
        image = painted((LEFT, GREEN), (MIDDLE, BLUE))
        assert follower.follow(Frame(i, i / 10, image), people_of(LEFT, MIDDLE)).numbers.tolist() == [1, 2]
    changed = follower.follow(Frame(10, 2.4, painted((LEFT, BLUE), (MIDDLE, GREEN))), people_of(LEFT, MIDDLE))
    assert changed.numbers.tolist() == [2, 1]


def test_of_a_source_that_answers_seldom_but_steadily_no_pause_is_too_long() -> None:
    follower = Follower()  # of a camera that sends a picture each 6 s; at the second one nobody knows that
    seen = [follower.follow(Frame(i, 6.0 * i, IMAGE), people_of(MIDDLE, parts=False)).numbers[0] for i in range(6)]
    assert seen == [1, 2, 2, 2, 2, 2]
    outage = follower.follow(Frame(6, 30.0 + 14, IMAGE), people_of(MIDDLE, parts=False))
    assert outage.numbers.tolist() == [3]


def test_of_a_file_no_pause_is_too_long() -> None:
    follower = Follower(gap=math.inf)  # a recording of one picture a minute, say
    seen = [follower.follow(Frame(i, 60.0 * i, IMAGE), people_of(MIDDLE)) for i in range(3)]
    assert [each.numbers.tolist() for each in seen] == [[1]] * 3


def test_people_keep_their_numbers_when_the_camera_is_turned_at_once() -> None:
    """By a fifth of the picture: the first one stands now where the second one stood."""
    wide = cv2.resize(room(5), (640, 240), interpolation=cv2.INTER_CUBIC)
    first, second, turned = (60.0, 50.0, 100.0, 200.0), (120.0, 50.0, 160.0, 200.0), (180.0, 50.0, 220.0, 200.0)
    before, after = wide[:, 200:520].copy(), wide[:, 140:460].copy()
    follower = Follower()
    for i in range(5):
        assert follower.follow(Frame(i, i / 30, before), people_of(first, second)).numbers.tolist() == [1, 2]
    meanwhile = follower.follow(Frame(5, 5 / 30, after), None)  # until the next answer nobody knows who is where
    assert (meanwhile.covered, len(meanwhile.people), meanwhile.doubtful) == (False, 0, None)
    late = follower.follow(Frame(4, 4 / 30, before), people_of(first, second))
    assert (late.covered, len(late.people)) == (False, 0)
    for i in (6, 7):
        tracked = follower.follow(Frame(i, i / 30, after), people_of(second, turned))
        assert (tracked.covered, tracked.numbers.tolist()) == (True, [1, 2])


def test_a_camera_that_is_turned_counts_nobody_over_a_line() -> None:
    wide = cv2.resize(room(5), (640, 240), interpolation=cv2.INTER_CUBIC)
    follower, counter = Follower(), ZoneCounter(Zones(lines=[Line("gate", [(110, 0), (110, 240)])]), (240, 320))
    for i in range(30):  # by a fifth of the picture, and back
        turned = 10 <= i < 20
        image, left = wide[:, 140 if turned else 200 :][:, :320].copy(), 120.0 if turned else 60.0
        people = people_of((left, 50.0, left + 40, 200.0)) if i not in (10, 20) else None
        tracked = follower.follow(Frame(i, i / 30, image), people).counted(counter)
    assert (follower.count, tracked.counts) == (1, Counts({}, {"gate": {"in": 0, "out": 0}}))
