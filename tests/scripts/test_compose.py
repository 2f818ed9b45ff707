"""What compose.yaml says about itself: commands that can be run as they are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def commands() -> list[str]:
    return re.findall(r"^#.*?((?:\w+=\S+ )*docker compose .*)$", (ROOT / "compose.yaml").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", commands())
def test_a_command_names_every_image_that_it_builds_on(command: str) -> None:
    """Defaults of NVIDIA's images have no registry in front: nobody has them to pull."""
    files = re.findall(r"-f (\S+)", command) or ["compose.yaml"]
    wanted = {name for file in files for name in re.findall(r"\$\{(\w+_IMAGE):-", (ROOT / file).read_text())}
    named = set(re.findall(r"(\w+_IMAGE)=", command))
    assert named == (wanted if "--profile triton" in command else set())


def test_there_are_commands_for_the_cpu_for_triton_and_for_a_gpu() -> None:
    assert [command.count("_IMAGE=") for command in commands()] == [0, 1, 2]
