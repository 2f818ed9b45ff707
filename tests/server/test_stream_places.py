"""Where all places of streams are taken, who has been silent for a minute makes way."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed, InvalidStatus

from server.errors import Busy
from server.routers.stream_places import SILENT, Places
from server.settings import Settings
from tests.server.conftest import Live, Slow
from tests.server.helpers import open_gate, until
from tests.server.test_stream import frame, opened


class Now:
    """The clock of the places; it stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("server.routers.stream_places.time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Now:
    return Now(monkeypatch)


def test_the_one_that_is_silent_for_longest_makes_way(clock: Now) -> None:
    places = Places(3)
    first = places.take()
    clock.now += 1
    second, third = places.take(), places.take()
    clock.now += 1
    first.heard()
    third.begin()  # and is never silent until it is answered
    clock.now += SILENT - 2
    with pytest.raises(Busy, match="3 streams are open"):
        places.take()
    clock.now += 1
    places.take()
    assert [place.lost.is_set() for place in (first, second, third)] == [False, True, False]
    assert len(places) == 3
    places.leave(second)  # had lost it already
    assert len(places) == 3
    clock.now += 1
    places.take()
    assert first.lost.is_set()


def test_without_places_nobody_makes_way(clock: Now) -> None:
    with pytest.raises(Busy, match="0 streams are open"):
        Places(0).take()


def test_a_silent_stream_is_told_that_it_makes_way(clock: Now) -> None:
    with Live(Settings(max_streams=1), open_gate) as live, opened(live) as first:
        with pytest.raises(InvalidStatus):
            opened(live)
        clock.now += SILENT
        with capture_logs() as lines, opened(live) as second:
            with pytest.raises(ConnectionClosed) as closed:
                first.recv(60)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1013
            assert closed.value.rcvd.reason == "no frame for 60 s, and another stream needs the place"
            assert [line["reason"] for line in lines if line["event"] == "closed"] == [closed.value.rcvd.reason]
            second.send(frame(1, b""))
            assert json.loads(second.recv(60))["frame_id"] == 1
            assert len(live.app.state.places) == 1
        until(lambda: len(live.app.state.places) == 0)


def test_a_stream_that_waits_for_its_answer_keeps_its_place(clock: Now, photo_jpeg: bytes) -> None:
    slow = Slow()
    with Live(Settings(max_streams=1), lambda: slow) as live, opened(live) as first:
        first.send(frame(1, photo_jpeg))
        assert slow.begun.acquire(timeout=60)
        clock.now += 10 * SILENT
        with pytest.raises(InvalidStatus) as refusal:
            opened(live)
        assert refusal.value.response.status_code == 503
        slow.gate.set()
        assert json.loads(first.recv(60))["frame_id"] == 1
        with pytest.raises(InvalidStatus):  # it is silent from now on only
            opened(live)
