"""Live results as data: a user's own record, counts, several sources, sources and outputs that go away."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.analyzer import ModelInfo, Options
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.people import People
from parsing_rcnn_client.video.follow import Tracked
from parsing_rcnn_client.video.layers import Look
from parsing_rcnn_client.video.live import Live, LiveSettings
from parsing_rcnn_client.video.media import Frame, VideoInfo
from parsing_rcnn_client.video.records import JsonLines
from parsing_rcnn_client.video.zones import Line, Zone, Zones
from tests.client.video.test_live import until

BOXES = Look(layers=("boxes",))


class Walker:
    """A camera before which a bright square, 16 wide and 32 high, comes down by 2 pixels a frame, and ends. It waits
    until each frame has been shown or lost, and by its clock a frame comes every 0.03 seconds, however long that took.
    """

    def __init__(self, live: Live, frames: int = 12, first: int = 0, source: int = 0) -> None:
        self.info = VideoInfo(64, 96, 50, live=True)
        self._live, self._source, self._closed = live, source, threading.Event()
        self._frames, self._first = frames, first

    def __iter__(self) -> Iterator[Frame]:
        begin = time.monotonic()
        for index in range(self._frames):
            if self._closed.wait(0.03):
                return
            image = np.zeros((96, 64, 3), np.uint8)
            top = 2 * (self._first + index)
            image[top : top + 32, 24:40] = 255
            yield Frame(index, index / 50, image, begin + 0.03 * index)
            while not self._is_seen():
                if self._closed.wait(0.002):
                    return

    def _is_seen(self) -> bool:
        if len(self._live.sources) <= self._source:  # it begins before `add` returns
            return False
        state = self._live.sources[self._source].state
        return state.shown + state.lost >= state.frames

    def close(self) -> None:
        self._closed.set()


class Sees:
    """An engine that sees bright squares: where people are is known to the pixel."""

    info: ModelInfo

    def __init__(self) -> None:
        self.options: list[Options] = []

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        assert not isinstance(image, bytes)
        self.options.append(options)
        rows, columns = np.nonzero(image[..., 0] == 255)
        if not len(rows):
            return People.empty(image.shape[:2])
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        return People(np.array([box], np.float32), np.array([0.9], np.float32), image.shape[:2])

    def close(self) -> None:
        pass


class Kept:
    """A user's record: it has `add`, and nothing else."""

    def __init__(self) -> None:
        self.frames: list[Tracked] = []

    def add(self, tracked: Tracked) -> None:
        self.frames.append(tracked)


class Screen:
    def __init__(self, problem: str | None = None) -> None:
        self.shown: list[NDArray[np.uint8]] = []
        self._problem = problem

    def show(self, image: NDArray[np.uint8], seconds: float) -> str | None:
        self.shown.append(image)
        return self._problem

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


@pytest.mark.parametrize("mode", ["align", "low-latency"])
def test_a_record_has_every_frame_that_is_shown_with_everybodys_number(mode: str) -> None:
    live, kept, screen = Live(Sees(), LiveSettings(BOXES, mode=mode)), Kept(), Screen()
    live.add("door", lambda: Walker(live), lambda reader: screen, endless=False, records=[kept])
    until(lambda: not live.running)
    live.close()
    assert len(kept.frames) == len(screen.shown) == live.sources[0].state.shown > 6
    assert {each.source for each in kept.frames} == {"door"}
    assert {tuple(each.numbers) for each in kept.frames} <= {(1,), ()}
    assert kept.frames[-1].numbers.tolist() == [1]
    indices = [each.frame.index for each in kept.frames]
    assert indices == sorted(set(indices))


def test_without_an_output_records_alone_are_made() -> None:
    live, kept = Live(Sees(), LiveSettings(BOXES)), Kept()
    live.add("door", lambda: Walker(live), endless=False, records=[kept])
    until(lambda: not live.running)
    live.close()
    assert live.sources[0].state.shown == len(kept.frames) > 6
    assert all((each.frame.image[each.frame.image > 0] == 255).all() for each in kept.frames)  # nothing is drawn


def test_lines_go_on_when_the_source_comes_back_and_while_the_output_is_away(tmp_path: Path) -> None:
    path = tmp_path / "live.jsonl"
    live, record = Live(Sees(), LiveSettings(BOXES, pause=0.02)), JsonLines(path, live=True)
    cameras = iter([Walker(live, 8), Walker(live, 8), Walker(live, 10**6)])
    source = live.add("door", lambda: next(cameras), lambda reader: Screen("away"), records=[record])
    until(lambda: source.state.reconnects == 2 and source.state.frames > 20)
    assert source.state.shown == 0
    before = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(before) > 12  # while it runs
    live.close()
    record.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    times = [line["time"] for line in lines]
    assert times == sorted(times)
    assert len({line["frame"] for line in lines}) == len(lines) == source.state.lost


