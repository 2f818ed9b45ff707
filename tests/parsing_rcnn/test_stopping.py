"""Work whose result was given up ends at the next person, part or tile."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from parsing_rcnn import draw
from parsing_rcnn.codecs import json
from parsing_rcnn.maps.full_frame import inds_map
from parsing_rcnn.people import People
from parsing_rcnn.stopping import Stopped, check_stopped, stoppable


@pytest.fixture
def people() -> People:
    """Three who overlap, with every map."""
    rng = np.random.default_rng(0)
    boxes = np.array([[0, 0, 40, 60], [10, 5, 50, 60], [20, 0, 60, 50]], np.float32)
    probabilities = rng.integers(0, 256, (3, 20, 16, 16), np.uint8)
    parts = probabilities.argmax(axis=1).astype(np.uint8)
    iuv = np.stack([parts, *rng.integers(0, 256, (2, 3, 16, 16), np.uint8)], axis=1)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    return People(boxes, scores, (64, 64), parts=parts, part_probs=probabilities, iuv=iuv)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    "encode",
    [
        lambda people, exact: json.to_json(people, include=json.INCLUDE, mask_format="polygon", exact=exact),
        lambda people, exact: people.label_map(exact),
        lambda people, exact: people.iuv_map(exact),
        inds_map,
        lambda people, _: draw.overlay(np.zeros((64, 64, 3), np.uint8), people),
        lambda people, _: draw.contours(np.zeros((64, 64, 3), np.uint8), people),
    ],
)
def test_every_answer_ends_between_two_people(
    encode: Callable[[People, bool], object], exact: bool, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up, own, seen = threading.Event(), People.window, []

    def window(self: People, index: int) -> object:
        seen.append(index)
        if index == 1:
            given_up.set()
        return own(self, index)

    with stoppable(threading.Event()):
        encode(people, exact)  # to the end
    monkeypatch.setattr(People, "window", window)
    with stoppable(given_up), pytest.raises(Stopped):
        encode(people, exact)
    assert 2 not in seen


def test_only_the_thread_that_was_given_up_stops() -> None:
    given_up, others = threading.Event(), []
    given_up.set()
    check_stopped()
    with stoppable(given_up):
        other = threading.Thread(target=lambda: others.append(check_stopped()))
        other.start()
        other.join()
        with pytest.raises(Stopped):
            check_stopped()
    check_stopped()
    assert others == [None]
