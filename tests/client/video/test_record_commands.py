"""`annotate` and `stream`: data of every frame, zones and lines, on the command line."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from parsing_rcnn.people import People


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parsing_rcnn", *map(str, arguments), "--threads", "1"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def refused(*arguments: object) -> str:
    """What is said about a command line, before an engine is opened: nobody opens this repository."""
    done = CliRunner().invoke(build(), [*map(str, arguments), "--repository", "/nowhere"])
    assert done.exit_code == 2, done.output
    return " ".join(done.stderr.split())


def test_annotate_writes_arrays_and_counts(walk_video: Path, tmp_path: Path) -> None:
    """The portrait slides to the right by 4 pixels a frame, from 0 to 92; it is 200 wide, down to the lower edge."""
    folder, lines, out = tmp_path / "arrays", tmp_path / "a.jsonl", tmp_path / "a.mp4"
    zones = ("--zone", "all=0,0,100%,0,100%,100%,0,100%", "--zone", "left=0,0,150,0,150,240,0,240")
    zones += ("--line", "middle=150,240,150,0")  # from below upwards: its right, which is in, is the picture's right
    done = run("annotate", walk_video, "-o", out, "--npz", folder, "--jsonl", lines, *zones)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == [f"{index:06d}.npz" for index in range(24)]
    read = [json.loads(line) for line in lines.read_text().splitlines()]
    for index in (0, 23):
        people = People.load(folder / f"{index:06d}.npz")
        assert people.tracker_id is not None
        assert people.tracker_id.tolist() == [one["track"] for one in read[index]["people"]]
        assert people.parts is not None
        assert people.iuv is not None
        assert people.parts.any()
        assert people.iuv.any()
        np.testing.assert_allclose(people.boxes[0], read[index]["people"][0]["box"], atol=12)
    assert [read[index]["zones"] for index in (0, 23)] == [{"all": 1, "left": 1}, {"all": 1, "left": 0}]
    assert [read[index]["lines"] for index in (0, 23)] == [{"middle": {"in": n, "out": 0}} for n in (0, 1)]
    again = run("annotate", walk_video, "--npz", folder)
    assert again.returncode == 2
    assert f"{folder}: there are files in this folder: name a new one, or empty it" in again.stderr


def test_a_zone_outside_the_picture_is_told_and_leaves_nothing(walk_video: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = ("-o", out / "a.mp4", "--jsonl", out / "a.jsonl", "--npz", out / "arrays")
    done = run("annotate", walk_video, *files, "--zone", "door=0,0,321,0,0,9")
    assert done.returncode == 2
    assert done.stderr.endswith(
        "error: zone door: 321,0 lies outside the picture of 320x240 pixels: name points in it, or percent (50%)\n"
    )
    assert list(out.iterdir()) == []
    for sources in ([walk_video], [walk_video, walk_video]):
        done = run("stream", *sources, "--jsonl", tmp_path / "a.jsonl", "--zone", "door=0,0,321,0,0,9")
        assert done.returncode == 2, done.stderr
        assert "error: zone door: 321,0 lies outside the picture" in done.stderr


def test_stream_prints_lines_and_nothing_else(
    walk_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("stream", walk_video, "--jsonl", "-", "--line", "gate=0,50%,100%,50%")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) > 0
    assert {line["source"] for line in lines} == {str(walk_video)}
    assert all(line["lines"] == {"gate": {"in": 0, "out": 0}} for line in lines)
    assert "Hair" in lines[-1]["people"][0]["parts"]
    assert f"{walk_video}: 24 frames, {len(lines)} shown, " in done.stderr
    assert "watch at" not in done.stderr  # nobody asked for a page
    assert list(tmp_path.iterdir()) == []


def test_stream_of_two_sources_writes_one_file_of_lines_and_a_folder_of_each(walk_video: Path, tmp_path: Path) -> None:
    other, lines, folder = tmp_path / "other.mp4", tmp_path / "a.jsonl", tmp_path / "arrays"
    other.write_bytes(walk_video.read_bytes())
    outputs = ("-o", tmp_path / "0.mp4", "-o", "none", "--jsonl", lines, "--npz", folder, "--json")
    done = run("stream", walk_video, other, *outputs)
    assert done.returncode == 0, done.stderr
    read = [json.loads(line) for line in lines.read_text().splitlines()]
    for number, state in enumerate(json.loads(done.stdout)):
        frames = [line["frame"] for line in read if line["source"] == state["name"]]
        assert len(frames) == state["shown"] > 0
        assert sorted(path.name for path in (folder / str(number)).iterdir()) == [f"{n:06d}.npz" for n in frames]
    assert (tmp_path / "0.mp4").stat().st_size > 1000


def test_sources_of_one_name_are_told_apart_by_their_number(walk_video: Path, tmp_path: Path) -> None:
    done = run("stream", walk_video, walk_video, "--jsonl", tmp_path / "a.jsonl", "--json")
    assert done.returncode == 0, done.stderr
    read = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert {line["source"] for line in read} == {str(walk_video)}
    shown = [sum(line["number"] == number for line in read) for number in (0, 1)]
    assert shown == [state["shown"] for state in json.loads(done.stdout)]


def test_a_name_that_is_no_utf_8_is_legible(walk_video: Path, tmp_path: Path) -> None:
    video = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    shutil.copy(walk_video, video)
    done = run("annotate", video, "--coco", tmp_path / "a.json", "--every", "8")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "a.json").read_text())["videos"][0]["name"] == "caf\ufffd.mp4"
    done = run("stream", video, "--jsonl", "-")
    assert done.returncode == 0, done.stderr
    assert {json.loads(line)["source"] for line in done.stdout.splitlines()} == {f"{tmp_path}/caf\ufffd.mp4"}


@pytest.fixture(scope="module")
def long_walk(walk_video: Path, tmp_path_factory: pytest.TempPathFactory, ffmpeg: Callable[..., str]) -> Path:
    """Three minutes, of which any machine shows enough to fill a pipe."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    ffmpeg("-stream_loop", 100, "-i", walk_video, "-c", "copy", path)
    return path


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("command", "sources", "code"), [("annotate", 1, 130), ("stream", 2, 0)])
def test_a_signal_ends_it_while_nobody_reads_its_lines(
    long_walk: Path, command: str, sources: int, code: int, sent: signal.Signals
) -> None:
    given = [sys.executable, "-m", "parsing_rcnn", command, *[str(long_walk)] * sources, "--jsonl", "-"]
    process = subprocess.Popen([*given, "--threads", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    try:
        waiting = [0, -1]
        while waiting[-1] != waiting[-2] or not waiting[-1]:  # until it is full
            time.sleep(1)
            assert process.poll() is None, process.stderr
            waiting.append(struct.unpack("i", fcntl.ioctl(process.stdout, termios.FIONREAD, b"\0" * 4))[0])
        process.send_signal(sent)
        assert process.wait(120) == code
        lines, said = process.communicate()
    finally:
        process.kill()
    assert "Traceback" not in said
    assert json.loads(lines.splitlines()[0])["frame"] >= 0


@pytest.mark.parametrize("command", ["annotate", "stream"])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--jsonl", "-", "--json"], "both write to standard output"),
        (["--npz", "-"], "--npz writes many files"),
        (["--jsonl", "{tmp}/a", "--include", "masks"], "--include 'masks': choose iuv"),
        (["--npz", "{tmp}/a", "--include", "iuv"], "--include iuv is about the lines of --jsonl: name a file, or -"),
        (["--npz", "{tmp}"], "there are files in this folder: name a new one, or empty it"),
        (["--npz", "{tmp}/file"], "is no folder that can be used"),
        (["--npz", "{tmp}/file/arrays"], "no folder can be made there"),
        (["--npz", "{tmp}/a", "--jsonl", "{tmp}/a"], "two outputs both write"),
        (
            ["--npz", "{tmp}/a", "--jsonl", "{tmp}/a/b/c.jsonl"],
            "lies in {tmp}/a, which is for the arrays of --npz alone",
        ),
        (["--npz", "{tmp}/a", "--zone", "a=0,0,9,0,9,9"], "--zone: counts are in --jsonl and in the video: name one"),
        (["--npz", "{tmp}/a", "--line", "a=0,0,9,0"], "--line: counts are in --jsonl and in the video: name one"),
        (["--jsonl", "{tmp}/file/a.jsonl"], "no folder can be made there"),
        (["--jsonl", "{video}"], "is the source itself"),
        (["--jsonl", "{tmp}/a", "--zone", "door=1,2,3,4"], "zone door: 2 points enclose nothing"),
        (["--jsonl", "{tmp}/a", "--line", "door=1,2,3,4,x,6"], "line door: 'x' is no number"),
        (["--jsonl", "{tmp}/a", "--zone", "a=0,0,9,0,9,9", "--zone", "a=0,0,8,0,9,9"], "2 zones are named a"),
    ],
)
def test_what_cannot_be_is_refused(
    walk_video: Path, tmp_path: Path, command: str, options: list[str], says: str
) -> None:
    (tmp_path / "file").write_text("no folder")
    said = refused(command, walk_video, *(option.format(tmp=tmp_path, video=walk_video) for option in options))
    assert says.format(tmp=tmp_path) in said
    assert [path.read_text() for path in tmp_path.iterdir()] == ["no folder"]


