"""Smoothing on pictures whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.people import People
from parsing_rcnn_client.video.smoothing import Smoother

SIDE = 128
ONE = np.array([1], np.intp)


def texture(seed: int = 1, times: int = 1) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).integers(0, 256, (240 * times, 520 * times)).astype(np.uint8)
    soft = cv2.GaussianBlur(noise, (0, 0), 2.5 * times).astype(np.float32)
    grey = np.clip((soft - soft.mean()) / soft.std() * 60 + 128, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def truth() -> NDArray[np.uint8]:
    y, x = np.mgrid[:SIDE, :SIDE]
    labels = np.where((x - 64) ** 2 + (y - 64) ** 2 < 55**2, np.where(y < 40, 2, np.where(y < 80, 5, 9)), 0)
    return labels.astype(np.uint8)


def noisy(labels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """One cell in eight, in blobs, is called something else; otherwise each frame."""
    blobs = cv2.GaussianBlur(random.random((SIDE, SIDE)).astype(np.float32), (0, 0), 2)
    wrong = blobs > np.quantile(blobs, 7 / 8)
    return np.where(wrong & (labels > 0), labels % 9 + 1, labels).astype(np.uint8)


def people(labels: NDArray[np.uint8], left: float, size: tuple[int, int] = (240, 320)) -> People:
    box = np.array([[left, 40, left + 150, 230]], np.float32)
    iuv = np.stack([labels, np.full_like(labels, 100), np.full_like(labels, 50)])
    return People(box, np.array([0.9], np.float32), size, parts=labels[None], iuv=iuv[None])


def charts(iuv: NDArray[np.uint8], left: float) -> People:
    """Somebody of whom the IUV [3,S,S] alone is known."""
    return replace(people(iuv[0], left), parts=None, iuv=iuv[None])


@pytest.mark.parametrize("step", [0, 4])
def test_flicker_falls_by_half_and_labels_stay_right(step: int) -> None:
    scene, random, smoother = texture(), np.random.default_rng(2), Smoother()
    changed, errors = np.zeros(2), np.zeros(2)
    before: list[NDArray[np.uint8]] = []
    for t in range(30):
        left = 20.0 + step * t
        # the world moves with the person, so moving the last frame's labels takes the motion out
        image = np.ascontiguousarray(np.roll(scene, step * t, axis=1)[:, :320])
        raw = people(noisy(truth(), random), left)
        smooth, _ = smoother.update(image, raw, ONE, t / 30)
        now = [raw.label_map(), smooth.label_map()]
        errors += [(labels != people(truth(), left).label_map()).mean() for labels in now]
        if t >= 5:
            changed += [(np.roll(a, step, axis=1) != b).mean() for a, b in zip(before, now, strict=True)]
        before = now
    assert changed[1] <= 0.5 * changed[0]
    assert errors[1] <= 0.5 * errors[0]


@pytest.mark.parametrize("step", [0, 4])
def test_iuv_flickers_less_than_half_as_much_and_moves_with_the_person(step: int) -> None:
    scene, random, smoother = texture(), np.random.default_rng(3), Smoother()
    changed, errors = np.zeros((2, 2)), np.zeros((2, 2))  # of I and of U and V; as they come, smoothed
    before: list[NDArray[np.float64]] = []
    y, x = np.mgrid[:SIDE, :SIDE]
    for t in range(30):
        left = 20.0 + step * t
        image = np.ascontiguousarray(np.roll(scene, step * t, axis=1)[:, :320])
        true = np.stack([truth(), 60 + x, 60 + y]) * (truth() > 0)
        uv = np.clip(true[1:] + random.normal(0, 15, (2, SIDE, SIDE)), 0, 255)
        raw = charts(np.stack([noisy(truth(), random), *uv]).astype(np.uint8), left)
        smooth, _ = smoother.update(image, raw, ONE, t / 30)
        now = [each.iuv_map()[0].astype(float) for each in (raw, smooth)]
        right = charts(true.astype(np.uint8), left).iuv_map()[0]
        inside = cv2.erode(right[:, :, 0], np.ones((9, 9))) > 0
        errors += [[(m != right)[inside, 0].mean(), abs(m - right)[inside, 1:].mean()] for m in now]
        if t >= 5:
            moved = [np.roll(m, step, axis=1) for m in before]
            pairs = list(zip(moved, now, strict=True))
            changed += [[(a != b)[inside, 0].mean(), abs(a - b)[inside, 1:].mean()] for a, b in pairs]
        before = now
    assert changed[1, 0] <= 0.5 * changed[0, 0]
    # 0.6 of the old, 0.4 of the new: changes fall to sqrt(0.4**2 / (1 + 0.6)) = 0.32, errors to sqrt(0.4 / 1.6) = 0.5
    assert changed[1, 1] <= 0.4 * changed[0, 1]
    assert errors[1, 0] <= 0.5 * errors[0, 0]
    assert errors[1, 1] <= 0.6 * errors[0, 1]


def test_u_and_v_move_with_what_moves_inside_the_box() -> None:
    scene, smoother = texture(), Smoother()
    for t in range(10):
        image = np.ascontiguousarray(np.roll(scene, 3 * t, axis=1)[:, :320])
        u = 100.0 + np.arange(SIDE) - 3 * t * SIDE / 150  # the box is 150 pixels wide and stays
        iuv = np.stack([np.full((SIDE, SIDE), 5), np.tile(u, (SIDE, 1)), np.tile(u, (SIDE, 1))])
        found = charts(np.rint(iuv).astype(np.uint8), 60)
        steady, _ = smoother.update(image, found, ONE, t / 30)
    away = np.abs(steady.iuv_map()[0].astype(float) - found.iuv_map()[0])[60:210, 100:190, 1:]
    assert away.mean() < 1  # where it was before would be 1.5 frames late: by 4


def test_u_and_v_of_somebody_who_comes_closer_stay_where_they_are_in_the_picture() -> None:
    smoother, side = Smoother(), 16
    grey = np.full((240, 320, 3), 127, np.uint8)
    for t in range(13):  # a person of 5 times the size at the end, whose U is 3/4 of x and V 3/4 of y
        half = 20 * 1.15**t
        box = np.array([160 - half, 120 - half, 160 + half, 120 + half], np.float32)
        x, y = (box[low] + (np.arange(side) + 0.5) * (2 * half / side) for low in (0, 1))
        iuv = np.stack([np.full((side, side), 5), np.tile(0.75 * x, (side, 1)), np.tile(0.75 * y[:, None], (1, side))])
        found = replace(charts(np.rint(iuv).astype(np.uint8), 0), boxes=box[None])
        steady = smoother.update(grey, found, ONE, t / 30)[0].iuv_map()[0]
    rows, columns = (steady[..., 0] > 0).nonzero()
    shift = [(steady[rows, columns, 1 + k] / 0.75 - place - 0.5).mean() for k, place in enumerate((columns, rows))]
    assert shift == pytest.approx([0, 0], abs=0.1)  # half a pixel if a cell's corner were taken for its middle


def test_u_and_v_of_two_charts_are_never_mixed_and_the_background_has_none() -> None:
    image, smoother, full = np.ascontiguousarray(texture()[:, :320]), Smoother(), np.ones((SIDE, SIDE))
    other = np.where(truth() == 5, 7, truth())
    seen = []
    for t in range(40):
        labels, u, v = (truth(), 40, 90) if t < 20 else (other, 240, 200)
        found = charts(np.stack([labels, u * full, v * full]).astype(np.uint8), 60)
        steady = smoother.update(image, found, ONE, t / 30)[0].iuv[0]  # type: ignore[index]
        assert not steady[1:, steady[0] == 0].any()
        seen.append(steady[:, 64, 64].tolist())
    changes = [t for t in range(1, 40) if seen[t] != seen[t - 1]]  # U and V with the label, and once
    assert len(changes) == 1
    assert changes[0] > 22
    assert (seen[0], seen[-1]) == ([5, 40, 90], [7, 240, 200])


def test_a_new_scene_is_believed_at_once() -> None:
    smoother = Smoother()
    for t in range(6):
        smoother.update(np.ascontiguousarray(texture(1)[:, :320]), people(truth(), 60), ONE, t / 30)
    other = np.where(truth() > 0, 7, 0).astype(np.uint8)
    iuv = np.stack([truth(), np.full_like(other, 200), np.full_like(other, 150)])
    new = replace(people(other, 60), iuv=iuv[None])
    cut, _ = smoother.update(np.ascontiguousarray(texture(9)[:, :320]), new, ONE, 6 / 30)
    assert (cut.parts[0] != other).mean() < 0.1  # type: ignore[index]
    assert set(cut.iuv[0, 1].ravel().tolist()) == {0, 200}  # type: ignore[index]


def test_a_lasting_change_wins_after_nine_frames() -> None:
    image, smoother = np.ascontiguousarray(texture()[:, :320]), Smoother()
    for t in range(60):
        smoother.update(image, people(truth(), 60), ONE, t / 30)
    other = np.where(truth() == 5, 7, truth()).astype(np.uint8)
    shown = [smoother.update(image, people(other, 60), ONE, 2 + t / 30)[0].parts[0, 64, 64] for t in range(10)]  # type: ignore[index]
    assert shown == [5] * 8 + [7] * 2


def test_a_memory_is_one_of_seconds_and_not_of_frames() -> None:
    image, smoother = np.ascontiguousarray(texture()[:, :320]), Smoother()
    for t in range(30):
        smoother.update(image, people(truth(), 60), ONE, t / 10)
    other = np.where(truth() == 5, 7, truth()).astype(np.uint8)
    found = replace(people(other, 60), iuv=np.stack([truth(), *2 * [np.full_like(other, 200)]])[None])
    shown = [smoother.update(image, found, ONE, 3 + t / 10)[0] for t in range(5)]
    labels = [each.parts[0, 64, 64] for each in shown]  # type: ignore[index]
    assert labels == [5] * 2 + [7] * 3  # nine thirtieths of a second are three tenths
    # U was 100 and V 50; 0.6 of the old survives a thirtieth of a second
    assert shown[0].iuv[0, 1:, 64, 64].tolist() == [round(200 - 100 * 0.6**3), round(200 - 150 * 0.6**3)]  # type: ignore[index]


def scored(labels: NDArray[np.uint8], sure: float = 0.8) -> People:
    """Somebody with these parts and charts, of whom an engine is so sure wherever it sees them, and nowhere else."""
    found, seen = people(labels, 60), np.unique(labels)
    part_scores, iuv_scores = np.zeros((1, 20), np.float32), np.zeros((1, 25), np.float32)
    part_scores[0, seen], iuv_scores[0, seen[seen > 0]] = sure, sure / 2
    return replace(found, part_scores=part_scores, iuv_scores=iuv_scores)


def test_a_class_keeps_its_last_score_as_long_as_it_is_shown() -> None:
    """The belt is not seen for some frames, then something else is; voting shows the belt for eight frames more."""
    image, smoother = np.ascontiguousarray(texture()[:, :320]), Smoother()
    other = np.where(truth() == 5, 7, truth()).astype(np.uint8)
    for t in range(30):
        smoother.update(image, scored(truth()), ONE, t / 30)
    smoother.update(image, scored(truth(), sure=0.6), ONE, 1.0)
    for t in range(12):
        steady, _ = smoother.update(image, scored(other, sure=0.9), ONE, 1 + (t + 1) / 30)
        assert steady.parts is not None
        assert steady.part_scores is not None
        assert steady.iuv_scores is not None
        shown = np.unique(steady.parts[0]).tolist()
        assert ([5] if t < 7 else [7]) == [label for label in shown if label in (5, 7)]
        wanted = np.zeros(20)
        wanted[shown], wanted[5] = 0.9, 0.6 * (5 in shown)
        assert steady.part_scores[0] == pytest.approx(wanted)
        wanted[0] = 0
        assert steady.iuv_scores[0] == pytest.approx(np.append(wanted, np.zeros(5)) / 2)


@pytest.mark.parametrize("averaged", [False, True])
def test_a_class_that_is_no_longer_shown_loses_its_score(averaged: bool) -> None:
    """A bag has been away for a second. Then a quarter of the cells, of which scores are made, misses it."""
    image, smoother = np.ascontiguousarray(texture()[:, :320]), Smoother()
    bag = np.where(truth() == 5, 7, truth()).astype(np.uint8)
    for t in range(90):
        labels = bag if t < 30 or t >= 60 else truth()
        found = scored(labels, sure=0.3 if t < 30 else 0.9)
        assert found.part_scores is not None
        assert found.iuv_scores is not None
        if t >= 60:
            found.part_scores[0, 7] = found.iuv_scores[0, 7] = 0
        probs = (labels == np.arange(20)[:, None, None]).astype(np.uint8)[None] * 255 if averaged else None
        steady, _ = smoother.update(image, replace(found, part_probs=probs), ONE, t / 30)
        assert steady.part_scores is not None
        assert steady.iuv_scores is not None
        wanted = 0.3 if t < 30 else 0
        if not 30 <= t < 45:  # while votes are counted, the bag is shown with the score it had
            assert (steady.part_scores[0, 7], steady.iuv_scores[0, 7]) == pytest.approx((wanted, wanted / 2))


def test_everything_that_is_shown_has_a_score_and_nothing_else_has() -> None:
    """In frames that were analysed, in those that people are carried into, and where somebody is missed."""
    image, smoother, random = np.ascontiguousarray(texture()[:, :320]), Smoother(), np.random.default_rng(4)
    blank, box = People.empty((240, 320)), {1: people(truth(), 60).boxes[0]}
    for t in range(40):
        speck = np.zeros((SIDE, SIDE), np.uint8)
        speck[64 : 64 + t % 5, 64 : 64 + t % 7] = random.integers(1, 20)
        if t % 10 == 7:
            steady, _, _ = smoother.linger(image, blank, box)
        elif t % 3 == 1:
            steady, _, _ = smoother.carry(image, blank, box, 0)
        else:
            steady, _ = smoother.update(image, scored(np.where(speck > 0, speck, truth())), ONE, t / 30)
        assert steady.parts is not None
        assert steady.iuv is not None
        assert steady.part_scores is not None
        assert steady.iuv_scores is not None
        for labels, scores in ((steady.parts, steady.part_scores), (steady.iuv[:, 0], steady.iuv_scores)):
            assert set(np.flatnonzero(scores)) - {0} == set(labels.ravel().tolist()) - {0}


@pytest.mark.parametrize(("fps", "frames"), [(60, 17), (120, 34)])
def test_of_more_frames_a_second_each_counts_for_less(fps: int, frames: int) -> None:
    image, smoother = np.ascontiguousarray(texture()[:, :320]), Smoother()
    for t in range(2 * fps):
        smoother.update(image, people(truth(), 60), ONE, t / fps)
    other = np.where(truth() == 5, 7, truth()).astype(np.uint8)
    found = replace(people(other, 60), iuv=np.stack([truth(), *2 * [np.full_like(other, 200)]])[None])
    shown = [smoother.update(image, found, ONE, 2 + t / fps)[0] for t in range(frames)]
    # 0.92 survives a thirtieth of a second: below a half after 8.3 of them, whatever the number of frames
    assert [each.parts[0, 64, 64] for each in shown] == [5] * (frames - 1) + [7]  # type: ignore[index]
    # and 0.6 of U, which was 100, and V, which was 50
    wanted = [round(200 - 100 * 0.6 ** (30 / fps)), round(200 - 150 * 0.6 ** (30 / fps))]
    assert shown[0].iuv[0, 1:, 64, 64].tolist() == wanted  # type: ignore[index]


def test_where_half_of_somebody_is_inexplicable_nothing_that_is_remembered_counts() -> None:
    image, smoother = np.ascontiguousarray(texture()[:, :320]), Smoother()
    for t in range(30):
        smoother.update(image, people(truth(), 60), ONE, t / 30)
    other = np.where(truth() == 5, 7, truth()).astype(np.uint8)
    half = image.copy()
    half[:, 135:] = texture(9)[:, 135:320]  # the box reaches from 60 to 210
    shown = smoother.update(half, people(other, 60), ONE, 1)[0].parts[0]  # type: ignore[index]
    assert shown[64, [40, 90]].tolist() == [7, 7]


def test_people_are_carried_through_frames_without_an_analysis() -> None:
    scene, smoother = texture(), Smoother()
    smoother.update(np.ascontiguousarray(scene[:, :320]), people(truth(), 20), ONE, 0)
    for t in range(1, 6):
        image = np.ascontiguousarray(np.roll(scene, 5 * t, axis=1)[:, :320])
        guess = {1: people(truth(), 20 + 5 * t + 2).boxes[0]}  # two pixels off
        carried, numbers, _ = smoother.carry(image, People.empty((240, 320)), guess, 0)
    assert numbers.tolist() == [1]
    assert carried.boxes[0] == pytest.approx(people(truth(), 45).boxes[0], abs=1.5)
    assert (carried.parts[0] != truth()).mean() < 0.05  # type: ignore[index]
    assert carried.iuv is not None
    smoother.forget([])
    assert len(smoother.carry(scene[:, :320].copy(), People.empty((240, 320)), guess, 0)[0]) == 0


def test_carried_people_come_in_the_order_of_their_scores() -> None:
    image, smoother = np.ascontiguousarray(texture()[:, :320]), Smoother()
    boxes, scores = np.array([[10, 20, 80, 200], [150, 20, 220, 200]], np.float32), np.array([0.9, 0.6], np.float32)
    both = People(boxes, scores, (240, 320), parts=np.stack([truth(), truth()]))
    smoother.update(image, both, np.array([2, 1], np.intp), 0)
    carried, numbers, _ = smoother.carry(image, People.empty((240, 320)), {1: boxes[1], 2: boxes[0]}, 0)
    assert numbers.tolist() == [2, 1]
    assert carried.scores == pytest.approx([0.9, 0.6])


def test_somebody_close_to_the_camera_is_carried_as_well() -> None:
    def close(left: float) -> People:
        box = np.array([[left, 160, left + 600, 920]], np.float32)
        return replace(people(truth(), 0, (960, 1280)), boxes=box)

    scene, smoother = texture(times=4), Smoother()
    smoother.update(np.ascontiguousarray(scene[:, :1280]), close(80), ONE, 0)
    for t in range(1, 6):
        image = np.ascontiguousarray(np.roll(scene, 20 * t, axis=1)[:, :1280])
        guess = {1: close(80 + 20 * t + 8).boxes[0]}
        carried, _, _ = smoother.carry(image, People.empty((960, 1280)), guess, 0)
    assert carried.boxes[0] == pytest.approx(close(180).boxes[0], abs=6)
    assert (carried.parts[0] != truth()).mean() < 0.05  # type: ignore[index]


def test_boxes_of_somebody_standing_get_steady_and_do_not_lag_behind_a_walk() -> None:
    smoother, random = Smoother(), np.random.default_rng(5)
    image = np.ascontiguousarray(texture()[:, :320])
    raw, shown = [], []
    for t in range(60):
        found = people(truth(), 60 + random.normal(0, 1.5))
        raw.append(found.boxes[0])
        shown.append(smoother.update(image, found, ONE, t / 30)[1][0])
    assert np.std(shown[20:], axis=0)[0] < 0.5 * np.std(raw[20:], axis=0)[0]
    for t in range(30):
        _, boxes = smoother.update(image, people(truth(), 60 + 5.0 * t), ONE, 2 + t / 30)
    assert boxes[0, 0] == pytest.approx(60 + 5.0 * 29, abs=4)  # less than a frame late


def test_the_speed_of_a_box_is_learnt_by_the_second() -> None:
    image, smoother = np.zeros((200, 200, 3), np.uint8), Smoother()
    for time, left in ((0.0, 50), (0.1, 60)):
        found = People(np.array([[left, 50, left + 50, 150]], np.float32), np.array([0.9], np.float32), (200, 200))
        _, shown = smoother.update(image, found, ONE, time)
    # a tenth of a second at 1 Hz: the share is 1 / (1 + 1 / (0.2 pi)) = 0.386, and so the speed 0.386 of 1 height a
    # second; at 1 + 60 * (0.386 - 0.05) = 21.15 Hz the share is 0.930
    assert shown[0, 0] == pytest.approx(50 + 10 * 0.930, abs=0.01)
