"""Older versions of ffmpeg, whose options differ."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from parsing_rcnn_client.video.backends import Video
from parsing_rcnn_client.video.encoding import Encoding
from parsing_rcnn_client.video.media import VideoToolMissing

Named = Callable[[str], None]


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ffmpeg: object) -> Named:
    """Puts in place of ffmpeg one that says it is another version, and before 5.1 refuses what came with that."""

    def put(version: str) -> None:
        folder = tmp_path / "programs"
        folder.mkdir()
        refused = "" if version.startswith(("5", "N")) else '*" -fps_mode "* | *:duration=*) exit 1 ;;'
        program = folder / "ffmpeg"
        program.write_text(
            f'#!/bin/sh\ncase " $* " in\n" -version ") echo "ffmpeg version {version} Copyright" ; exit ;;\n{refused}\n'
            f'esac\nexec {shutil.which("ffmpeg")} "$@"\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return put


def copied(source: Path, out: Path) -> int:
    """Write a copy of a video; the number of its frames."""
    video = Video(str(source), "ffmpeg", None, Encoding())
    reader = video.read()
    writer = video.write(out, reader)
    count = 0
    for frame in reader:
        writer.write(frame.image, frame.time)
        count += 1
    writer.close()
    return count


@pytest.mark.parametrize("version", ["4.2.2-static", "4.4.2-0ubuntu0.22.04.1", "n5.0", "5.1.9", "N-109542-gbad1f1c"])
def test_an_older_version_is_asked_with_the_options_that_it_knows(
    walk_video: Path, tmp_path: Path, named: Named, version: str, times: Callable[[Path], list[float]]
) -> None:
    named(version)
    assert copied(walk_video, tmp_path / "out.mp4") == 24
    assert times(tmp_path / "out.mp4") == times(walk_video)


def test_one_that_is_too_old_is_said(walk_video: Path, named: Named) -> None:
    named("3.4.11-0ubuntu0.1")
    with pytest.raises(VideoToolMissing, match=r"ffmpeg here is 3\.4, and video needs 4\.2 or newer: install a newer"):
        Video(str(walk_video), "ffmpeg", None, Encoding()).read()
