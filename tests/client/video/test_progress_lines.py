"""How far `annotate` is, where no terminal shows a bar."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from parsing_rcnn_client.cli.annotate_command import _sentence, _stopped
from parsing_rcnn_client.cli.annotate_progress import Lines, shown
from parsing_rcnn_client.video.annotate import Summary


@pytest.mark.parametrize(("whole", "of"), [(5000, "/5000"), (None, "")])
def test_a_line_a_minute_says_how_far_it_is(whole: int | None, of: str) -> None:
    now = 100.0
    said: list[str] = []
    lines = Lines(whole, said.append, lambda: now)
    for done in range(1, 2001):
        now += 0.125
        lines(done)
    assert said == [f"{done}{of} frames, 8.0 fps" for done in (480, 960, 1440, 1920)]


def test_nothing_is_drawn_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with shown(3) as progress:
        progress(1)
    assert capsys.readouterr().err == ""


def test_one_is_one() -> None:
    assert _sentence(Summary(1, 1, 0.5, {})) == "1 frame, 1 person, 2.0 fps"
    assert _sentence(Summary(0, 0, 1, {})) == "0 frames, 0 people, 0.0 fps"
    assert _stopped(1, []) == "stopped after 1 frame"
    assert _stopped(2, [Path("a"), Path("b")]) == "stopped after 2 frames; a and b hold them"


def test_nothing_to_write_is_said_with_what_could_be(walk_video: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(build(), ["annotate", str(walk_video), "--repository", str(tmp_path)])
    assert done.exit_code == 2
    assert "nothing to write: name --out, --jsonl, --coco or --npz (or --json, for the counts)" in done.stderr
