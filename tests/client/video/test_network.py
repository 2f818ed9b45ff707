"""Live video over the network and on a screen, by real servers: RTSP in, RTSP and RTMP out, a window of ffplay."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Timer

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.analyzer import ModelInfo, Options
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client.video import ffmpeg as writing
from parsing_rcnn_client.video import live as live_video
from parsing_rcnn_client.video.ffmpeg import FFmpegReader
from parsing_rcnn_client.video.layers import Look
from parsing_rcnn_client.video.live import Live, LiveSettings
from parsing_rcnn_client.video.media import Frame, SinkClosed, VideoError, VideoInfo
from parsing_rcnn_client.video.sinks import FileSink, LastingSink, WindowSink

REMEDY = "sh scripts/install_rtsp.sh"
GSTREAMER = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


class Screen:
    def __init__(self) -> None:
        self.shown: list[NDArray[np.uint8]] = []

    def show(self, image: NDArray[np.uint8], seconds: float) -> None:
        self.shown.append(image)

    def close(self) -> None:
        pass


class Noise:
    """A picture of noise again and again, which soon fills every buffer."""

    info = VideoInfo(640, 480, 25.0)

    def __init__(self) -> None:
        self._closed = Event()

    def __iter__(self) -> Iterator[Frame]:
        image = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
        for index in range(10**6):
            if self._closed.wait(0.02):
                return
            yield Frame(index, index / 25, image, time.monotonic())

    def close(self) -> None:
        self._closed.set()


class Nobody:
    """An engine that sees nobody, so that the outputs alone are slow."""

    info: ModelInfo

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        return People.empty((480, 640))

    def close(self) -> None:
        pass


def until(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes a stream may be as slow as the machine."""
    monkeypatch.setattr(writing, "_PATIENCE", 90.0)
    monkeypatch.setattr(writing, "_GOODBYE", 90.0)


def end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(60)


@pytest.fixture
def camera(
    walk_video: Path, tmp_path: Path, ffmpeg: Callable[..., str], kept_port: int
) -> Iterator[tuple[str, Callable[[], None]]]:
    """(address, a function that pulls the plug and puts it in again after a second) of an RTSP camera."""
    python = "/usr/bin/python3"
    there = Path(python).exists() and subprocess.run([python, "-c", GSTREAMER], capture_output=True, check=False)
    if not there or there.returncode:
        pytest.skip(f"needs GStreamer's RTSP server: {REMEDY}")
    long = tmp_path / "long.mkv"
    ffmpeg("-stream_loop", 100, "-i", walk_video, "-preset", "ultrafast", "-g", 6, "-bf", 0, long)
    command = [python, str(Path(__file__).with_name("rtsp_server.py")), str(kept_port), str(long)]
    servers: list[subprocess.Popen[str]] = []

    def start() -> None:
        servers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert servers[-1].stdout is not None
        assert servers[-1].stdout.readline() == "ready\n"

    def unplug() -> None:
        end(servers[-1])
        time.sleep(1)
        start()

    try:
        start()
        yield f"rtsp://127.0.0.1:{kept_port}/video", unplug
    finally:
        end(servers[-1])


def test_an_rtsp_camera_is_annotated_and_comes_back_after_it_was_unplugged(
    camera: tuple[str, Callable[[], None]], pipeline: Pipeline, walk: list[NDArray[np.uint8]]
) -> None:
    address, unplug = camera
    screen = Screen()
    live = Live(pipeline, LiveSettings(pause=0.2))
    source = live.add("camera", lambda: FFmpegReader(address), lambda reader: screen)
    until(lambda: len(screen.shown) >= 3)
    assert min(np.abs(screen.shown[-1].astype(int) - frame).mean() for frame in walk) > 3  # something is drawn
    unplug()
    until(lambda: source.state.reconnects >= 1 and source.state.connected)
    before = len(screen.shown)
    until(lambda: len(screen.shown) >= before + 3)
    live.close()
    assert source.state.problem is None
    assert source.state.failed == 0


def test_an_rtsp_address_where_nobody_is_says_so_without_its_password(kept_port: int) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: sh scripts/install_ffmpeg.sh")
    with pytest.raises(VideoError, match=r"//\*\*\*@127.0.0.1.*Connection refused") as caught:
        FFmpegReader(f"rtsp://me:secret@127.0.0.1:{kept_port}/video")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", ["rtsp", "rtmp"])
