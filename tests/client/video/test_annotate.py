"""Whole videos through the real engine."""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from parsing_rcnn.analyzer import Options
from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn.people import People
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn_client import Gateway
from parsing_rcnn_client.signals import signals_interrupt
from parsing_rcnn_client.video.annotate import Settings, annotate
from parsing_rcnn_client.video.ffmpeg import FFmpegReader, FFmpegWriter
from parsing_rcnn_client.video.follow import Tracked
from parsing_rcnn_client.video.layers import Look
from parsing_rcnn_client.video.media import Frame, VideoError, VideoInfo
from parsing_rcnn_client.video.records import CocoVideo, JsonLines
from tests.client.video.conftest import FLAT


class Seen:
    """Keeps what comes out."""

    def __init__(self) -> None:
        self.frames: list[Tracked] = []

    def add(self, tracked: Tracked) -> None:
        self.frames.append(tracked)

    def close(self) -> None:
        pass


def follows(frames: list[Tracked], tolerance: float) -> None:
    """The portrait slides by 4 pixels a frame, so the centre of its box does."""
    assert [f.frame.index for f in frames] == list(range(24))
    best = [f.people.boxes[0] for f in frames]
    centres = np.array([(b[0] + b[2]) / 2 for b in best])
    ideal = np.arange(24) * 4.0
    assert np.abs(centres - ideal - np.median(centres - ideal)).max() < tolerance


def test_every_frame_has_its_own_result_and_the_records_agree(
    walk_video: Path, tmp_path: Path, pipeline: Pipeline, times: Callable[[Path], list[float]]
) -> None:
    out = tmp_path / "out.mp4"
    reader = FFmpegReader(str(walk_video))
    writer, seen = FFmpegWriter(str(out), reader.info), Seen()
    records = [JsonLines(tmp_path / "a.jsonl"), CocoVideo(tmp_path / "a.json", "walk", reader.info), seen]
    summary = annotate(pipeline, reader, writer, Settings(), records=records)
    for finished in (writer, *records):
        finished.close()
    assert summary.frames == 24
    assert set(summary.busy) == {"read", "analyze", "follow", "draw", "write"}
    assert times(out) == times(walk_video)
    follows(seen.frames, 12)
    assert {int(f.numbers[0]) for f in seen.frames} == {1}
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(24))
    assert lines[3]["time"] == pytest.approx(0.24)
    assert lines[3]["people"][0]["track"] == 1
    assert "Hair" in lines[3]["people"][0]["parts"]
    coco = pytest.importorskip("pycocotools.coco").COCO(str(tmp_path / "a.json"))
    assert len(coco.getImgIds()) == 24
    first = coco.loadAnns(coco.getAnnIds(imgIds=[1]))[0]
    assert coco.annToMask(first).sum() == first["area"] == sum(lines[0]["people"][0]["parts"].values())


@pytest.mark.parametrize("where", ["video", "record"])
def test_a_signal_waits_until_every_output_has_the_frame(
    where: str, walk_video: Path, pipeline: Pipeline, handlers: None
) -> None:
    outputs: dict[str, list[float]] = {"video": [], "record": [], "progress": []}

    def take(name: str, moment: float) -> None:
        if name == where and len(outputs[name]) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(2)  # as on a machine that is busy
        outputs[name].append(moment)

    class Output:
        """A writer, or a record."""

        def write(self, image: NDArray[np.uint8], time: float) -> None:
            take("video", time)

        def add(self, tracked: Tracked) -> None:
            take("record", tracked.frame.time)

        def close(self, *, cut: bool = False) -> None: ...

        def abort(self) -> None: ...

    reader, progress = FFmpegReader(str(walk_video)), outputs["progress"].append
    with signals_interrupt(), pytest.raises(KeyboardInterrupt):
        annotate(pipeline, reader, Output(), Settings(), records=[Output()], progress=progress)
    assert outputs["video"] == outputs["record"] == pytest.approx([0, 0.08, 0.16])
    assert outputs["progress"] == [1, 2, 3]


