"""What commands say on a terminal, where a bar shows the progress."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pty = pytest.importorskip("pty")

ROOT = Path(__file__).resolve().parents[3]


def read(terminal: int) -> bytes:
    """What comes next; nothing when the command has ended."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""


def text(shown: bytes) -> str:
    """Without the codes that move and colour."""
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.decode("utf-8", "replace"))


def test_what_an_interrupted_annotate_has_done_is_said_below_the_bar(tmp_path: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: sh scripts/install_ffmpeg.sh")
    video, lines = tmp_path / "walk.mp4", tmp_path / "out.jsonl"
    given = ("-f", "lavfi", "-i", "testsrc=s=160x120:r=10:d=200")
    subprocess.run(["ffmpeg", "-v", "error", *given, "-preset", "ultrafast", video], check=True, timeout=60)
    command = [sys.executable, "-m", "parsing_rcnn", "annotate", str(video), "--jsonl", str(lines), "--threads", "1"]
    terminal, end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=end, start_new_session=True)
    os.close(end)
    said = b""
    try:
        while not re.search(r" [1-9]\d*/2000", text(said)) and (more := read(terminal)):
            said += more
        os.killpg(process.pid, signal.SIGINT)
        while more := read(terminal):
            said += more
        assert process.wait(60) == 130, said
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    *_, bar, last = text(said).splitlines()
    assert bar.startswith("frames ")
    done = len(lines.read_text().splitlines())
    assert last == f"stopped after {done} frame{'s' * (done > 1)}; {lines} holds them"
