"""`client.stream(frames, track=True)`: numbers of the gateway's tracker, each for one person only.

What the tracker makes of real people in real frames is in tests/server/test_stream_tracking.py, but for a cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn.people import People
from server.settings import Settings
from tests.client.streams import Ask, Patient, both, by_threads, one_by_one
from tests.server.clock import frames_come_evenly
from tests.server.conftest import Live


class Walking(Patient):
    """Finds somebody in every picture, 10 pixels further to the right each time, and a doubtful box elsewhere."""

    def analyze(self, image: Any, *options: Any) -> People:
        super().analyze(image, *options)
        boxes = np.array([[0, 0, 40, 120], [500, 0, 540, 120]], np.float32)
        boxes[0, [0, 2]] += 10 * self.count
        return People(boxes, np.array([0.9, 0.3], np.float32), (200, 600))


@pytest.fixture
def evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    frames_come_evenly(monkeypatch)


def numbers(answer: Any) -> list[int] | None:
    assert isinstance(answer.people, People)
    return None if answer.people.tracker_id is None else answer.people.tracker_id.tolist()


@both
def test_people_have_numbers_that_go_on_where_the_gateway_begins_again(
    photo_jpeg: bytes, ask: Ask, kept_port: int
) -> None:
    frames: SimpleQueue[bytes | None] = SimpleQueue()
    first = Live(Settings(drain_seconds=1), lambda: Walking(opened=True), port=kept_port)
    with first:
        answers = ask(f"http://{first.address}", iter(frames.get, None), {"track": True}, timeout=60)
        for _ in range(3):
            frames.put(photo_jpeg)
            assert numbers(next(answers)) == [1]
    for number in (2, 3):  # nobody knows whether it is the same person
        with Live(Settings(drain_seconds=1), lambda: Walking(opened=True), port=kept_port):
            frames.put(photo_jpeg)
            while isinstance((answer := next(answers)).people, EngineUnavailable):  # it may be lost with the connection
                frames.put(photo_jpeg)
            assert numbers(answer) == [number]
            frames.put(photo_jpeg)
            assert numbers(next(answers)) == [number]
    frames.put(None)


def test_nobody_has_a_number_where_none_was_asked_for(photo_jpeg: bytes) -> None:
    with Live(Settings(), lambda: Walking(opened=True)) as live:
        (answer,) = one_by_one(by_threads, f"http://{live.address}", [photo_jpeg])
    assert numbers(answer) is None
    assert len(answer.people) == 2  # type: ignore[arg-type]


def wall(seed: int) -> NDArray[np.uint8]:
    """A wall of 960x240 that no other one is like."""
    shapes = np.random.default_rng(seed).normal(127, 60, (6, 24, 3)).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(shapes, (960, 240), interpolation=cv2.INTER_CUBIC), np.uint8)


@both
@pytest.mark.usefixtures("evenly")
@pytest.mark.parametrize("given", [{}, {"jpeg_quality": 90}], ids=["as PNG", "as JPEG"])
def test_nobody_keeps_a_number_over_a_cut_and_all_do_where_the_camera_is_knocked(
    gateway_url: str, ask: Ask, given: dict[str, Any]
) -> None:
    """Arrays of a video with two scenes: in the second somebody else stands where somebody stood."""
    astronaut = pytest.importorskip("skimage.data").astronaut()
    portrait = cv2.resize(astronaut, (200, 200), interpolation=cv2.INTER_AREA)[:, 10:146]
    views: list[NDArray[np.uint8]] = []
    for seed, somebody in ((1, portrait), (2, portrait[:, ::-1, ::-1])):
        scene = wall(seed)
        scene[40:, 250:386] = somebody
        views += [scene[:, left : left + 480] for left in (100, 105, 225)]  # then by a quarter of the picture
    frames: SimpleQueue[NDArray[np.uint8] | None] = SimpleQueue()

    def video() -> Iterator[NDArray[np.uint8]]:
        while (view := frames.get()) is not None:
            yield view

    answers = ask(gateway_url, video(), {"track": True, "confidence": 0.9, "tasks": ()}, **given)
    found = []
    for view in views:
        frames.put(np.ascontiguousarray(view))
        found.append(numbers(next(answers)))
    frames.put(None)
    assert found == [[1]] * 3 + [[2]] * 3
    assert next(answers, None) is None
