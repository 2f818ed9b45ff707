"""Text of others on a terminal."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from parsing_rcnn.terminal import printable, say, tell

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("zwölf Köpfe, 十二", "zwölf Köpfe, 十二"),
        ("\x1b]0;title\x07\x1b[31mred", r"\x1b]0;title\x07\x1b[31mred"),
        ("one\r\nerror: two", r"one\r\nerror: two"),
        ("\x9b2J\u202eforged", r"\x9b2J\u202eforged"),
        ("a name that is no UTF-8: \udcff", r"a name that is no UTF-8: \udcff"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert printable(text) == shown
    say(text)
    assert capsys.readouterr().err == f"{shown}\n"


def test_chosen_characters_may_be_kept() -> None:
    assert printable("a\n\tb\x1b", "\n\t") == "a\n\tb\\x1b"


def test_the_command_line_escapes_its_errors() -> None:
    command = [sys.executable, "-m", "parsing_rcnn", "models", "--repository", "no\x1b[31m\nwhere"]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith(r"error: no\x1b[31m\nwhere: no such model repository")
    assert failed.stderr.count("\n") == 1


# a bar with colours beside messages, which all go to standard error
SHOWN = """
import sys
from rich.progress import Progress
from parsing_rcnn.terminal import say, stderr_console

shown = stderr_console()
say(f"terminal: {shown.is_terminal}, encoding: {shown.encoding}")
with Progress(console=shown) as progress:
    bar = progress.add_task("pictures", total=2)
    for _ in range(2):
        if shown.is_terminal:  # where a bar takes what others write
            print("[part]", file=sys.stderr)
        progress.advance(bar)
        progress.refresh()
say("done")
print("whole")
"""


def shown(stderr: int) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    environment.pop("PYTHONUNBUFFERED", None)  # Python then keeps nothing for its end, and cannot fail there
    command = [sys.executable, "-c", SHOWN]
    return subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True, timeout=120, check=False
    )


def test_what_nobody_reads_is_no_failure() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = shown(writer)
    os.close(writer)
    assert (done.returncode, done.stdout) == (0, "whole\n")


def test_a_closed_terminal_is_no_failure() -> None:
    terminal, end = pytest.importorskip("pty").openpty()
    os.close(terminal)
    done = shown(end)
    os.close(end)
    assert (done.returncode, done.stdout) == (0, "whole\n")


def test_a_full_disk_stops_nothing() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full, which Linux has")
    with full.open("w") as file:
        assert shown(file.fileno()).stdout == "whole\n"


def told(stdout: int) -> subprocess.CompletedProcess[str]:
    code = "from parsing_rcnn.terminal import tell; tell('result'); import sys; print('goes on', file=sys.stderr)"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120, check=False)


def test_a_result_is_lost_with_its_terminal_alone() -> None:
    terminal, end = pytest.importorskip("pty").openpty()
    os.close(terminal)
    done = told(end)
    os.close(end)
    assert (done.returncode, done.stderr) == (0, "goes on\n")
    reader, writer = os.pipe()
    os.close(reader)
    lost = told(writer)
    os.close(writer)
    assert lost.returncode != 0
    assert "BrokenPipeError" in lost.stderr


def test_an_error_of_a_disk_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(_: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("typer.echo", fails)
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            tell("result")


def test_an_open_terminal_gets_everything() -> None:
    terminal, end = pytest.importorskip("pty").openpty()
    done = shown(end)
    os.close(end)
    said = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert done.returncode == 0
    assert said.startswith("terminal: True, encoding: utf-8\r\n")
    assert said.endswith("done\r\n")
    assert "\x1b[" in said
    assert said.count("[part]") == 2
    assert "━" in said
