"""`annotate` and `stream`: where results may go, and what is no source."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from parsing_rcnn.cli import build


def refused(*arguments: object) -> str:
    """What is said about a command line, before an engine is opened: nobody opens this repository."""
    done = CliRunner().invoke(build(), [*map(str, arguments), "--repository", "/nowhere"])
    assert done.exit_code == 2, done.output
    return " ".join(done.stderr.split())


def annotate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parsing_rcnn", "annotate", *map(str, arguments), "--threads", "1"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("option", ["--jsonl", "--coco", "-o"])
def test_a_pipe_is_not_replaced_by_a_file(walk_video: Path, tmp_path: Path, option: str) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    assert "no file: name a file" in refused("annotate", walk_video, option, pipe)
    assert "no file: name a file" in refused("stream", walk_video, "-o", pipe)
    assert "no file: name a file" in refused("annotate", walk_video, option, "/dev/stdout")  # were it sent into a file
    assert pipe.is_fifo()


def test_a_link_stays_and_what_it_points_to_is_replaced(walk_video: Path, tmp_path: Path) -> None:
    outputs = {"-o": "out.mp4", "--jsonl": "out.jsonl", "--coco": "out.json"}
    for name in outputs.values():
        (tmp_path / "far").mkdir(exist_ok=True)
        (tmp_path / "far" / f"old_{name}").write_text("old")
        (tmp_path / name).symlink_to(tmp_path / "far" / f"old_{name}")
    done = annotate(walk_video, *(part for option, name in outputs.items() for part in (option, tmp_path / name)))
    assert done.returncode == 0, done.stderr
    for name in outputs.values():
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "far" / f"old_{name}").stat().st_size > 100
    assert len(list((tmp_path / "far").iterdir())) == len(list(tmp_path.iterdir())) - 1 == 3


def test_records_go_to_standard_output(walk_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = annotate(walk_video, "--jsonl", "-", "--layers", "boxes", "--every", "8")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["frame"] for line in done.stdout.splitlines()] == list(range(24))
    assert list(tmp_path.iterdir()) == []
    assert "both write to standard output" in refused("annotate", walk_video, "--jsonl", "-", "--json")
    assert "only --jsonl" in refused("annotate", walk_video, "--coco", "-")


@pytest.mark.parametrize("command", ["annotate", "stream"])
def test_what_is_no_source_is_said(tmp_path: Path, command: str) -> None:
    assert "not read from standard input" in refused(command, "-", "-o", tmp_path / "o.mp4")
    assert "frame%04d.jpg" in refused(command, tmp_path, "-o", tmp_path / "o.mp4")


@pytest.mark.parametrize("command", ["annotate", "stream"])
def test_a_pipe_is_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """Nobody might ever write to it, and ffprobe and ffmpeg read twice."""
    monkeypatch.chdir(tmp_path)
    for name in ("pipe:0", "fd:", "/dev/stdin", "/dev/fd/0"):
        assert f"not read from standard input or a pipe ({name}): name a file" in refused(command, name, "-o", "o.mp4")
    os.mkfifo("in.mp4")
    assert "in.mp4 is a device or a pipe, no file" in refused(command, "in.mp4", "-o", "o.mp4")
    assert "/dev/null is a device or a pipe, no file" in refused(command, "/dev/null", "-o", "o.mp4")


def test_a_file_that_is_named_like_a_pipe_is_a_file(
    walk_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipe:0").symlink_to(walk_video)
    done = annotate("pipe:0", "--jsonl", "-", "--layers", "boxes", "--every", "24")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["annotate", "stream"])
def test_names_that_are_too_long_are_told(walk_video: Path, tmp_path: Path, command: str) -> None:
    long = "a" * 300
    assert f"{long}: cannot be looked for (File name too long)" in refused(command, long, "-o", tmp_path / "o.mp4")
    for count in (300, 249):  # with the ending of what is not whole it is longer
        out = tmp_path / ("b" * count + ".mp4")
        assert f"{out}: cannot be written (File name too long); choose" in refused(command, walk_video, "-o", out)
    # the address of a camera may have any length
    said = refused(command, f"http://camera/{long}", "-o", tmp_path / "o.avi")
    assert "name a .mp4, .mov or .mkv" in said


@pytest.mark.parametrize("command", ["annotate", "stream"])
def test_a_container_without_times_is_not_written(walk_video: Path, tmp_path: Path, command: str) -> None:
    assert "name a .mp4, .mov or .mkv" in refused(command, walk_video, "-o", tmp_path / "o.avi")


@pytest.mark.parametrize("command", ["annotate", "stream"])
def test_a_picture_is_no_name_for_a_video(walk_video: Path, tmp_path: Path, command: str) -> None:
    out = tmp_path / "o.jpg"
    assert f"{out}: a picture is no video: `parsing-rcnn predict PHOTO -o FOLDER`" in refused(
        command, walk_video, "-o", out
    )


def test_two_outputs_in_one_file_are_refused(walk_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.json").symlink_to(tmp_path / "same.json")
    same, other, link = tmp_path / "same.json", "./same.json", "link.json"
    assert f"two outputs both write {same}: choose another" in refused(
        "annotate", walk_video, "--jsonl", same, "--coco", same
    )
    for name in (other, link):
        said = refused("annotate", walk_video, "--jsonl", same, "--coco", name)
        assert f"{same} and {Path(name)} both write one file" in said
    assert "both write" in refused("annotate", walk_video, "-o", "a.mp4", "--jsonl", tmp_path / "a.mp4")
    assert "both write" in refused("stream", walk_video, "rtsp://camera/door", "-o", "a.mp4", "-o", tmp_path / "a.mp4")
    assert not same.exists()
