"""`predict` into a pipe which nobody reads."""

from __future__ import annotations

import fcntl
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

PICTURES = 6


@pytest.mark.parametrize("table", ["--jsonl", "--csv"])
def test_a_signal_ends_it_and_what_was_answered_is_kept(table: str, tmp_path: Path, photo_jpeg: bytes) -> None:
    (tmp_path / "in").mkdir()
    for number in range(PICTURES):
        (tmp_path / "in" / f"{number:0240}.jpg").write_bytes(photo_jpeg)  # of lines that fill a pipe
    command = [sys.executable, "-m", "parsing_rcnn", "predict", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    command += [table, "-", "--write", "json", "--threads", "1", "--in-flight", str(PICTURES)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    try:
        waiting, answered = [0, -1], 0
        while waiting[-1] != waiting[-2] or not waiting[-1] or answered < PICTURES:  # it is full, with more to come
            time.sleep(0.5)
            assert process.poll() is None, process.stderr
            waiting.append(struct.unpack("i", fcntl.ioctl(process.stdout, termios.FIONREAD, b"\0" * 4))[0])
            answered = len(list((tmp_path / "out").glob("*.json")))
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 130
        _, said = process.communicate()
    finally:
        process.kill()
    assert "Traceback" not in said
    assert "interrupted" in said or "--resume goes on from there" in said
