"""Every example in a docstring runs and gives what it says, here and in the vocabulary that the client returns."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def with_examples() -> list[str]:
    found = []
    for base in (ROOT, ROOT / "client"):
        for package in ("parsing_rcnn", "parsing_rcnn_client"):
            for file in sorted((base / package).rglob("*.py")):
                # an example that needs a server or a photo is skipped; where all do, there is nothing to run
                if any(">>>" in line and "+SKIP" not in line for line in file.read_text().splitlines()):
                    found.append(".".join(file.relative_to(base).with_suffix("").parts))
    return found


@pytest.mark.parametrize("name", with_examples())
def test_examples_run(name: str) -> None:
    done = doctest.testmod(importlib.import_module(name))
    assert done.attempted >= 1
    assert done.failed == 0
