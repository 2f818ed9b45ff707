"""Two runs of `annotate` or `stream` that write one file: each is whole, or the second one is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn_client.video.ffmpeg import FFmpegReader, FFmpegWriter
from parsing_rcnn_client.video.media import VideoInfo
from parsing_rcnn_client.video.records import CocoVideo, JsonLines
from tests.client.test_unfinished import another_run
from tests.client.video.test_records import lines_of, tracked


def _lines(path: Path, number: int) -> JsonLines:
    record = JsonLines(path)
    record.add(tracked(number))
    return record


def _coco(path: Path, number: int) -> CocoVideo:
    record = CocoVideo(path, str(number), VideoInfo(40, 32, 10))
    record.add(tracked(number, [[2, 4, 12, 30]], [7]))
    return record


@pytest.mark.parametrize("record", [_lines, _coco])
def test_records_of_two_runs_are_not_mixed(
    tmp_path: Path, record: Callable[[Path, int], JsonLines | CocoVideo]
) -> None:
    path = tmp_path / "walk.json"
    first, second, third = (record(path, number) for number in (1, 2, 3))
    third.abort()
    second.close()
    of_second = path.read_bytes()
    first.close()
    of_first = path.read_bytes()
    documents = [json.loads(text) for text in (of_first, of_second)]
    frames = [one["frame"] if record is _lines else one["images"][0]["frame_id"] for one in documents]
    assert frames == [1, 2]
    assert [each.name for each in tmp_path.iterdir()] == ["walk.json"]


def test_lines_of_two_streams_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "live.jsonl"
    first = JsonLines(path, live=True)
    first.add(tracked(0))
    with pytest.raises(InvalidOptions, match=r"live\.jsonl: another run writes this file"):
        JsonLines(path, live=True)
    with pytest.raises(InvalidOptions, match=r"live\.jsonl: another run writes this file"):
        JsonLines(path)
    first.add(tracked(1))
    first.close()
    assert [line["frame"] for line in lines_of(path)] == [0, 1]
    JsonLines(path, live=True).close()
    assert lines_of(path) == []


def test_two_videos_of_one_name_are_whole_each(walk_video: Path, tmp_path: Path) -> None:
    reader = FFmpegReader(str(walk_video))
    frames = [frame.image for frame in reader]
    writers = [FFmpegWriter(str(tmp_path / "out.mp4"), reader.info) for _ in range(3)]
    for index, frame in enumerate(frames):
        for number, writer in enumerate(writers):
            if index < 8 * (number + 1):
                writer.write(frame, index * 0.08)
    counts = []
    for writer in writers:
        writer.close()
        counts.append(len(list(FFmpegReader(str(tmp_path / "out.mp4")))))
    assert counts == [8, 16, 24]
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_the_second_of_two_streams_is_refused_at_the_start(walk_video: Path, tmp_path: Path) -> None:
    path = tmp_path / "live.jsonl"
    command = [sys.executable, "-m", "parsing_rcnn", "stream", str(walk_video), "--jsonl", str(path), "--threads", "1"]
    with another_run("growing", path):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, path.read_bytes()) == (2, b"theirs")
    assert f"error: {path}: another run writes this file: wait for its end, or name another file" in done.stderr
    assert "Traceback" not in done.stderr
