"""Text of others on a terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from parsing_rcnn.terminal import printable, say

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
