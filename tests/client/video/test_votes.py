"""Averages of probabilities and votes of labels, cell by cell, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.analyzer import Options
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client.video.follow import request
from parsing_rcnn_client.video.smoothing import STEADY, Smoother
from parsing_rcnn_client.video.votes import Averages, Keep, Votes, moved_planes

KEEP = Keep(labels=0.92, shares=0.85, outline=0.8)
DRESS, COAT, FACE = 6, 7, 13
SURE = np.ones((4, 4), bool)


def said(**shares: float) -> tuple[NDArray[np.uint8], object]:
    """(labels, planes) of an engine that says the same everywhere: likelihoods of 0..1 by name."""
    values = {{"back": 0, "dress": DRESS, "coat": COAT, "face": FACE}[name]: share for name, share in shares.items()}
    labels = np.full((4, 4), max(values, key=lambda name: values[name]), np.uint8)

    def planes(classes: Sequence[int]) -> list[NDArray[np.uint8]]:
        return [np.full((4, 4), round(255 * values.get(name, 0)), np.uint8) for name in classes]

    return labels, planes


def after(*answers: dict[str, float]) -> Averages:
    first, *others = (said(**answer) for answer in answers)
    memory = Averages.first(*first)  # type: ignore[arg-type]
    for labels, planes in others:
        memory = memory.heard(labels, planes, SURE, KEEP)  # type: ignore[arg-type]
    return memory


def test_an_average_is_weighted_by_age() -> None:
    memory = after({"coat": 1.0}, {"coat": 0.6, "dress": 0.4}, {"dress": 1.0})
    assert memory.classes == [0, DRESS, COAT]
    # coat: (1 * 0.85 + 0.6 * 0.15) * 0.85; dress was in no map of the second frame, so it counts from the third on
    assert memory.shares[2][0, 0] == pytest.approx(255 * (0.85 + 0.6 * 0.15) * 0.85, abs=0.5)
    assert memory.shares[1][0, 0] == pytest.approx(255 * 0.15, abs=0.5)
    assert set(memory.labels.ravel()) == {COAT}


def test_who_is_surer_wins_though_the_other_comes_more_often() -> None:
    sure, unsure = {"dress": 0.95, "coat": 0.05}, {"coat": 0.52, "dress": 0.48}
    answers = [sure, unsure, unsure] * 12
    assert set(after(*answers).labels.ravel()) == {DRESS}
    votes = Votes.first(said(**sure)[0], KEEP)
    for answer in answers:
        votes = votes.heard(said(**answer)[0], SURE, KEEP)
    assert set(votes.labels.ravel()) == {COAT}


def test_a_lasting_change_of_clothes_wins_after_five_frames_and_of_an_outline_after_three() -> None:
    # a tenth (25 of 255) more than the old one: 1 - 2 * 0.85**5 = 0.11, 1 - 2 * 0.8**3 < 0 < 1 - 2 * 0.8**4
    before = [{"coat": 1.0}] * 20
    labels = [after(*before, *[{"dress": 1.0}] * k).labels[0, 0] for k in range(1, 7)]
    assert labels == [COAT] * 4 + [DRESS] * 2
    labels = [after(*before, *[{"back": 1.0}] * k).labels[0, 0] for k in range(1, 6)]
    assert labels == [COAT] * 3 + [0] * 2


@pytest.mark.parametrize("share", [0.6, 0.52])  # the second does not lead by the tenth that a remembered label needs
def test_where_the_picture_does_not_match_the_new_labels_stand_alone(share: float) -> None:
    labels, planes = said(dress=share, coat=1 - share)
    believed = np.zeros((4, 4), bool)
    believed[:, :2] = True
    memory = after(*[{"coat": 1.0}] * 9).heard(labels, planes, believed, KEEP)  # type: ignore[arg-type]
    assert memory.labels.tolist() == [[COAT, COAT, DRESS, DRESS]] * 4
    assert memory.shares[memory.classes.index(DRESS)][0, 3] == pytest.approx(round(255 * share))


def test_a_class_that_is_nowhere_likely_is_forgotten() -> None:
    memory = after({"face": 1.0}, *[{"coat": 1.0}] * 20)
    assert memory.classes == [0, COAT]


def test_planes_move_bilinearly_and_any_number_of_them() -> None:
    planes = [np.arange(16, dtype=np.float32).reshape(4, 4) + 100 * k for k in range(6)]
    where = np.full((4, 4, 2), (1.5, 2.25), np.float32)
    assert [plane[0, 0] for plane in moved_planes(planes, where)] == [1.5 + 4 * 2.25 + 100 * k for k in range(6)]


def test_a_person_whose_clothes_are_uncertain_gets_steady_through_the_smoother() -> None:
    random, smoother = np.random.default_rng(0), Smoother()
    image = random.integers(0, 256, (120, 90, 3)).astype(np.uint8)
    shown = []
    for t in range(30):
        probabilities = np.zeros((1, 20, 32, 32), np.uint8)
        noise = random.normal(0, 60, (32, 32))
        probabilities[0, DRESS] = np.clip(150 + noise, 0, 255)
        probabilities[0, COAT] = 255 - probabilities[0, DRESS]
        parts = np.where(probabilities[0, DRESS] > 127, DRESS, COAT).astype(np.uint8)[None]
        box = np.array([[20, 10, 70, 110]], np.float32)
        people = People(box, np.array([0.9], np.float32), (120, 90), parts=parts, part_probs=probabilities)
        steady, _ = smoother.update(image, people, np.array([1], np.intp), t / 30)
        shown.append((parts[0], steady.parts[0]))  # type: ignore[index]
    assert steady.part_probs is None
    inner = (slice(3, 29), slice(3, 29))
    raw, smooth = (np.mean([(a[inner] == DRESS).mean() for a in maps[10:]]) for maps in zip(*shown, strict=True))
    # 150 is 22.5 above the middle, 0.375 deviations: 65 % are right. The average deviates by 60 * sqrt(0.15 / 1.85)
    # = 17, so 1.32 of them: 91 %, and more by loyalty
    assert raw == pytest.approx(0.65, abs=0.02)
    assert smooth > 0.91


@pytest.fixture(scope="module")
def engine() -> Pipeline:
    return Pipeline(threads=1)


def test_only_the_engine_in_this_process_is_asked_for_probabilities(engine: Pipeline) -> None:
    parsing = frozenset({"parsing"})
    assert request(engine, parsing, 0.5, 8, STEADY) == Options(parsing, 0.2, 8, part_probs=True)
    assert request(engine, parsing, 0.5, 8, STEADY, hides=True).confidence == 0.1
    assert request(engine, parsing, 0.05, 8, STEADY).confidence == 0.05
    assert not request(engine, parsing, 0.5, 8, None).part_probs
    assert not request(engine, frozenset({"densepose"}), 0.5, 8, STEADY).part_probs
    assert not request(object(), parsing, 0.5, 8, STEADY).part_probs  # type: ignore[arg-type]
    assert replace(STEADY, shares=0.5).keep(2).shares == 0.25