def test_a_stream_goes_out(
    kind: str, walk: list[NDArray[np.uint8]], tmp_path: Path, ffmpeg: object, kept_port: int, patient: None
) -> None:
    out = tmp_path / "out.mkv"
    address = f"{kind}://127.0.0.1:{kept_port}/live/walk"
    with _listener(address, out) as server:
        sink = FileSink(address, VideoInfo(320, 240, 25))
        for index in range(50):
            sink.show(walk[index % 24], index / 25)
        sink.close()
        server.wait(60)
    frames = list(FFmpegReader(str(out)))
    assert len(frames) >= 45
    assert np.abs(frames[30].image.astype(int) - walk[(50 - len(frames) + 30) % 24]).mean() < 6
    steps = np.diff([frame.time for frame in frames])
    assert np.median(steps) == pytest.approx(0.04, abs=0.002)


def test_a_stream_that_nobody_takes_says_why_and_one_that_is_cut_goes_on(
    walk: list[NDArray[np.uint8]], tmp_path: Path, ffmpeg: object, kept_port: int, patient: None
) -> None:
    def send(sink: LastingSink | FileSink, done: Callable[[], bool]) -> None:
        index, last = 0, time.monotonic() + 90
        while index < 10 or not done():  # those after the first have waited for ffmpeg's begin
            said.append(sink.show(walk[index % 24], index / 25))
            index += 1
            time.sleep(0.01)
            assert time.monotonic() < last

    said: list[str | None] = []

    def written(path: Path) -> bool:
        return path.exists() and path.stat().st_size > 2000

    address = f"rtmp://me:secret@127.0.0.1:{kept_port}/live/walk"
    with pytest.raises(VideoError, match=r"//\*\*\*@.*Connection refused"):
        send(FileSink(address, VideoInfo(320, 240, 25)), lambda: False)
    with _listener(address, tmp_path / "first.mkv") as first:
        sink = LastingSink(lambda: FileSink(address, VideoInfo(320, 240, 25)), lasted=0.3)
        until_cut = time.monotonic() + 1.5
        send(sink, lambda: time.monotonic() > until_cut and written(tmp_path / "first.mkv"))
        first.kill()  # asked to end it would read on, and nothing more comes
        first.wait(60)
    send(sink, lambda: said[-1] is not None)  # until it is lost
    with _listener(address, tmp_path / "second.mkv") as second:
        send(sink, lambda: written(tmp_path / "second.mkv"))
        sink.close()
        second.wait(60)


@pytest.mark.parametrize("kind", ["rtsp", "rtmp"])
def test_a_server_that_takes_nothing_any_more_is_lost_and_holds_nobody(
    kind: str, tmp_path: Path, ffmpeg: object, monkeypatch: pytest.MonkeyPatch, kept_port: int
) -> None:
    monkeypatch.setattr(writing, "_PATIENCE", 90.0)  # while ffmpeg begins
    monkeypatch.setattr(writing, "_GOODBYE", 1.0)
    info, address = VideoInfo(640, 480, 25), f"{kind}://127.0.0.1:{kept_port}/live/walk"
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)

    def freeze(sink: FileSink | LastingSink, server: subprocess.Popen[str]) -> Iterator[str | None]:
        """What is said of each picture, while a server is stopped as by a debugger."""
        begin = time.monotonic()
        for index in range(3000):
            yield sink.show(noise, index / 25)
            if index >= 10 and time.monotonic() > begin + 1.5:
                monkeypatch.setattr(writing, "_PATIENCE", 1.0)
                server.send_signal(signal.SIGSTOP)

    with _listener(address, tmp_path / "first.mkv") as server:
        sink = LastingSink(lambda: FileSink(address, info), lasted=0.3)
        said = next(filter(None, freeze(sink, server)))
        assert said == f"{address}: ffmpeg cannot write it (nothing was taken there for 1 s)"
    sink.close()


