"""AP^p and PCP: numbers worked out by hand from the protocol."""

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
