"""AP^r: numbers worked out by hand, and a plain reading of the protocol on random regions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from training.metrics.regions import PartRegions


def row(text: str) -> NDArray[np.uint8]:
    """A map of one row: one digit a pixel."""
    return np.array([[int(digit) for digit in text]], np.uint8)


def regions(classes: int, *pictures: tuple[str, str, list[float], str, str]) -> PartRegions:
    found = PartRegions(classes)
    for parts, people, scores, true_parts, true_people in pictures:
        found.add(row(parts), row(people), scores, row(true_parts), row(true_people))
    return found


def test_two_people_by_hand() -> None:
    found = regions(4, ("1112033300", "1111022200", [0.9, 0.8], "1122011330", "1111022220"))
    # class 1: the first person's 3 pixels and 2 true ones share 2 (2/3); the second's true region has no answer
    # class 2: 1 pixel of 2 (1/2, not above .5); class 3: 3 pixels and 2, 1 in common (1/4)
    np.testing.assert_allclose(found.class_average_precision(0.5), [np.nan, 1 / 2, 0, 0])
    assert found.average_precision(0.5) == pytest.approx(1 / 6)
    np.testing.assert_allclose(found.class_average_precision(0.4), [np.nan, 1 / 2, 1, 0])
    # class 1 up to .6, class 2 up to .4, class 3 up to .2
    assert found.average_precision_volume() == pytest.approx((6 / 2 + 4 + 2) / 27)


def test_a_region_is_of_one_person() -> None:
    """Together the two would fit; each of them covers half."""
    found = regions(2, ("11110000", "11220000", [0.9, 0.8], "11110000", "11110000"))
    assert found.average_precision(0.5) == 0
    # up to .4 both are right: the published code never asks whether a region is taken, and finds two of one
    assert found.average_precision(0.4) == 2


def test_the_order_is_by_score_over_the_whole_set_and_by_class() -> None:
    wrong, right = ("1000", "1000", "0111", "0111"), ("0111", "0111", "0111", "0111")

    def ordered(first: float, second: float) -> PartRegions:
        return regions(3, (*wrong[:2], [first], *wrong[2:]), (*right[:2], [second], *right[2:]))

    # of two true regions one is found: by the first answer, or by the second
    assert ordered(0.8, 0.9).average_precision() == pytest.approx(1 / 2)
    assert ordered(0.9, 0.8).average_precision() == pytest.approx(1 / 4)
    assert math.isnan(ordered(0.9, 0.8).class_average_precision()[2])  # which nobody wears


def test_the_threshold_is_strict_and_ignored_pixels_do_not_count() -> None:
    found = PartRegions(2)
    truth = row("11000")
    found.add(row("11100"), row("11100"), [0.9], truth, row("11000"))
    assert found.average_precision(0.6) == 1
    assert found.average_precision(2 / 3) == 0
    truth[0, 2] = 255
    found = PartRegions(2)
    found.add(row("11100"), row("11100"), [0.9], truth, row("11100"))
    assert found.average_precision(0.9) == 1


def test_nobody_there() -> None:
    assert math.isnan(regions(2, ("11", "11", [0.9], "00", "00")).average_precision())
    assert math.isnan(PartRegions(2).average_precision_volume())
    assert regions(2, ("00", "00", [], "01", "01")).average_precision() == 0


Picture = tuple[NDArray[np.uint8], NDArray[np.uint8], list[float], NDArray[np.uint8], NDArray[np.uint8]]


def random_pictures(seed: int, classes: int) -> list[Picture]:
    """Blocks of classes and people; predicted is the truth moved, some of it another class; scores with ties."""
    rng = np.random.default_rng(seed)
    pictures: list[Picture] = []
    for _ in range(10):
        parts, people = np.zeros((2, 20, 20), np.uint8)
        count = int(rng.integers(0, 4))
        for person in range(1, count + 1):
            for _ in range(4):
                y, x = rng.integers(0, 16, 2)
                block = slice(y, y + int(rng.integers(2, 6))), slice(x, x + int(rng.integers(2, 6)))
                parts[block], people[block] = rng.integers(1, classes), person
        shift = tuple(rng.integers(0, 2, 2).tolist())
        said, who = (np.roll(plane, shift, (0, 1)) for plane in (parts, people))
        order = np.concatenate([[0], rng.permutation(count) + 1]).astype(np.uint8)
        who = order[who]
        wrong = rng.random(said.shape) < 0.1
        said[wrong & (said > 0)] = rng.integers(1, classes)
        truth = parts.copy()
        truth[rng.random(truth.shape) < 0.02] = 255
        pictures.append((said, who, np.round(rng.random(count), 1).tolist(), truth, people))
    return pictures


def plain_reading(pictures: list[Picture], classes: int, threshold: float) -> float:
    """AP^r by the text of the protocol: sets of pixels and loops only."""

    def pixels(
        parts: NDArray[np.uint8], people: NDArray[np.uint8], label: int, who: int, truth: NDArray[np.uint8]
    ) -> set:
        return {
            (y, x)
            for y in range(parts.shape[0])
            for x in range(parts.shape[1])
            if truth[y, x] != 255 and parts[y, x] == label and people[y, x] == who
        }

    averages = []
    for label in range(1, classes):
        answers, there = [], 0
        for said, who, scores, truth, people in pictures:
            true = [t for k in range(1, 5) if (t := pixels(truth, people, label, k, truth))]
            there += len(true)
            for number, score in enumerate(scores, start=1):
                own = pixels(said, who, label, number, truth)
                if own:
                    answers.append((score, max((len(own & t) / len(own | t) for t in true), default=0) > threshold))
        if there:
            answers.sort(key=lambda answer: -answer[0])
            hits = [hit for _, hit in answers]
            area = 0.0
            for number, hit in enumerate(hits):
                if hit:
                    area += max(sum(hits[: end + 1]) / (end + 1) for end in range(number, len(hits))) / there
            averages.append(area)
    return sum(averages) / len(averages)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_a_plain_reading_of_the_protocol(seed: int) -> None:
    classes = 5
    pictures = random_pictures(seed, classes)
    found = PartRegions(classes)
    for picture in pictures:
        found.add(*picture)
    volume = []
    for threshold in np.arange(1, 10) / 10:
        volume.append(plain_reading(pictures, classes, threshold))
        assert found.average_precision(threshold) == pytest.approx(volume[-1], abs=1e-12)
    assert found.average_precision_volume() == pytest.approx(np.mean(volume), abs=1e-12)
    assert 0.1 < volume[4] < 0.95
