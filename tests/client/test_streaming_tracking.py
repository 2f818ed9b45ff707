"""`client.stream(frames, track=True)`: numbers of the gateway's tracker, each for one person only.

What the tracker makes of real people in real frames is in tests/server/test_stream_tracking.py.
"""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any

import numpy as np

from parsing_rcnn.people import People
from server.settings import Settings
from tests.client.streams import Ask, Patient, both, by_threads, one_by_one
from tests.server.conftest import Live


class Walking(Patient):
    """Finds somebody in every picture, 10 pixels further to the right each time, and a doubtful box elsewhere."""

    def analyze(self, image: Any, *options: Any) -> People:
        super().analyze(image, *options)
        boxes = np.array([[0, 0, 40, 120], [500, 0, 540, 120]], np.float32)
        boxes[0, [0, 2]] += 10 * self.count
        return People(boxes, np.array([0.9, 0.3], np.float32), (200, 600))


def numbers(answer: Any) -> list[int] | None:
    assert isinstance(answer.people, People)
    return None if answer.people.tracker_id is None else answer.people.tracker_id.tolist()


@both
def test_people_have_numbers_that_go_on_where_the_gateway_begins_again(photo_jpeg: bytes, ask: Ask) -> None:
    frames: SimpleQueue[bytes | None] = SimpleQueue()
    first = Live(Settings(drain_seconds=1), lambda: Walking(opened=True))
    with first:
        answers = ask(f"http://{first.address}", iter(frames.get, None), {"track": True}, timeout=60)
        for _ in range(3):
            frames.put(photo_jpeg)
            assert numbers(next(answers)) == [1]
    for number in (2, 3):  # nobody knows whether it is the same person
        with Live(Settings(drain_seconds=1), lambda: Walking(opened=True), port=first.port):
            for _ in range(2):
                frames.put(photo_jpeg)
                assert numbers(next(answers)) == [number]
    frames.put(None)


def test_nobody_has_a_number_where_none_was_asked_for(photo_jpeg: bytes) -> None:
    with Live(Settings(), lambda: Walking(opened=True)) as live:
        (answer,) = one_by_one(by_threads, f"http://{live.address}", [photo_jpeg])
    assert numbers(answer) is None
    assert len(answer.people) == 2  # type: ignore[arg-type]
