"""AP^p and PCP: numbers worked out by hand, and a plain reading of the protocol on random people."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from training.metrics.parsing import ParsedPeople, class_ious


def row(text: str) -> NDArray[np.uint8]:
    """A map of one row: one digit a pixel."""
    return np.array([[int(digit) for digit in text]], np.uint8)


def test_class_ious_include_the_background_and_skip_absent_classes() -> None:
    ious = class_ious(row("0112200000"), row("0111200000"), 4)
    np.testing.assert_allclose(ious, [1, 2 / 3, 1 / 2, np.nan])


def test_ignored_pixels_do_not_count() -> None:
    truth = row("0111")
    truth[0, 3] = 255
    np.testing.assert_allclose(class_ious(row("0112"), truth, 3), [1, 1, np.nan])


def test_one_person_by_hand() -> None:
    people = ParsedPeople(classes=4)
    people.add([row("0112200000")], [0.9], [row("0111200000")])
    # overlap = mean(1, 2/3, 1/2) = 0.722: right up to the threshold .7, wrong at .8 and .9
    assert people.average_precision(0.5) == 1.0
    assert people.average_precision(0.7) == 1.0
    assert people.average_precision(0.8) == 0.0
    assert people.average_precision_volume() == pytest.approx(7 / 9)
    # of the classes 1 (2/3) and 2 (1/2, not above) one is right
    assert people.pcp() == pytest.approx(0.5)


def test_the_threshold_is_strict() -> None:
    people = ParsedPeople(classes=2)
    people.add([row("01")], [0.9], [row("01")])
    assert people.average_precision(0.999) == 1.0
    assert people.average_precision(1.0) == 0.0


def test_curve_and_missed_person_by_hand() -> None:
    left, right, missed = row("1200000000"), row("0000000012"), row("0000120000")
    people = ParsedPeople(classes=3)
    people.add([left, left, right], [0.9, 0.8, 0.7], [left, right, missed])
    # right, wrong (person taken), right of 3: precision 1 up to recall 1/3, 2/3 up to 2/3, then 0
    assert people.average_precision(0.5) == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    assert people.pcp() == pytest.approx(2 / 3)


def test_a_prediction_keeps_to_its_best_person_even_if_taken() -> None:
    # both predictions overlap the first person most; the second could have had the other person at a low threshold
    first, second = row("1111000000"), row("1110000000")
    people = ParsedPeople(classes=2)
    people.add([first, first], [0.9, 0.8], [first, second])
    assert people.average_precision(0.1) == pytest.approx(0.5)


def test_order_is_by_score_over_the_whole_set() -> None:
    person, wrong = row("1100000000"), row("0000000011")
    people = ParsedPeople(classes=2)
    people.add([person], [0.6], [person])
    people.add([wrong], [0.7], [])
    assert people.average_precision(0.5) == pytest.approx(0.5)
    people = ParsedPeople(classes=2)
    people.add([person], [0.8], [person])
    people.add([wrong], [0.7], [])
    assert people.average_precision(0.5) == 1.0


def test_scores_below_a_thousandth_are_left_out() -> None:
    person = row("1100000000")
    people = ParsedPeople(classes=2)
    people.add([person], [0.0009], [person])
    assert people.average_precision(0.5) == 0.0
    assert people.pcp() == 0.0


def test_nobody_there() -> None:
    people = ParsedPeople(classes=2)
    people.add([row("01")], [0.9], [])
    assert math.isnan(people.average_precision())
    assert math.isnan(people.pcp())


def test_people_of_pictures_without_predictions_count() -> None:
    person = row("1100000000")
    people = ParsedPeople(2)
    people.add([person], [0.9], [person])
    people.add([], [], [person, person])
    people.add([person], [0.0001], [person])  # too low a score is no prediction
    # one of four found, and right
    assert people.average_precision() == people.average_precision_volume() == people.pcp() == pytest.approx(1 / 4)


Set = list[tuple[list[NDArray[np.uint8]], list[float], list[NDArray[np.uint8]]]]


def random_people(seed: int, classes: int) -> Set:
    """Pictures of blocks of classes; predictions near some person or nowhere, scores with ties, ignored pixels."""
    rng = np.random.default_rng(seed)

    def person() -> NDArray[np.uint8]:
        own = np.zeros((24, 24), np.uint8)
        y, x = rng.integers(0, 14, 2)
        for row in range(int(rng.integers(1, 5))):
            own[y + 2 * row : y + 2 * row + 2, x : x + int(rng.integers(3, 9))] = rng.integers(0, classes)
        return own

    pictures: Set = []
    for _ in range(12):
        truths = [person() for _ in range(int(rng.integers(0, 4)))]
        predictions = [person() for _ in range(int(rng.integers(0, 2)))]
        for truth in truths:
            for _ in range(int(rng.integers(0, 3))):
                predictions.append(np.roll(truth, tuple(rng.integers(-1, 2, 2)), (0, 1)))
        for truth in truths:
            truth[rng.random(truth.shape) < 0.02] = 255
        scores = np.round(rng.random(len(predictions)), 1).tolist()
        pictures.append((predictions, scores, truths))
    return pictures


def plain_reading(pictures: Set, classes: int, threshold: float) -> tuple[float, float]:
    """(AP^p, PCP) by the text of the protocol, pixel sets and loops only."""

    def class_iou(a: NDArray[np.uint8], b: NDArray[np.uint8], label: int) -> float | None:
        pixels = [
            (int(p) == label, int(t) == label) for p, t in zip(a.ravel(), b.ravel(), strict=True) if int(t) < classes
        ]
        either = sum(p or t for p, t in pixels)
        return sum(p and t for p, t in pixels) / either if either else None

    detections = []
    for number, (predictions, scores, _) in enumerate(pictures):
        detections += [(score, number, p) for p, score in zip(predictions, scores, strict=True) if score >= 0.001]
    detections.sort(key=lambda d: d[0], reverse=True)
    used: dict[tuple[int, int], float] = {}
    hits = []
    for _, number, prediction in detections:
        best, best_index = -1.0, -1
        for index, truth in enumerate(pictures[number][2]):
            values = [v for k in range(classes) if (v := class_iou(prediction, truth, k)) is not None]
            if sum(values) / len(values) > best:
                best, best_index = sum(values) / len(values), index
        hit = best > threshold and (number, best_index) not in used
        hits.append(hit)
        if hit:
            truth = pictures[number][2][best_index]
            worn = [k for k in range(1, classes) if (truth == k).any()]
            good = [k for k in worn if (class_iou(prediction, truth, k) or 0.0) > 0.5]
            used[number, best_index] = len(good) / len(worn) if worn else 0.0
    people = sum(len(truths) for _, _, truths in pictures)
    # area under the curve: each recall step at the best precision of it or any later one
    area = 0.0
    for row, hit in enumerate(hits):
        if hit:
            area += max(sum(hits[: end + 1]) / (end + 1) for end in range(row, len(hits))) / people
    return area, sum(used.values()) / people


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_a_plain_reading_of_the_protocol(seed: int) -> None:
    classes = 5
    pictures = random_people(seed, classes)
    people = ParsedPeople(classes)
    for predictions, scores, truths in pictures:
        people.add(predictions, scores, truths)
    volume = []
    for threshold in np.arange(1, 10) / 10:
        ap, pcp = plain_reading(pictures, classes, threshold)
        assert people.average_precision(threshold) == pytest.approx(ap, abs=1e-12)
        assert people.pcp(threshold) == pytest.approx(pcp, abs=1e-12)
        volume.append(ap)
    assert people.average_precision_volume() == pytest.approx(np.mean(volume), abs=1e-12)
    assert 0.1 < volume[4] < 0.95


def test_nothing_is_measured_where_nothing_is_known() -> None:
    truth = np.array([[0, 1, 1, 255, 255]], np.uint8)
    spilt = np.array([[0, 1, 1, 2, 0]], np.uint8)
    people = ParsedPeople(classes=3)
    people.add([spilt], [0.9], [truth])
    assert people.average_precision(0.9) == people.pcp() == 1.0
    people.add([spilt], [0.9], [np.full_like(truth, 255)])
    assert people.average_precision(0.9) == people.pcp() == 1.0
