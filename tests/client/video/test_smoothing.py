"""Smoothing on pictures whose truth is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.people import People
from parsing_rcnn_client.video.smoothing import Smoother

SIDE = 128
ONE = np.array([1], np.intp)


def texture(seed: int = 1) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).integers(0, 256, (240, 520)).astype(np.uint8)
    soft = cv2.GaussianBlur(noise, (0, 0), 2.5).astype(np.float32)
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


def test_a_new_scene_is_believed_at_once() -> None:
    smoother = Smoother()
    for t in range(6):
        smoother.update(np.ascontiguousarray(texture(1)[:, :320]), people(truth(), 60), ONE, t / 30)
    other = np.where(truth() > 0, 7, 0).astype(np.uint8)
    cut, _ = smoother.update(np.ascontiguousarray(texture(9)[:, :320]), people(other, 60), ONE, 6 / 30)
    assert (cut.parts[0] != other).mean() < 0.1  # type: ignore[index]


def test_a_lasting_change_wins_after_nine_frames() -> None:
    image, smoother = np.ascontiguousarray(texture()[:, :320]), Smoother()
    for t in range(60):
        smoother.update(image, people(truth(), 60), ONE, t / 30)
    other = np.where(truth() == 5, 7, truth()).astype(np.uint8)
    shown = [smoother.update(image, people(other, 60), ONE, 2 + t / 30)[0].parts[0, 64, 64] for t in range(10)]  # type: ignore[index]
    assert shown == [5] * 8 + [7] * 2


def test_people_are_carried_through_frames_without_an_analysis() -> None:
    scene, smoother = texture(), Smoother()
    smoother.update(np.ascontiguousarray(scene[:, :320]), people(truth(), 20), ONE, 0)
    for t in range(1, 6):
        image = np.ascontiguousarray(np.roll(scene, 5 * t, axis=1)[:, :320])
        guess = {1: people(truth(), 20 + 5 * t + 2).boxes[0]}  # two pixels off
        carried, numbers, _ = smoother.carry(image, People.empty((240, 320)), guess, t / 30, 0)
    assert numbers.tolist() == [1]
    assert carried.boxes[0] == pytest.approx(people(truth(), 45).boxes[0], abs=1.5)
    assert (carried.parts[0] != truth()).mean() < 0.05  # type: ignore[index]
    assert carried.iuv is not None
    smoother.forget([])
    assert len(smoother.carry(scene[:, :320].copy(), People.empty((240, 320)), guess, 1, 0)[0]) == 0


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
