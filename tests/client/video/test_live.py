"""Live sources: newest frame first, sources that vanish, engines that are slow, many sources on one engine."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from itertools import count, pairwise
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.analyzer import ModelInfo, Options
from parsing_rcnn.errors import EngineUnavailable, InvalidOptions
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client import Gateway
from parsing_rcnn_client.video import live as live_video
from parsing_rcnn_client.video import sinks
from parsing_rcnn_client.video.backoff import Backoff
from parsing_rcnn_client.video.ffmpeg import FFmpegReader
from parsing_rcnn_client.video.layers import Look
from parsing_rcnn_client.video.live import Live, LiveSettings, Source
from parsing_rcnn_client.video.mailbox import Mailbox
from parsing_rcnn_client.video.media import Frame, SinkClosed, VideoError, VideoInfo
from parsing_rcnn_client.video.sinks import LastingSink, MjpegPage

BOXES = Look(layers=("boxes",))


class Camera:
    """Numbered pictures at a rate, until closed; a real camera cannot be made to fail on demand."""

    def __init__(
        self, fps: float = 100, frames: int = 10**6, fails: bool = False, colour: int = 0, scale: int = 1
    ) -> None:
        self.info = VideoInfo(64 * scale, 48 * scale, fps, live=True)
        self._fps, self._frames, self._fails, self._closed = fps, frames, fails, threading.Event()
        self._colour, self._scale = colour, scale

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._frames):
            if self._closed.wait(1 / self._fps):
                return
            image = np.full((48 * self._scale, 64 * self._scale, 3), index % 256, np.uint8)
            image[:, :, 1] = self._colour
            yield Frame(index, index / self._fps, image, time.monotonic())
        if self._fails:
            raise VideoError("the cable was pulled")

    def close(self) -> None:
        self._closed.set()


class Stepped(Camera):
    """Gives its first picture at once, and one more for each `step`; by its clock they lie a hundredth of a second
    apart, however fast the machine is."""

    def __init__(self) -> None:
        super().__init__(fps=100)
        self.now = 0.0
        self._asked, self._given = threading.Semaphore(0), threading.Semaphore(0)

    def __iter__(self) -> Iterator[Frame]:
        for index in count():
            if index:
                while not self._asked.acquire(timeout=0.05):
                    if self._closed.is_set():
                        return
                self.now += 1 / self._fps
            yield Frame(index, self.now, np.full((48, 64, 3), index, np.uint8), self.now)
            if index:
                self._given.release()

    def step(self) -> None:
        """Have one more picture delivered."""
        self._asked.release()
        assert self._given.acquire(timeout=60)


class Screen:
    def __init__(self) -> None:
        self.shown: list[tuple[int, float]] = []
        self.closed = False

    def show(self, image: NDArray[np.uint8], seconds: float) -> str | None:
        self.shown.append((int(image[40, 60, 0]), seconds))
        return None

    def close(self) -> None:
        self.closed = True


class Engine:
    """The real pipeline made slow, or absent for a while: faults that it does not show by itself."""

    info: ModelInfo

    def __init__(self, pipeline: Pipeline | None, delay: float = 0.0, failures: int = 0) -> None:
        self._pipeline, self._delay, self.failures = pipeline, delay, failures
        self.asked, self.away = 0, False

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        self.asked += 1
        time.sleep(self._delay)
        if self.failures or self.away:
            self.failures -= not self.away
            raise EngineUnavailable("the server is away")
        if self._pipeline is None:
            return People.empty((image.shape[0], image.shape[1]))  # type: ignore[union-attr]
        return self._pipeline.analyze(image, options)

    def close(self) -> None:
        pass


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def start(live: Live, cameras: Iterator[Camera], screen: Screen) -> Source:
    return live.add("camera", lambda: next(cameras), lambda reader: screen)


def test_a_mailbox_keeps_the_newest_and_counts_the_rest() -> None:
    box = Mailbox()
    frames = [Frame(i, i / 30, np.zeros((1, 1, 3), np.uint8)) for i in range(4)]
    assert box.get(0.01) is None
    for frame in frames:
        box.put(frame)
    assert (box.get(0.01), box.dropped) == (frames[3], 3)
    assert box.get(0.01) is None


class Slow(Engine):
    """Takes as long as a camera needs for eight pictures, twelve times; then nothing comes any more."""

    def __init__(self, camera: Stepped) -> None:
        super().__init__(None)
        self._camera = camera
        self.live: Live | None = None
        self.lags: list[float] = []

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        until(lambda: self.live is not None and bool(self.live.sources))
        assert self.live is not None
        if self.asked < 12:
            self.lags.append(self.live.sources[0].state.lag)
            for _ in range(8):
                self._camera.step()
        return super().analyze(image, options)


def test_a_slow_engine_drops_frames_and_delays_none_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    camera, screen = Stepped(), Screen()
    monkeypatch.setattr(live_video, "time", SimpleNamespace(monotonic=lambda: camera.now, time=time.time))
    engine = Slow(camera)
    engine.live = live = Live(engine, LiveSettings(BOXES))
    source = start(live, iter([camera]), screen)
    until(lambda: source.state.shown >= 13)  # with the last one that waited
    live.close()
    state = source.state
    assert (state.frames, state.dropped, state.shown) == (1 + 12 * 8, 12 * 7, 13)
    assert screen.closed
    numbers = [number for number, _ in screen.shown]
    assert numbers == sorted(numbers)
    # the age of what is shown stays that of one analysis, however long it runs: no queue grows
    assert engine.lags[1:] == pytest.approx([0.08] * 11)


def test_low_latency_shows_frames_while_the_engine_works() -> None:
    over = threading.Event()

    class Awaiting(Engine):
        """Answers when eight pictures have been shown meanwhile."""

        def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
            before = len(screen.shown)
            until(lambda: len(screen.shown) >= before + 8 or over.is_set())
            return super().analyze(image, options)

    engine, screen = Awaiting(None), Screen()
    live = Live(engine, LiveSettings(BOXES, mode="low-latency"))
    source = start(live, iter([Camera(fps=50)]), screen)
    until(lambda: engine.asked >= 5)
    over.set()
    live.close()
    assert source.state.shown > 2 * engine.asked


def test_a_lost_source_is_opened_again() -> None:
    cameras = iter([Camera(frames=5, fails=True), Camera(frames=5), Camera()])
    live, screen, lost = Live(Engine(None), LiveSettings(BOXES, pause=0.02)), Screen(), []

    def open_reader() -> Camera:
        until(lambda: bool(live.sources))  # the source begins before `add` returns
        lost.append((live.sources[0].state.connected, live.sources[0].state.problem))
        return next(cameras)

    source = live.add("camera", open_reader, lambda reader: screen)
    until(lambda: source.state.reconnects == 2 and source.state.frames >= 15 and source.state.connected)
    assert source.state.problem is None
    until(lambda: source.state.shown >= 8)
    live.close()
    assert lost == [(False, None), (False, "the cable was pulled"), (False, "the source ended")]
    seconds = [at for _, at in screen.shown]
    assert all(a < b for a, b in pairwise(seconds))  # one clock, whatever the cameras' ones say


def test_a_source_that_delivers_every_time_is_not_waited_for_longer_and_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    class Told(Backoff):
        def next(self) -> float:
            pauses.append(super().next())
            return pauses[-1]

    monkeypatch.setattr(live_video, "Backoff", Told)
    live = Live(Engine(None), LiveSettings(BOXES, pause=0.05))
    source = start(live, (Camera(frames=1) for _ in range(10**6)), Screen())
    until(lambda: source.state.reconnects >= 10)
    live.close()
    assert max(pauses) <= 0.05 * 1.5  # with its jitter: none is twice as long as the one before


def test_without_reconnecting_the_loss_is_the_end_and_is_told() -> None:
    live = Live(Engine(None), LiveSettings(BOXES, reconnect=False))
    start(live, iter([Camera(frames=3, fails=True)]), Screen())
    until(lambda: not live.running)
    with pytest.raises(VideoError, match="the cable was pulled"):
        live.close()


def test_an_engine_that_goes_and_comes_back() -> None:
    said: list[str | None] = []

    class Console(Screen):
        def show(self, image: NDArray[np.uint8], seconds: float) -> None:
            super().show(image, seconds)
            until(lambda: bool(live.sources))  # the source begins before `add` returns
            said.append(live.sources[0].state.engine_problem)

    live = Live(Engine(None, failures=3), LiveSettings(BOXES))
    source = start(live, iter([Camera()]), Console())
    until(lambda: source.state.analysed >= 3)
    live.close()
    assert said[0] == "the server is away"
    assert said[-1] is None
    assert source.state.failed == 3
    assert source.state.shown >= 6  # frames go on, only without people


class Faces(Camera):
    """Pictures with something to recognise."""

    def __iter__(self) -> Iterator[Frame]:
        noise = np.random.default_rng(1).integers(0, 256, (48, 64, 3)).astype(np.uint8)
        for frame in super().__iter__():
            yield replace(frame, image=noise)


class Film:
    """Keeps what is shown."""

    def __init__(self) -> None:
        self.shown: list[NDArray[np.uint8]] = []

    def show(self, image: NDArray[np.uint8], seconds: float) -> None:
        self.shown.append(image)

    def close(self) -> None:
        pass


def told(image: NDArray[np.uint8]) -> bool:
    """Whether anything can be recognised in a picture of `Faces`: neighbouring pixels differ."""
    return bool(np.abs(np.diff(image.astype(int), axis=1)).mean() > 20)


@pytest.mark.parametrize("mode", ["align", "low-latency"])
@pytest.mark.parametrize("style", ["pixelate", "blur"])
def test_what_no_answer_covers_is_hidden_whole(mode: str, style: str) -> None:
    engine, film = Engine(None, delay=0.05), Film()
    engine.away = True
    look = Look(layers=("anonymise", "boxes"), style=style)
    live = Live(engine, LiveSettings(look, mode=mode))
    source = live.add("camera", lambda: Faces(fps=50), lambda reader: film)
    until(lambda: source.state.failed >= 3)
    before = list(film.shown)
    assert len(before) >= 2
    assert not any(told(image) for image in before)
    engine.away = False
    until(lambda: source.state.analysed >= 3)  # nobody is there, and that is known now
    until(lambda: told(film.shown[-1]))
    failed, engine.away = source.state.failed, True
    until(lambda: source.state.failed > failed + 1)  # no answer is on its way any more
    until(lambda: not told(film.shown[-1]))
    at = len(film.shown)
    until(lambda: len(film.shown) > at + 5)
    live.close()
    assert not any(told(image) for image in film.shown[at:])


def test_anonymise_asks_for_people_whom_no_other_layer_wants() -> None:
    class Faint(Engine):
        """Hardly sees somebody in the left half of the picture: no photo has such a score for certain."""

        def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
            boxes, scores = np.array([[0, 0, 32, 48]], np.float32), np.array([0.15], np.float32)
            return People(boxes, scores, (48, 64)).select(scores >= options.confidence)

    for layers, hidden in ((("anonymise",), True), (("boxes",), False)):
        film = Film()
        live = Live(Faint(None), LiveSettings(Look(layers=layers, hide="people")))
        source = live.add("camera", lambda: Faces(fps=50), lambda reader, film=film: film)  # type: ignore[misc]
        until(lambda: source.state.shown >= 3)  # noqa: B023
        live.close()
        assert [told(image[4:-4, 4:28]) for image in film.shown[:3]] == [not hidden] * 3
        assert all(told(image[:, 36:]) for image in film.shown[:3])


def test_without_the_layer_that_hides_pictures_are_shown_as_they_are() -> None:
    film = Film()
    live = Live(Engine(None, failures=10**6), LiveSettings(BOXES))
    live.add("camera", lambda: Faces(fps=50), lambda reader: film)
    until(lambda: len(film.shown) >= 3)
    live.close()
    assert all(told(image) for image in film.shown)


def test_a_gateway_that_dies_and_returns(pipeline: Pipeline, serve_app: Any, kept_port: int) -> None:
    from server.app import create_app
    from server.settings import Settings

    app = lambda: create_app(Settings(), lambda: pipeline)  # noqa: E731
    with ExitStack() as stack:
        url = stack.enter_context(serve_app(app(), kept_port))
        engine = Gateway(url, timeout=60, retry=False, jpeg_quality=95)  # a frame that is tried again holds up others
        live = Live(engine, LiveSettings(BOXES))
        source = start(live, iter([Camera(fps=30, scale=5)]), Screen())
        until(lambda: source.state.analysed >= 2, 120)
        stack.close()
        until(lambda: "no answer" in (source.state.engine_problem or ""))
        before, shown = source.state.analysed, source.state.shown
        stack.enter_context(serve_app(app(), kept_port))
        until(lambda: source.state.analysed >= before + 2, 120)
        live.close()
    assert source.state.shown > shown
    assert source.state.engine_problem is None


def test_four_sources_of_different_speed_get_as_much_of_the_engine() -> None:
    served: list[int] = []
    waiting: dict[int, int] = {}  # source -> answers to others since it asked
    passed: list[int] = []

    class Sought(Engine):
        """Answers while all four ask, as one that is slower than every source."""

        def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
            until(lambda: len(waiting) == 4 or len(served) >= 32)
            return super().analyze(image, options)

    live = Live(Sought(None), LiveSettings(BOXES))
    ask = live.ask

    def counting(frame: Frame) -> Future[People]:
        number = int(frame.image[0, 0, 1])
        waiting[number] = 0

        def answered(_: object) -> None:
            passed.append(waiting.pop(number))
            for other in list(waiting):
                waiting[other] += 1
            served.append(number)

        future = ask(frame)
        future.add_done_callback(answered)
        return future

    live.ask = counting  # type: ignore[method-assign]
    for number, fps in enumerate((500, 250, 100, 50)):
        start(live, iter([Camera(fps=fps, colour=number)]), Screen())
    until(lambda: len(served) >= 32)
    live.close()
    counts = [served[:32].count(number) for number in range(4)]
    assert max(counts) - min(counts) <= 2, counts
    assert max(passed[:32]) <= 4  # each other source at most once before it, and the one that was being answered


def test_closing_the_window_ends_the_work_and_is_no_error() -> None:
    class Closed(Screen):
        def show(self, image: NDArray[np.uint8], seconds: float) -> None:
            raise SinkClosed

    live = Live(Engine(None), LiveSettings(BOXES))
    source = start(live, iter([Camera()]), Closed())
    until(lambda: not live.running)
    live.close()
    assert source.state.reconnects == 0  # the camera was well


@pytest.mark.parametrize("mode", ["align", "low-latency"])
def test_what_is_closed_in_a_hurry_stays_as_it_is_when_the_engine_answers(mode: str) -> None:
    answers, answered = threading.Event(), threading.Semaphore(0)

    class Hanging(Engine):
        def analyze(self, *arguments: Any, **options: Any) -> People:
            self.asked += 1
            answers.wait(60)
            answered.release()
            return People.empty((48, 64))

    engine, screens = Hanging(None), [Screen(), Screen()]
    live = Live(engine, LiveSettings(BOXES, mode=mode))  # type: ignore[arg-type]
    sources = [start(live, iter([Camera()]), screen) for screen in screens]
    try:
        until(lambda: engine.asked == 1 and all(source.state.frames > 1 for source in sources))
        live.close(within=0.5)
        before = [(len(screen.shown), source.state.problem) for screen, source in zip(screens, sources, strict=True)]
        assert all(screen.closed for screen in screens)
        assert live.running
    finally:
        answers.set()
    until(lambda: not live.running)
    assert answered.acquire(timeout=20)
    assert not answered.acquire(timeout=0.2)
    assert [
        (len(screen.shown), source.state.problem) for screen, source in zip(screens, sources, strict=True)
    ] == before


def test_a_source_that_never_gave_a_picture_is_an_error() -> None:
    live = Live(Engine(None), LiveSettings(BOXES, pause=0.01))
    source = start(live, (Camera(frames=0, fails=True) for _ in range(1000)), Screen())
    until(lambda: source.state.reconnects >= 2)
    with pytest.raises(VideoError, match="the cable was pulled"):
        live.close()


def test_an_output_that_cannot_be_opened_is_the_end_and_not_lost() -> None:
    for error in (VideoError("no such folder"), OSError("disk full")):

        def open_sink(reader: Any, error: Exception = error) -> Screen:
            raise error

        live = Live(Engine(None), LiveSettings(BOXES, pause=0.01))
        source = live.add("camera", Camera, open_sink)
        until(lambda: not live.running)  # noqa: B023
        assert source.state.problem == str(error)
        with pytest.raises(type(error), match=str(error)):
            live.close()
        assert source.state.reconnects == 0


def test_an_output_that_fails_is_the_problem_of_its_source() -> None:
    class Full(Screen):
        def show(self, image: NDArray[np.uint8], seconds: float) -> None:
            super().show(image, seconds)
            if len(self.shown) > 3:
                raise VideoError("the disk is full")

    live = Live(Engine(None), LiveSettings(BOXES))
    source = start(live, iter([Camera()]), Full())
    until(lambda: not live.running)
    with pytest.raises(VideoError, match="the disk is full"):
        live.close()
    assert source.state.problem == "the disk is full"


def test_whatever_happens_to_one_source_the_others_are_finished() -> None:
    class Strange(Camera):
        def __iter__(self) -> Iterator[Frame]:
            raise RuntimeError("nobody thought of this")

    live, screen = Live(Engine(None), LiveSettings(BOXES)), Screen()
    strange = live.add("strange", Strange, lambda reader: Screen())
    start(live, iter([Camera()]), screen)
    until(lambda: not strange.running and len(screen.shown) > 2)
    with pytest.raises(RuntimeError, match="nobody thought of this"):
        live.close()
    assert screen.closed


def test_what_failed_first_is_said_and_not_what_the_output_says_of_it() -> None:
    class Refusing(Engine):
        def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
            raise InvalidOptions("this engine has no such task")

    class Unfinished(Screen):
        def close(self) -> None:
            raise VideoError("ffmpeg got no picture")

    live = Live(Refusing(None), LiveSettings(BOXES))
    start(live, iter([Camera()]), Unfinished())
    until(lambda: not live.running)
    with pytest.raises(InvalidOptions, match="no such task"):
        live.close()
    healthy = Live(Engine(None), LiveSettings(BOXES))
    source = start(healthy, iter([Camera()]), Unfinished())
    until(lambda: source.state.shown > 2)
    with pytest.raises(VideoError, match="got no picture"):
        healthy.close()
    assert source.state.problem == "ffmpeg got no picture"


def test_a_source_that_comes_back_in_another_size_goes_on_in_the_first() -> None:
    class Sizes(Screen):
        def show(self, image: NDArray[np.uint8], seconds: float) -> None:
            super().show(image, seconds)
            assert image.shape == (48, 64, 3)

    live = Live(Engine(None), LiveSettings(BOXES, pause=0.01))
    screen = Sizes()
    source = start(live, iter([Camera(frames=3), Camera(scale=2)]), screen)
    until(lambda: source.state.reconnects == 1 and source.state.shown >= 5)
    live.close()


def test_an_output_that_goes_away_is_sent_to_again_and_a_wrong_one_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Screen] = []
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(sinks, "time", SimpleNamespace(monotonic=lambda: clock.now))

    class Fragile(Screen):
        def show(self, image: NDArray[np.uint8], seconds: float) -> None:
            super().show(image, seconds)
            if len(self.shown) > 3:
                raise VideoError("connection reset")

    def open_sink() -> Screen:
        opened.append(Fragile())
        return opened[-1]

    image = np.zeros((48, 64, 3), np.uint8)
    sink = LastingSink(open_sink, lasted=-1)
    said = []
    while len(opened) < 2:
        said.append(sink.show(image, 0))
        clock.now += 0.01
        assert clock.now < 20
    assert said[:3] == [None] * 3
    assert said[-1] is None  # it is there again
    assert len(said) > 5
    assert set(said[3:-1]) == {"connection reset"}
    sink.close()
    assert opened[-1].closed
    wrong = LastingSink(open_sink)
    for _ in range(3):
        wrong.show(image, 0)
    with pytest.raises(VideoError, match="connection reset"):
        wrong.show(image, 0)


def test_what_an_output_loses_is_counted_and_not_shown() -> None:
    class Away(Screen):
        """Takes no picture from the third on, until it is `back`."""

        def __init__(self) -> None:
            super().__init__()
            self.back, self.refused = threading.Event(), 0

        def show(self, image: NDArray[np.uint8], seconds: float) -> str | None:
            super().show(image, seconds)
            if len(self.shown) < 3 or self.back.is_set():
                return None
            self.refused += 1
            return "connection reset"

    live, screen = Live(Engine(None), LiveSettings(BOXES, pause=0.01)), Away()
    source = start(live, iter([Camera()]), screen)
    until(lambda: source.state.output_problem == "connection reset" and source.state.lost >= 17)
    screen.back.set()
    until(lambda: source.state.output_problem is None and source.state.shown > 5)
    live.close()
    assert source.state.lost == screen.refused
    assert source.state.lost + source.state.shown == source.state.analysed


def test_the_page_shows_real_people_to_any_browser(pipeline: Pipeline, walk: list[NDArray[np.uint8]]) -> None:
    class Portrait(Camera):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                yield Frame(frame.index, frame.time, walk[frame.index % 24], frame.arrived)

    page = MjpegPage(0)
    live = Live(pipeline, LiveSettings())
    place = page.sink("portrait")
    source = live.add("portrait", lambda: Portrait(fps=30, scale=5), lambda reader: place)
    with urlopen(page.url, timeout=30) as answer:
        assert b"/0.mjpg" in answer.read()
    with urlopen(f"{page.url}/0.mjpg", timeout=30) as stream:
        pictures = []
        for _ in range(2):
            assert stream.readline() == b"--frame\r\n"
            assert stream.readline() == b"Content-Type: image/jpeg\r\n"
            length = int(stream.readline().split()[1])
            stream.readline()
            pictures.append(cv2.imdecode(np.frombuffer(stream.read(length), np.uint8), cv2.IMREAD_COLOR))
            stream.readline()
    assert pictures[0].shape == (240, 320, 3)
    portrait = [w.astype(int) for w in walk]
    assert min(np.abs(pictures[1][..., ::-1] - w).mean() for w in portrait) > 3  # something is drawn
    assert source.state.analysed >= 2
    live.close()
    page.close()


def test_a_page_is_a_source_for_another_one(walk: list[NDArray[np.uint8]]) -> None:
    """HTTP MJPEG, as cameras speak it, read back by the real ffmpeg."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: sh scripts/install_ffmpeg.sh")
    page, stop = MjpegPage(0, quality=95), threading.Event()
    place = page.sink("walk")

    def feed() -> None:
        index = 0
        while not stop.wait(0.03):
            place.show(walk[index % 24], index / 30)
            index += 1

    thread = threading.Thread(target=feed)
    thread.start()
    reader = FFmpegReader(f"{page.url}/0.mjpg", live=True)
    try:
        frames = [frame for frame, _ in zip(reader, range(5), strict=False)]
    finally:
        reader.close()
        stop.set()
        thread.join()
        place.close()
        page.close()
    assert (reader.info.width, reader.info.height) == (320, 240)
    assert min(np.abs(frames[3].image.astype(int) - w).mean() for w in walk) < 3
    assert [f.time for f in frames] == sorted({f.time for f in frames})
