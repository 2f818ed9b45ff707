"""Memory of pictures that are decoded at the same time."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from PIL import Image

from parsing_rcnn.analyzer import Options
from parsing_rcnn.codecs import image as codec
from parsing_rcnn.codecs.room import SMALL, Room
from parsing_rcnn.inference.views import Source, useful_side
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


def test_a_jpeg_for_a_small_region_takes_room_for_what_is_decoded_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    class Seen(Room):
        @contextmanager
        def of(self, pixels: int) -> Iterator[None]:
            taken.append(pixels)
            with super().of(pixels):
                yield

    room = Seen(1)
    monkeypatch.setattr(codec, "_ROOM", room)
    buffer = io.BytesIO()
    Image.new("RGB", (1600, 1500)).save(buffer, "JPEG")
    jpeg, whole = buffer.getvalue(), 1600 * 1500
    for side, pixels in ((None, whole), (1000, whole), (400, 400 * 375)):
        assert max(codec.decode(jpeg, max_side=side, waits=True).shape) == (side or 1600)
        assert taken.pop() == pixels
    codec.decode(jpeg)  # what is drawn is bounded elsewhere
    assert not taken
    with pytest.raises(codec.InvalidImage):  # whose second decoder takes room when the first has left it, or would hang
        codec.decode(jpeg[:-400], waits=True)
    assert (taken, room.held) == ([whole, whole], 0)
    taken.clear()
    source = Source(jpeg, codec.ImageLimits())
    for region, pixels in ((None, 600 * 640), ((0, 0, 100, 100), whole)):
        options = Options(region=region)
        assert source.decoded(useful_side(source, options, [(640, 640)])).shape[1] == (640 if region is None else 1600)
        assert taken.pop() == pixels


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process is forked here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_has_room() -> None:
    """Threads of its parent that decode are not there, and never end."""
    room = Room(10 * SMALL)
    with room.of(10 * SMALL), room._changed:
        if (child := os.fork()) == 0:
            signal.alarm(60)
            with room.of(10 * SMALL):
                os._exit(3 if room.held == 10 * SMALL else 4)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        assert room.held == 10 * SMALL


def test_an_interrupt_while_room_is_taken_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(10 * SMALL)
    notify, left = room._changed.notify_all, iter([True])

    def interrupted() -> None:
        notify()
        if next(left, False):
            raise KeyboardInterrupt

    monkeypatch.setattr(room._changed, "notify_all", interrupted)
    with pytest.raises(KeyboardInterrupt), room.of(6 * SMALL):
        pass
    assert room.held == 0
    with room.of(10 * SMALL):
        assert room.held == 10 * SMALL
