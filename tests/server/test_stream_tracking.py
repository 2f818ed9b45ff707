"""`WS /v1/stream?track=true` with the real model: numbers that stay with people while a portrait walks through."""

from __future__ import annotations

import io
import json
import struct
import threading
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from parsing_rcnn.analyzer import Options
from parsing_rcnn.codecs import image as codecs
from parsing_rcnn.codecs import jpeg, npz
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from server.settings import Settings
from tests.server.clock import frames_come_evenly
from tests.server.conftest import Live

QUERY = "include=&track=true&confidence=0.9"
Scene = Callable[..., bytes]


@pytest.fixture(autouse=True)
def evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    frames_come_evenly(monkeypatch)


def wall(seed: int) -> NDArray[np.uint8]:
    """A wall of 1440x240 that no other one is like."""
    shapes = np.random.default_rng(seed).normal(127, 60, (6, 36, 3)).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(shapes, (1440, 240), interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Makes a frame, a JPEG of 720x240: `red` is where the portrait stands, `blue` where its mirror image, in other
    colours; `below` hides what is above that row; `before` is the wall that they stand before."""
    astronaut = pytest.importorskip("skimage.data").astronaut()
    portrait = cv2.resize(astronaut, (200, 200), interpolation=cv2.INTER_AREA)[:, 10:146]

    def draw(
        red: int | None = None, blue: int | None = None, below: int = 0, before: NDArray[np.uint8] | None = None
    ) -> bytes:
        frame = np.full((240, 720, 3), 120, np.uint8) if before is None else before.copy()
        for left, somebody in ((red, portrait), (blue, portrait[:, ::-1, ::-1])):
            if left is not None:
                frame[40:, left : left + 136] = somebody
        frame[:below] = 120
        return jpeg.encode_rgb(frame)

    return draw


def opened(live: Live, query: str = QUERY) -> ClientConnection:
    return connect(f"ws://{live.address}/v1/stream?{query}", max_size=None, open_timeout=60)


def send(socket: ClientConnection, number: int, picture: bytes) -> None:
    socket.send(struct.pack("<II", number, 0) + picture)


def ask(socket: ClientConnection, picture: bytes) -> Any:
    send(socket, 0, picture)
    return json.loads(socket.recv(60))


def whose(answer: Any) -> dict[str, int]:
    """Who has which number, in a scene with red on the left of blue."""
    people = sorted(answer["predictions"], key=lambda person: person["x"])
    return {name: person["tracker_id"] for name, person in zip(("left", "right"), people, strict=False)}


def test_people_keep_their_numbers_and_somebody_new_has_a_new_one(live: Live, scene: Scene) -> None:
    with opened(live) as socket:
        assert whose(ask(socket, scene(red=0))) == {"left": 1}
        for step in range(1, 6):
            found = ask(socket, scene(red=20 * step, blue=560 - 20 * step))
            assert whose(found) == {"left": 1, "right": 2}
        assert {person["detection_id"] for person in found["predictions"]} == {"0", "1"}  # by score, as ever
        assert whose(ask(socket, scene(blue=440))) == {"left": 2}
    with opened(live) as another:  # has a tracker of its own
        assert whose(ask(another, scene(blue=440))) == {"left": 1}


def test_people_keep_their_numbers_in_frames_of_another_size_and_of_the_same_shape(live: Live, scene: Scene) -> None:
    """In half the size blue stands where red stood, and red elsewhere."""
    picture = codecs.decode(scene(red=0, blue=560))
    half, turned = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), picture[:, 280:].copy()
    with opened(live) as socket:
        before = whose(ask(socket, jpeg.encode_rgb(picture)))
        assert before.keys() == {"left", "right"}
        assert whose(ask(socket, jpeg.encode_rgb(half))) == before
        assert whose(ask(socket, jpeg.encode_rgb(picture))) == before
        (new,) = whose(ask(socket, jpeg.encode_rgb(turned))).values()
        assert new == 3


def as_png(picture: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(codecs.decode(picture)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", [bytes, as_png], ids=["JPEG", "PNG"])
def test_nobody_keeps_a_number_over_a_cut(live: Live, scene: Scene, kind: Callable[[bytes], bytes]) -> None:
    """Whether somebody else stands where somebody stood, or the same."""
    one, other = wall(1)[:, :720], wall(2)[:, :720]
    with opened(live) as socket:
        for number, before, who in ((1, one, "red"), (2, other, "blue"), (3, one, "blue")):
            for left in (300, 305):
                found = whose(ask(socket, kind(scene(**{who: left}, before=before))))
                assert found == {"left": number}


def test_people_keep_their_numbers_where_the_camera_is_knocked(live: Live, scene: Scene) -> None:
    """By a quarter of the picture, so that one stands where the other stood; without maps nobody's colours help."""
    wide, found = wall(1), []
    with opened(live, QUERY + "&tasks=") as socket:
        for left in (100, 100, 280, 280, 190):
            view = scene(red=400 - left, blue=600 - left, before=wide[:, left : left + 720])
            found.append(whose(ask(socket, view)))
    assert found[0].keys() == {"left", "right"}
    assert found == [found[0]] * 5


class Held:
    """The real engine, which computes nothing while its gate is closed."""

    def __init__(self, engine: Pipeline) -> None:
        self.engine, self.gate, self.begun = engine, threading.Event(), threading.Semaphore(0)
        self.gate.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def analyze(self, image: Any, options: Options) -> People:
        self.begun.release()
        assert self.gate.wait(60)
        return self.engine.analyze(image, options)

    def close(self) -> None: ...


def test_frames_that_are_no_pictures_or_are_dropped_change_nothing(pipeline: Pipeline, scene: Scene) -> None:
    engine = Held(pipeline)
    with Live(Settings(), lambda: engine) as live, opened(live) as socket:  # type: ignore[arg-type,return-value]
        assert whose(ask(socket, scene(red=0, blue=560))).keys() == {"left", "right"}
        before = whose(ask(socket, scene(red=10, blue=550)))
        assert ask(socket, b"no picture")["problem"]["status"] == 415
        while engine.begun.acquire(blocking=False):
            pass
        engine.gate.clear()
        send(socket, 1, scene(red=20, blue=540))
        assert engine.begun.acquire(timeout=60)
        for number in range(2, 5):
            send(socket, number, scene(red=10 + 10 * number, blue=550 - 10 * number))
        socket.send(b"sync")  # its complaint comes after all frames were seen
        assert json.loads(socket.recv(60))["problem"]["status"] == 400
        engine.gate.set()
        answers = [json.loads(socket.recv(60)) for _ in range(2)]
        assert [answer["frame_id"] for answer in answers] == [1, 4]
        assert [whose(answer) for answer in answers] == [before] * 2
        assert answers[1]["dropped"] == 2


def test_who_is_known_is_answered_below_the_confidence_and_nobody_else(
    live: Live, client: TestClient, scene: Scene
) -> None:
    whole, half = scene(red=300), scene(red=300, below=120)
    scores = [
        client.post("/v1/analyze?include=", content=picture).json()["predictions"][0] for picture in (whole, half)
    ]
    sure, doubtful = (person["confidence"] for person in scores)
    assert sure > doubtful + 0.02
    query = f"include=&track=true&confidence={(sure + doubtful) / 2:.4f}"
    with opened(live, query) as socket:
        assert ask(socket, half)["predictions"] == []
        assert whose(ask(socket, whole)) == {"left": 1}
        (person,) = ask(socket, half)["predictions"]
    assert (person["tracker_id"], person["confidence"]) == (1, doubtful)


def test_who_comes_back_elsewhere_is_known_by_the_colours(live: Live, scene: Scene) -> None:
    query = "include=&confidence=0.9&track=true&tasks="
    with opened(live, query + "parsing") as socket:
        assert whose(ask(socket, scene(red=0))) == {"left": 1}
        ask(socket, scene())
        assert whose(ask(socket, scene(red=150))) == {"left": 1}
        ask(socket, scene())
        assert whose(ask(socket, scene(blue=300))) == {"left": 2}
    with opened(live, query) as socket:  # without maps nothing is known of anybody's looks
        ask(socket, scene(red=0))
        ask(socket, scene())
        assert whose(ask(socket, scene(red=150))) == {"left": 2}


def test_arrays_have_the_numbers(live: Live, scene: Scene) -> None:
    with opened(live, "track=true&confidence=0.9&tasks=parsing&format=npz") as socket:
        for red, blue in ((0, None), (20, 560)):
            send(socket, 0, scene(red=red, blue=blue))
            answer = socket.recv(60)
    assert isinstance(answer, bytes)
    people = npz.decode(answer[8:])
    assert people.tracker_id is not None
    assert people.tracker_id[np.argsort(people.boxes[:, 0])].tolist() == [1, 2]
    assert people.tracker_id.dtype == np.int32


def test_nobody_has_a_number_where_none_was_asked_for(live: Live, client: TestClient, scene: Scene) -> None:
    frame = scene(red=0)
    for query in ("include=&confidence=0.9", "include=&confidence=0.9&track=false"):
        with opened(live, query) as socket:
            assert [person["tracker_id"] for person in ask(socket, frame)["predictions"]] == [None]
    found = client.post("/v1/analyze?include=&confidence=0.9", content=frame)
    assert [person["tracker_id"] for person in found.json()["predictions"]] == [None]
    refused = client.post("/v1/analyze?track=true", content=frame)  # a single picture has no frames before it
    assert (refused.status_code, "track: there is no such option" in refused.json()["detail"]) == (422, True)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("track=maybe", "choose one of true, false"),
        ("track=true&track=true", "choose one of true, false"),
        ("track=", "choose one of true, false"),
        ("track=true&format=jpeg", "pictures show no numbers"),
        ("track=true&render=anonymise", "pictures show no numbers"),  # which hides people who have none
    ],
)
def test_what_track_cannot_be(live: Live, query: str, why: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        opened(live, query)
    assert refusal.value.response.status_code == 422
    assert f"track: {why}" in json.loads(refusal.value.response.body)["detail"]