@pytest.mark.parametrize("colour", FLAT)
def test_what_nobody_drew_on_is_no_darker(
    colour: tuple[int, int, int], require_brightness_stays: Callable[..., None], pipeline: Pipeline
) -> None:
    def copy(source: Path, out: Path) -> None:
        reader = FFmpegReader(str(source))
        writer = FFmpegWriter(str(out), reader.info)
        annotate(pipeline, reader, writer, Settings())
        writer.close()

    require_brightness_stays(copy, colour)


def test_records_have_the_boxes_to_show_and_nobody_who_has_left_the_picture(tmp_path: Path) -> None:
    boxes = np.array([[-9, 4, 8, 30], [20, 4, 44, 30], [28, 2, 60, 30]], np.float32)
    people = People(boxes, np.array([0.9, 0.8, 0.7], np.float32), (32, 40), parts=np.ones((3, 8, 8), np.uint8))
    shown = np.array([[0, 4, 8, 30], [20, 4, 40, 30], [40, 2, 40, 30]], np.float32)
    frame = Frame(0, 0.0, np.zeros((32, 40, 3), np.uint8))
    records = [JsonLines(tmp_path / "a.jsonl"), CocoVideo(tmp_path / "a.json", "walk", VideoInfo(40, 32, 25))]
    for record in records:
        record.add(Tracked(frame, people, np.arange(1, 4), shown))
        record.close()
    line = json.loads((tmp_path / "a.jsonl").read_text())
    assert [(one["track"], one["box"]) for one in line["people"]] == [(1, [0, 4, 8, 30]), (2, [20, 4, 40, 30])]
    coco = json.loads((tmp_path / "a.json").read_text())["annotations"]
    assert [(one["track_id"], one["bbox"]) for one in coco] == [(1, [0, 4, 8, 26]), (2, [20, 4, 20, 26])]
    # the maps lie in boxes that reach out of the picture: a third of this one is still 8 pixels wide
    assert coco[0]["area"] == line["people"][0]["parts"]["Hat"] == 8 * 26


def test_a_name_that_is_too_long_for_what_is_not_whole_is_told(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 254)
    with pytest.raises(VideoError, match="File name too long"):
        JsonLines(path)
    with pytest.raises(VideoError, match="File name too long"):  # at the start, before anything is analysed
        CocoVideo(path, "walk", VideoInfo(8, 8, 25))


def test_every_third_frame_analysed_and_the_rest_carried(walk_video: Path, pipeline: Pipeline) -> None:
    seen = Seen()
    annotate(pipeline, FFmpegReader(str(walk_video)), None, Settings(every=3), records=[seen])
    assert [f.analysed for f in seen.frames[:4]] == [True, False, False, True]
    follows(seen.frames, 12)


def test_a_server_that_dies_and_returns_loses_no_frame(
    walk_video: Path, pipeline: Pipeline, serve_app: Any, kept_port: int
) -> None:
    from server.app import create_app
    from server.settings import Settings as ServerSettings

    app = lambda: create_app(ServerSettings(), lambda: pipeline)  # noqa: E731
    stack, seen, killed = ExitStack(), Seen(), threading.Event()
    url = stack.enter_context(serve_app(app(), kept_port))

    def on_frame(done: int) -> None:
        if done == 8:
            killed.set()

    def restart() -> None:
        killed.wait()
        stack.close()
        time.sleep(0.4)
        stack.enter_context(serve_app(app(), kept_port))

    thread = threading.Thread(target=restart)
    thread.start()
    engine = Gateway(url, timeout=60, jpeg_quality=95)
    annotate(engine, FFmpegReader(str(walk_video)), None, Settings(), records=[seen], progress=on_frame)
    thread.join()
    stack.close()
    assert killed.is_set()
    follows(seen.frames, 12)


