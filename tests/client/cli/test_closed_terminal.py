"""A terminal that is closed ends commands as Ctrl-C does, though nothing can be written to it any more."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parsing_rcnn.pipeline import Pipeline
from tests.client.cli.hanging import Hanging

pty = pytest.importorskip("pty")

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 150.0  # seconds after which what does not come fails a test
BAR = re.compile(rb"[ m][1-9]\d*/\d")  # of a bar that shows that something is done


class Terminal:
    """A command with a terminal at its standard error, and at its standard output where it tells what it did."""

    def __init__(self, *command: str) -> None:
        self._terminal, end = pty.openpty()
        os.set_blocking(self._terminal, False)
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        environment.pop("PYTHONUNBUFFERED", None)  # Python then keeps nothing for its end, and cannot fail there
        self.process = subprocess.Popen(
            [sys.executable, "-m", "parsing_rcnn", *command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=end if "--json" in command else None,
            stderr=end,
            start_new_session=True,
        )
        os.close(end)
        self.shown = b""

    def show_until(self, condition: Callable[[], bool]) -> None:
        """Take what the command writes, which would wait otherwise."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, self.shown
            assert time.monotonic() < end, self.shown
            try:
                self.shown += os.read(self._terminal, 1 << 16)
            except BlockingIOError:
                time.sleep(0.01)

    def close(self) -> None:
        """Close it; the system then sends SIGHUP to the command and to the programs that it began."""
        os.close(self._terminal)
        os.killpg(self.process.pid, signal.SIGHUP)


@pytest.fixture(scope="module")
def minute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of noise, which soon fills every buffer of whoever writes it."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: sh scripts/install_ffmpeg.sh")
    folder = tmp_path_factory.mktemp("minute")
    noise, path = folder / "noise.mp4", folder / "minute.mp4"
    source = ("-f", "lavfi", "-i", "testsrc=s=480x360:r=10:d=1", "-vf", "noise=alls=90:allf=t")
    subprocess.run(["ffmpeg", "-v", "error", *source, "-preset", "ultrafast", noise], check=True, timeout=60)
    subprocess.run(["ffmpeg", "-v", "error", "-stream_loop", "60", "-i", noise, "-c", "copy", path], check=True)
    return path


def closed(arguments: list[str], done: Callable[[Terminal], bool], pipeline: Pipeline, serve_app: Any) -> int:
    """The exit code of a command whose engine hangs, once something is done, and whose terminal is closed then."""
    from server.app import create_app
    from server.settings import Settings

    engine = Hanging(pipeline)
    with serve_app(create_app(Settings(), lambda: engine)) as url:
        command = Terminal(*arguments, "--server", url, "--timeout", "600")
        try:
            command.show_until(lambda: done(command))
            engine.hangs.set()
            command.show_until(engine.asked.is_set)
            command.close()
            return command.process.wait(PATIENCE)
        finally:
            engine.answers.set()
            command.process.kill()
            command.process.wait()


def bar(command: Terminal) -> bool:
    return BAR.search(command.shown) is not None


def frames_of(video: Path) -> int:
    entries = ["-select_streams", "v", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"]
    probe = ["ffprobe", "-v", "error", *entries, str(video)]
    return int(subprocess.run(probe, check=True, capture_output=True, text=True, timeout=60).stdout.strip(",\n"))


told = pytest.mark.parametrize("told", [[], ["--json"]], ids=["", "json"])


@told
def test_predict_keeps_its_tables(
    told: list[str], tmp_path: Path, photo_jpeg: bytes, pipeline: Pipeline, serve_app: Any
) -> None:
    pictures, out, lines = tmp_path / "pictures", tmp_path / "out", tmp_path / "all.jsonl"
    pictures.mkdir()
    for number in range(200):  # more than are done before the engine is told to hang
        (pictures / f"{number:03}.jpg").write_bytes(photo_jpeg)
    arguments = ["predict", str(pictures), "-o", str(out), "--jsonl", str(lines), "--in-flight", "1", *told]
    assert closed(arguments, bar, pipeline, serve_app) == 130
    names = [json.loads(line)["file_name"] for line in lines.read_text().splitlines()]
    assert names == [f"{number:03}.jpg" for number in range(len(names))]
    assert 0 < len(names) == len(list(out.glob("*.json"))) < 200
    assert [*tmp_path.glob("*.part"), *tmp_path.glob(".*"), *out.glob(".*")] == []


def test_annotate_keeps_its_video(minute: Path, tmp_path: Path, pipeline: Pipeline, serve_app: Any) -> None:
    out, lines = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    arguments = ["annotate", str(minute), "-o", str(out), "--jsonl", str(lines)]
    assert closed(arguments, bar, pipeline, serve_app) == 130
    assert 0 < len(lines.read_text().splitlines()) == frames_of(out)
    assert {path.name for path in tmp_path.iterdir()} == {"out.mp4", "out.jsonl"}


@told
def test_stream_keeps_its_video(
    told: list[str], minute: Path, tmp_path: Path, pipeline: Pipeline, serve_app: Any
) -> None:
    out, part = tmp_path / "out.mp4", tmp_path / ".out.part.mp4"

    def written(_: Terminal) -> bool:
        return part.exists() and part.stat().st_size > 0

    arguments = ["stream", str(minute), "-o", str(out), *told]
    assert closed(arguments, written, pipeline, serve_app) == 0
    assert frames_of(out) > 0
    assert {path.name for path in tmp_path.iterdir()} == {"out.mp4"}
