"""Memory of pictures that are decoded at the same time."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from PIL import Image

from parsing_rcnn.codecs import image as codec
from parsing_rcnn.codecs.room import SMALL, Room
from parsing_rcnn.stopping import Stopped, stoppable


def test_large_pictures_wait_in_turn_and_small_ones_do_not() -> None:
    room, order = Room(10 * SMALL), []
    begun = threading.Semaphore(0)

    def work(name: str, pixels: int) -> None:
        begun.release()
        with room.of(pixels):
            order.append(name)

    with room.of(6 * SMALL), room.of(4 * SMALL):
        assert room.held == 10 * SMALL
        with room.of(SMALL):
            assert room.held == 10 * SMALL
        waiting = []
        for name, pixels in (("giant", 100 * SMALL), ("next", 2 * SMALL)):
            waiting.append(threading.Thread(target=work, args=(name, pixels)))
            waiting[-1].start()
            assert begun.acquire(timeout=60)
            while len(room._line) < len(waiting):
                time.sleep(0.001)
        assert order == []
    for thread in waiting:
        thread.join(60)
    assert order == ["giant", "next"]
    assert room.held == 0


def test_who_is_told_to_stop_waits_no_longer() -> None:
    room, given_up = Room(SMALL + 1), threading.Event()
    given_up.set()
    with room.of(2 * SMALL):
        with stoppable(given_up), pytest.raises(Stopped), room.of(2 * SMALL):
            pass
        assert not room._line
    with room.of(2 * SMALL):
        assert room.held == SMALL + 1


def test_what_is_decoded_whole_takes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    class Seen(Room):
        @contextmanager
        def of(self, pixels: int) -> Iterator[None]:
            taken.append(pixels)
            with super().of(pixels):
                yield

    monkeypatch.setattr(codec, "_ROOM", Seen(1))
    picture = Image.new("RGB", (60, 50))

    def rooms(kind: str, cut: int | None = None, of: Image.Image = picture, **how: object) -> int:
        buffer = io.BytesIO()
        of.save(buffer, kind, **how)
        taken.clear()
        try:
            codec.decode(buffer.getvalue()[:cut], max_side=20)
        except codec.ParsingRCNNError:
            assert cut
        assert set(taken) <= {3000}
        return len(taken)

    assert rooms("JPEG") == 0
    assert rooms("JPEG", progressive=True) == 1
    assert rooms("JPEG", cut=-20) == 1
    assert rooms("PNG") == 1
    assert rooms("WEBP") == 1