def test_an_engine_that_fails_ends_the_run_with_its_message(walk_video: Path) -> None:
    class Gone:
        info = None

        def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
            raise EngineUnavailable("the engine is gone")

        def close(self) -> None:
            pass

    with pytest.raises(EngineUnavailable, match="the engine is gone"):
        annotate(Gone(), FFmpegReader(str(walk_video)), None, Settings())  # type: ignore[arg-type]


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    info = VideoInfo(64, 48, 30)
    (tmp_path / "file").write_text("no folder")
    for open_output in (
        JsonLines,
        lambda path: CocoVideo(path, "walk", info),
        lambda path: FFmpegWriter(str(path), info),
    ):
        with pytest.raises(VideoError, match=r"file/x\.mp4: cannot be written"):
            open_output(tmp_path / "file" / "x.mp4")
    lines = JsonLines(tmp_path / "folder")
    (tmp_path / "folder").mkdir()  # meanwhile
    with pytest.raises(VideoError, match=r"folder: cannot be written \(Is a directory\)"):
        lines.close()
    lines.abort()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_memory_stays_flat_over_thousands_of_frames(tmp_path: Path) -> None:
    class Frames:
        info = VideoInfo(64, 48, 30)

        def __iter__(self) -> Iterator[Frame]:
            for index in range(4000):
                yield Frame(index, index / 30, np.full((48, 64, 3), index % 200, np.uint8))

        def close(self) -> None:
            pass

    class OnePerson:
        """Walks to and fro for ever: the network would take minutes and keeps nothing between frames."""

        def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
            left = float(np.asarray(image)[0, 0, 0]) / 10
            box = np.array([[left, 4, left + 30, 44]], np.float32)
            labels = np.full((1, 16, 16), 5, np.uint8)
            return People(box, np.array([0.9], np.float32), (48, 64), parts=labels)

    resident: list[int] = []

    def progress(done: int) -> None:
        if done in (1000, 4000):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            resident.append(pages * resource.getpagesize())

    lines = JsonLines(tmp_path / "long.jsonl")
    summary = annotate(OnePerson(), Frames(), None, Settings(), records=[lines], progress=progress)  # type: ignore[arg-type]
    lines.close()
    assert summary.frames == 4000
    assert resident[1] - resident[0] < 8_000_000


class Pictures:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[NDArray[np.uint8]] = []

    def write(self, image: NDArray[np.uint8], time: float) -> None:
        self.written.append(image.copy())

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


def test_anonymise_asks_for_people_whom_no_other_layer_wants() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)

    class Frames:
        info = VideoInfo(160, 120, 30)

        def __iter__(self) -> Iterator[Frame]:
            for index in range(3):
                yield Frame(index, index / 30, noise.copy())

        def close(self) -> None:
            pass

    class Faint:
        """Hardly sees somebody in the left half of the picture: no photo has such a score for certain."""

        def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
            boxes, scores = np.array([[0, 0, 80, 120]], np.float32), np.array([0.15], np.float32)
            return People(boxes, scores, (120, 160)).select(scores >= options.confidence)

    for layers, hidden in ((("anonymise",), True), (("boxes",), False)):
        out, look = Pictures(), Look(layers=layers, hide="people")
        annotate(Faint(), Frames(), out, Settings(look))  # type: ignore[arg-type]
        changed = np.stack([(image != noise).any(axis=2) for image in out.written])
        assert changed.shape == (3, 120, 160)
        assert (changed[:, 10:-10, 10:70].mean() > 0.9) == hidden
        assert not changed[:, :, 90:].any()


def test_between_a_cut_and_the_next_analysis_anonymise_hides_the_whole_picture() -> None:
    random = np.random.default_rng(0)
    scenes = [random.integers(0, 256, (12, 16, 3)).astype(np.uint8).repeat(10, 0).repeat(10, 1) for _ in range(2)]

    class TwoScenes:
        info = VideoInfo(160, 120, 30)
        damaged = None

        def __iter__(self) -> Iterator[Frame]:
            for index in range(9):
                yield Frame(index, index / 30, scenes[index >= 6].copy())

        def close(self) -> None:
            pass

    class OnePerson:
        def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
            box = np.array([[40, 20, 80, 100]], np.float32)
            return People(box, np.array([0.9], np.float32), (120, 160), parts=np.full((1, 16, 16), 13, np.uint8))

    out, seen = Pictures(), Seen()
    look = Look(layers=("anonymise",))
    annotate(OnePerson(), TwoScenes(), out, Settings(look, every=4), records=[seen])  # type: ignore[arg-type]
    assert [f.numbers.tolist() for f in seen.frames] == [[1]] * 6 + [[]] * 2 + [[2]]
    shares = [float((image != scenes[i >= 6]).any(axis=2).mean()) for i, image in enumerate(out.written)]
    assert max(shares[:6] + shares[8:]) < 0.2  # the head of one person
    assert min(shares[6:8]) > 0.9
