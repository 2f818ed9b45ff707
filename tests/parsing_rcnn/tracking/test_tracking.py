"""Tracks by hand-made boxes, the filter by hand-computed numbers, the pairing by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.geometry import iou
from parsing_rcnn.tracking.assignment import assign
from parsing_rcnn.tracking.tracker import Motion, Tracker


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (5, 2), (2, 7), (17, 16), (40, 40)])
def test_assignments_cost_what_scipys_do(shape: tuple[int, int]) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    random = np.random.default_rng(shape[0] * 100 + shape[1])
    for _ in range(5):
        cost = random.random(shape)
        pairs = assign(cost)
        assert len(pairs) == min(shape)
        assert len({r for r, _ in pairs}) == len({c for _, c in pairs}) == len(pairs)
        best = cost[optimize.linear_sum_assignment(cost)].sum()
        assert sum(cost[p] for p in pairs) == pytest.approx(best)
    assert assign(np.zeros((0, 4))) == []


def test_iou_by_hand() -> None:
    one = np.array([[0, 0, 2, 2]], np.float32)
    others = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]], np.float32)
    assert iou(one, others).tolist() == [pytest.approx([1, 1 / 3, 0])]


def test_the_filter_by_hand() -> None:
    motion = Motion(np.array([0, 0, 10, 20], np.float32))
    # height 20: position variance (2*20/20)^2 = 4, speed variance (10*20/120)^2 = 25/9
    assert motion.covariance[0, 0].tolist() == pytest.approx([4] * 4)
    motion.predict(1)
    # position: 4 + 25/9 + (20/20)^2 = 70/9
    assert motion.covariance[0, 0].tolist() == pytest.approx([70 / 9] * 4)
    motion.correct(np.array([8, 0, 18, 20], np.float32))
    # measured with variance 1: gain = (70/9) / (79/9), so the centre 5 -> 5 + 8 * 70/79; speed = 8 * (25/9)/(79/9)
    assert motion.mean[0, 0] == pytest.approx(5 + 8 * 70 / 79)
    assert motion.mean[1, 0] == pytest.approx(8 * 25 / 79)


def walk(*paths: tuple[float, float], frames: int = 60, height: float = 200) -> NDArray[np.float32]:
    """[frames, people, 4]: people of one size going from x to x."""
    x = np.stack([np.linspace(a, b, frames) for a, b in paths], 1)
    ones = np.ones_like(x)
    return np.stack([x, 100 * ones, x + height * 0.4, (100 + height) * ones], 2).astype(np.float32)


def run(tracker: Tracker, boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> NDArray[np.intp]:
    return np.stack([tracker.update(b, s, t / 30) for t, (b, s) in enumerate(zip(boxes, scores, strict=True))])


def test_two_people_who_pass_in_different_rows_keep_their_numbers() -> None:
    boxes = walk((0, 600), (600, 0))
    boxes[:, 1, [1, 3]] += 150  # overlap at the meeting: 50 of 200 pixels in height
    numbers = run(Tracker(), boxes, np.full(boxes.shape[:2], 0.9, np.float32))
    assert (numbers == numbers[0]).all()
    assert sorted(numbers[0]) == [1, 2]


def test_a_good_pair_is_not_given_up_for_two_poor_ones() -> None:
    tracker, scores = Tracker(), np.ones(2, np.float32)
    tracker.update(np.array([[230, 60, 330, 460], [200, 60, 400, 460]], np.float32), scores, 0)
    # the wide box hardly moved; the other one overlaps the wide box of before a little, and the narrow one not at all
    after = np.array([[205, 60, 405, 460], [340, 60, 470, 460]], np.float32)
    assert tracker.update(after, scores, 1 / 30).tolist() == [2, 3]


def test_the_order_of_the_boxes_does_not_matter() -> None:
    boxes = walk((0, 300), (500, 800), (900, 1200))
    random = np.random.default_rng(3)
    tracker, numbers = Tracker(), []
    for t, frame in enumerate(boxes):
        order = random.permutation(3)
        found = tracker.update(frame[order], np.full(3, 0.8, np.float32), t / 30)
        numbers.append(found[np.argsort(order)])
    assert (np.stack(numbers) == numbers[0]).all()


def test_a_doubtful_box_keeps_a_track_but_starts_none() -> None:
    boxes = walk((0, 300))
    scores = np.full((60, 1), 0.9, np.float32)
    scores[20:40] = 0.3  # half hidden
    assert (run(Tracker(), boxes, scores) == 1).all()
    assert (run(Tracker(), boxes, np.full((60, 1), 0.3, np.float32)) == 0).all()


def test_someone_hidden_shortly_comes_back_with_the_number() -> None:
    boxes, scores = walk((0, 300), frames=60), np.array([0.9], np.float32)
    tracker = Tracker(patience=0.5)
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    seen = []
    for t, box in enumerate(boxes):
        hidden = 20 <= t < 30
        found = tracker.update(*(none if hidden else (box, scores)), t / 30)
        seen += [] if hidden else found.tolist()
    assert seen == [1] * 50


NOBODY = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
SOMEBODY = np.array([[100, 50, 140, 200]], np.float32), np.array([0.9], np.float32)


@pytest.mark.parametrize(("away", "number"), [(0.4, 1), (0.5, 1), (0.6, 2)])
def test_someone_who_stands_in_the_same_place_after_the_patience_is_someone_new(away: float, number: int) -> None:
    tracker = Tracker(patience=0.5)
    tracker.update(*SOMEBODY, 0)
    tracker.update(*NOBODY, away)
    assert tracker.update(*SOMEBODY, away + 1 / 30).tolist() == [number]


def test_the_lowest_score_that_starts_a_track_starts_one() -> None:
    box, _ = SOMEBODY
    assert Tracker(high=0.5).update(box, np.array([0.5], np.float32), 0).tolist() == [1]
    assert Tracker(high=0.5).update(box, np.array([0.49], np.float32), 0).tolist() == [0]


def test_a_prediction_for_a_frame_that_is_over_moves_nobody_backwards() -> None:
    tracker = Tracker()
    for t in range(10):  # 30 pixels a second to the right
        tracker.update(SOMEBODY[0] + t, SOMEBODY[1], t / 30)
    (track,) = tracker.tracks
    last = track.motion.box.tolist()
    for time in (0.0, 9 / 30):  # and no time has passed since the newest frame
        tracker.predict(time)
        assert track.motion.box.tolist() == last


@pytest.mark.parametrize("fps", [20, 60])
def test_looks_are_taken_five_times_a_second_however_many_frames_there_are(fps: int) -> None:
    tracker, looked = Tracker(), []

    def look(index: int) -> NDArray[np.float32]:
        looked.append(index)
        return np.sqrt(np.full((3, 4), 0.25, np.float32))

    for t in range(2 * fps):
        tracker.update(*SOMEBODY, t / fps, look)
    assert 9 <= len(looked) <= 10


@pytest.mark.parametrize(("apart", "seconds", "number"), [(1.2, 0.2, 1), (2.5, 0.2, 2), (2.5, 0.8, 1)])
def test_nobody_is_known_again_further_away_than_they_can_walk(apart: float, seconds: float, number: int) -> None:
    # within one height of the box, and two more for each second
    tracker, coat = Tracker(), np.sqrt(np.full((3, 4), 0.25, np.float32))
    for t in range(5):
        tracker.update(*SOMEBODY, t / 10, lambda index: coat)
    tracker.update(*NOBODY, 0.45)
    there = SOMEBODY[0] + np.array([150 * apart, 0, 150 * apart, 0], np.float32)
    assert tracker.update(there, SOMEBODY[1], 0.4 + seconds, lambda index: coat).tolist() == [number]


@pytest.mark.parametrize(("left", "number"), [(110, 1), (340, 2)])
def test_how_far_somebody_walked_is_measured_between_the_middles_of_the_boxes(left: float, number: int) -> None:
    # 40 pixels wide at 340 before, 500 wide with stretched arms: the middle is where it was, or 230 = 1.53 heights off
    tracker, coat = Tracker(), np.sqrt(np.full((3, 4), 0.25, np.float32))
    for t in range(5):
        tracker.update(SOMEBODY[0] + np.float32([240, 0, 240, 0]), SOMEBODY[1], t / 10, lambda index: coat)
    tracker.update(*NOBODY, 0.45)
    there = np.array([[left, 50, left + 500, 200]], np.float32)
    assert tracker.update(there, SOMEBODY[1], 0.6, lambda index: coat).tolist() == [number]  # at most 1.4 heights


def test_someone_who_is_being_covered_comes_back_with_the_number() -> None:
    tracker, score, numbers = Tracker(), np.array([0.9], np.float32), []
    for t in range(40):  # stands; something covers the right side more and more, all of it, and goes
        width = 100 if t < 10 else 100 - 12 * (t - 10) if t < 15 else 0 if t < 25 else 100
        box = np.array([[200, 100, 200 + width, 300]], np.float32)[: int(width > 0)]
        numbers += tracker.update(box, score[: len(box)], t / 30).tolist()
    assert set(numbers) == {1}


@pytest.mark.parametrize("fps", [30, 10])
def test_somebody_who_lingers_out_of_sight_is_not_expected_far_ahead(fps: int) -> None:
    tracker, score = Tracker(), np.array([0.9], np.float32)
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)

    def box(x: float) -> NDArray[np.float32]:
        return np.array([[x, 0, x + 80, 200]], np.float32)

    for t in range(fps + 1):  # 300 pixels in a second
        tracker.update(box(300 * t / fps), score, t / fps)
    for t in range(fps + 1, round(1.6 * fps)):
        tracker.update(*none, t / fps)
    assert tracker.update(box(300 + 90), score, 1.6).tolist() == [1]  # at the old speed 180


def test_a_second_box_of_the_same_person_is_nobody() -> None:
    box = np.array([[0, 0, 100, 200], [4, 0, 104, 200]], np.float32)
    assert Tracker().update(box, np.array([0.9, 0.6], np.float32), 0).tolist() == [1, 0]
    tracker = Tracker()
    tracker.update(box[:1], np.array([0.9], np.float32), 0)
    assert tracker.update(box, np.array([0.9, 0.6], np.float32), 1 / 30).tolist() == [1, 0]


def test_of_two_boxes_that_are_equally_near_the_surer_one_is_the_person() -> None:
    boxes = np.array([[90, 0, 190, 200], [110, 0, 210, 200]], np.float32)
    for scores, numbers in (([0.6, 0.9], [2, 1]), ([0.9, 0.6], [1, 2])):
        tracker = Tracker()
        tracker.update(np.array([[100, 0, 200, 200]], np.float32), np.array([0.9], np.float32), 0)
        assert tracker.update(boxes, np.array(scores, np.float32), 1 / 30).tolist() == numbers


def test_who_is_known_again_by_the_looks_stands_where_they_are_and_did_not_rush_there() -> None:
    tracker, score, coat = Tracker(), np.array([0.9], np.float32), np.sqrt(np.full((3, 4), 0.25, np.float32))
    before, after = np.array([[0, 0, 80, 200]], np.float32), np.array([[240, 0, 320, 200]], np.float32)
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    numbers = []
    for t in range(40):  # stands, is away, comes back elsewhere, is not found for a moment, and shows no more colours
        box = before if t < 10 else after
        seen = (box, score) if t < 10 or t in (20, 21) or t > 30 else none
        numbers += tracker.update(*seen, t / 30, lambda index, t=t: coat if t < 22 else None).tolist()  # type: ignore[misc]
    assert set(numbers) == {1}


@pytest.mark.parametrize(
    ("clothes", "left", "number"), [(0, 100, 1), (1, 100, 2), (0, 400, 1), (0, 900, 2), (None, 100, 2)]
)
def test_after_a_pause_somebody_is_known_by_looks_within_a_walk(clothes: int | None, left: float, number: int) -> None:
    looks = np.eye(256, dtype=np.float32)[:, None].repeat(3, axis=1)
    tracker, box, score = Tracker(), np.array([[100, 100, 150, 200]], np.float32), np.array([0.9], np.float32)
    sideways = np.array([1, 0, 1, 0], np.float32)
    for i in range(10):  # walking; on the way they would be far away by the end of the pause
        tracker.update(box + np.float32(20 * (i - 9)) * sideways, score, i / 10, lambda index: looks[0])
    there = np.array([[left, 100, left + 50, 200]], np.float32)
    look = None if clothes is None else looks[clothes]
    assert tracker.update(there, score, 2.4, lambda index: look, paused=True).tolist() == [number]