@pytest.mark.parametrize("command", ["annotate", "stream"])
def test_lines_with_charts(walk_video: Path, tmp_path: Path, command: str) -> None:
    done = run(command, walk_video, "--jsonl", tmp_path / "a.jsonl", "--include", "iuv", "--max-side", "160")
    assert done.returncode == 0, done.stderr
    people = [one for line in (tmp_path / "a.jsonl").read_text().splitlines() for one in json.loads(line)["people"]]
    assert people
    for person in people:
        charts = person["densepose"]["charts"]
        assert charts
        assert all(set(one) >= {"class", "class_id", "area"} and 1 <= one["class_id"] <= 24 for one in charts)
        assert person["parts"]


@pytest.mark.parametrize("sources", [1, 2])
def test_a_stream_ends_soon_after_its_time_while_nobody_reads_its_lines(long_walk: Path, sources: int) -> None:
    given = ["stream", *[str(long_walk)] * sources, "--jsonl", "-", "--seconds", "8", "--threads", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "parsing_rcnn", *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    try:
        end = time.monotonic() + 120
        while not struct.unpack("i", fcntl.ioctl(process.stdout, termios.FIONREAD, b"\0" * 4))[0]:  # it begins
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        assert process.wait(25) == 0  # without a bound 30 s more, and 5 for the output
        lines, said = process.communicate()
    finally:
        process.kill()
    assert "Traceback" not in said
    assert json.loads(lines.splitlines()[0])["frame"] >= 0
    assert said.count(f"{long_walk}: ") >= sources