def test_sources_share_a_file_and_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "live.jsonl"
    live, record = Live(Sees(), LiveSettings(BOXES)), JsonLines(path, live=True)
    for number, name in enumerate(("door", "hall")):
        live.add(name, lambda number=number: Walker(live, source=number), endless=False, records=[record])  # type: ignore[misc]
    until(lambda: not live.running)
    live.close()
    record.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for source in live.sources:
        assert sum(line["source"] == source.state.name for line in lines) == source.state.shown > 4


def test_records_ask_for_the_tasks_that_they_need() -> None:
    engine = Sees()
    live = Live(engine, LiveSettings(BOXES, tasks=frozenset({"densepose"})))
    live.add("door", lambda: Walker(live), endless=False)
    until(lambda: not live.running)
    live.close()
    assert {options.tasks for options in engine.options} == {frozenset({"densepose"})}


def test_what_a_record_raises_ends_its_source_and_is_told() -> None:
    class Broken:
        def add(self, tracked: Tracked) -> None:
            raise RuntimeError("the database is gone")

    live = Live(Sees(), LiveSettings(BOXES))
    live.add("door", lambda: Walker(live, 10**6), records=[Broken()])
    until(lambda: not live.running)
    with pytest.raises(RuntimeError, match="the database is gone"):
        live.close()


def test_each_source_counts_by_itself_and_its_counts_are_drawn() -> None:
    # feet come down from 32 to 54, and the second camera begins below the line at 40
    zones = Zones([Zone.parse("all=0,0,100%,0,100%,100%,0,100%")], [Line("level", [(0, 40), (64, 40)])])
    live = Live(Sees(), LiveSettings(BOXES, zones=zones))
    kept, screens = [Kept(), Kept()], [Screen(), Screen()]
    for number, first in enumerate((0, 20)):
        open_reader = lambda first=first, number=number: Walker(live, 12, first, number)  # noqa: E731
        screen = screens[number]
        live.add(str(number), open_reader, lambda _, s=screen: s, endless=False, records=[kept[number]])  # type: ignore[misc]
    until(lambda: not live.running)
    live.close()
    counts = [each.frames[-1].counts for each in kept]
    assert [count and count.zones for count in counts] == [{"all": 1}] * 2
    assert [count and count.lines["level"]["in"] for count in counts] == [1, 0]
    assert all(screen.shown[-1][40, 2].any() for screen in screens)  # the line, where nobody is


def test_a_zone_outside_the_picture_ends_the_source_and_is_told() -> None:
    live = Live(Sees(), LiveSettings(BOXES, zones=Zones([Zone.parse("door=0,0,65,0,0,9")])))
    live.add("door", lambda: Walker(live, 10**6), records=[Kept()])
    until(lambda: not live.running)
    with pytest.raises(InvalidOptions, match="zone door: 65,0 lies outside the picture of 64x96 pixels"):
        live.close()


@pytest.mark.parametrize("mode", ["align", "low-latency"])
def test_who_stands_there_when_a_source_comes_back_is_somebody_new(mode: str) -> None:
    class Standing(Walker):
        """Somebody who stands where the one stood before whom the source was lost, in the same room."""

        def __init__(self, frames: int, scale: int = 1) -> None:
            super().__init__(live, frames)
            self.info, self._scale = VideoInfo(64 * scale, 96 * scale, 50, live=True), scale

        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                image = np.zeros((96, 64, 3), np.uint8)
                image[20:52, 24:40] = 255
                yield Frame(frame.index, frame.time, image.repeat(self._scale, 0).repeat(self._scale, 1), frame.arrived)

    live = Live(Sees(), LiveSettings(BOXES, mode=mode, pause=0.01))
    cameras, kept = iter([Standing(8), Standing(8, scale=2), Standing(10**6)]), Kept()
    source = live.add("door", lambda: next(cameras), records=[kept])
    until(lambda: source.state.reconnects == 2 and source.state.frames > 24)
    live.close()
    opened = [(each.frame.opened, number) for each in kept.frames for number in each.numbers.tolist()]
    assert set(opened) == {(0, 1), (1, 2), (2, 3)}
