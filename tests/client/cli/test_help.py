"""What --help says of the client's commands."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from parsing_rcnn.cli import build

COMMANDS = ("predict", "annotate", "stream", "info", "models")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_are_whole_lines_that_the_command_takes(name: str) -> None:
    shown = CliRunner().invoke(build(), [name, "--help"], env={"COLUMNS": "80"}).stdout
    examples = [line.strip() for line in shown.partition("Examples:")[2].splitlines() if line.strip()]
    assert examples
    command: Any = get_command(build())
    for example in examples:
        program, given, *rest = shlex.split(example)
        assert (program, given) == ("parsing-rcnn", name)
        command.commands[name].make_context(name, rest)
    assert max(map(len, shown.splitlines())) <= 80


def test_what_is_written_has_one_name_in_every_command() -> None:
    command: Any = get_command(build())
    for name, one in command.commands.items():
        for option in one.params:
            if option.name == "out":
                assert sorted(option.opts) == ["--out", "-o"], name


def test_where_nothing_has_a_name_it_says_so() -> None:
    done = CliRunner().invoke(build(), ["annotate", "", "-o", "out.mp4"])
    assert (done.exit_code, done.stderr) == (2, "error: the name of the source is empty: name a file or an address\n")


def test_the_names_for_model_are_those_that_info_lists() -> None:
    shown = " ".join(CliRunner().invoke(build(), ["predict", "--help"], env={"COLUMNS": "80"}).stdout.split())
    assert "A name that `parsing-rcnn info` lists (the shipped model: fast, large, accurate)" in shown
    about = CliRunner().invoke(build(), ["info", "--json"])
    assert json.loads(about.stdout)["models"] == ["fast", "large", "accurate"]
