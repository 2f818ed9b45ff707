"""Who is carried into frames that were not analysed, and for how long."""

from __future__ import annotations

import math

import numpy as np
import pytest

from parsing_rcnn.people import People
from parsing_rcnn_client.video.follow import Follower
from parsing_rcnn_client.video.media import Frame

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