def test_closing_does_not_wait_for_a_window_that_is_stopped(ffmpeg: object, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("ffplay") is None:
        pytest.skip(f"needs ffplay: {REMEDY}")
    monkeypatch.setenv("DISPLAY", os.environ.get("DISPLAY", ":0"))
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr(live_video, "_WRITING", 0.5)
    opened: list[WindowSink] = []

    def open_sink(reader: Noise) -> WindowSink:
        opened.append(WindowSink("noise", reader.info))
        return opened[-1]

    live = Live(Nobody(), LiveSettings(Look(layers=("boxes",))))
    source = live.add("noise", Noise, open_sink, endless=False)  # type: ignore[arg-type]
    until(lambda: source.state.shown > 3)
    opened[0]._process.send_signal(signal.SIGSTOP)
    until_held(source)
    begin = time.monotonic()
    live.close(within=0.5)
    assert time.monotonic() - begin < 20
    assert opened[0]._process.poll() is not None


def test_a_file_whose_ffmpeg_was_held_up_is_whole(
    tmp_path: Path, ffmpeg: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a disk that sleeps; what is on its way when the work is closed is lost."""
    monkeypatch.setattr(live_video, "_WRITING", 0.5)
    monkeypatch.setattr(writing, "_GOODBYE", 60.0)  # for the two seconds
    opened: list[FileSink] = []

    def open_sink(reader: Noise) -> FileSink:
        opened.append(FileSink(str(tmp_path / "out.mp4"), reader.info))
        return opened[-1]

    live = Live(Nobody(), LiveSettings(Look(layers=("boxes",))))
    source = live.add("noise", Noise, open_sink, endless=False)  # type: ignore[arg-type]
    until(lambda: source.state.shown > 40)
    process = opened[0]._writer._process
    process.send_signal(signal.SIGSTOP)
    until_held(source)
    Timer(2, process.send_signal, (signal.SIGCONT,)).start()
    live.close(within=0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    # whatever lay in ffmpeg's own queues is in it, too, or not: a picture at most
    assert abs(len(list(FFmpegReader(str(tmp_path / "out.mp4")))) - source.state.shown) <= 1


def until_held(source: live_video.Source) -> None:
    """Until the output takes no more: fifty newer pictures came, and none was shown."""
    shown = dropped = -1
    while source.state.shown != shown or source.state.dropped < dropped + 50:
        if source.state.shown != shown:
            shown, dropped = source.state.shown, source.state.dropped
        time.sleep(0.02)


@contextmanager
def _listener(address: str, out: Path) -> Iterator[subprocess.Popen[str]]:
    """ffmpeg as the server that a stream is sent to."""
    listen = ["-rtsp_flags", "listen"] if address.startswith("rtsp") else ["-listen", "1"]
    address = address.replace("me:secret@", "")
    command = ["ffmpeg", "-v", "error", "-y", *listen, "-i", address, "-c", "copy", "-flush_packets", "1", str(out)]
    port = int(address.rpartition(":")[2].partition("/")[0])
    with subprocess.Popen(command, text=True) as process:
        try:
            # to ask whether it listens would be taken for the stream, so the kernel's table is read
            until(lambda: f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text())
            yield process
        finally:
            process.kill()


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An X server without a monitor."""
    if not all(map(shutil.which, ("Xvfb", "xdotool", "ffplay"))):
        pytest.skip(f"needs ffplay, Xvfb and xdotool: {REMEDY}")
    number, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "640x480x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL, text=True)
    display = f":{os.read(number, 16).decode().strip()}"
    monkeypatch.setenv("DISPLAY", display)
    try:
        yield display
    finally:
        end(server)


def test_a_window_shows_the_pictures_and_may_be_closed(screen: str, tmp_path: Path, ffmpeg: Callable[..., str]) -> None:
    image = np.full((240, 320, 3), (200, 60, 20), np.uint8)
    sink = WindowSink("walk", VideoInfo(320, 240, 25))
    shot = tmp_path / "shot.png"

    def visible() -> bool:
        sink.show(image, 0)
        ffmpeg("-f", "x11grab", "-video_size", "640x480", "-i", screen, "-frames:v", 1, shot)
        picture = cv2.imread(str(shot))
        assert picture is not None
        return bool((np.abs(picture[:, :, ::-1].astype(int) - (200, 60, 20)).max(axis=2) < 12).sum() > 0.9 * 320 * 240)

    until(visible)
    subprocess.run(
        ["xdotool", "search", "--sync", "--name", "^walk$", "windowfocus", "key", "q"], check=True, timeout=90
    )
    with pytest.raises(SinkClosed):
        until(lambda: bool(sink.show(image, 0)))
    sink.close()
    sink.close()


def test_a_window_without_a_screen_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(InvalidOptions, match=r"no screen here.*mjpeg:8090"):
        WindowSink("walk", VideoInfo(320, 240, 25))
