"""What is no address is a wrong option: of both clients, and on the command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn_client import AsyncClient, Client

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("makers", "like"),
    [
        ((Client.connect, AsyncClient.connect), "http://127.0.0.1:8080"),
        ((Client.triton, AsyncClient.triton), "grpc://host:8001 or http://host:8000 of a Triton"),
    ],
)
@pytest.mark.parametrize("wrong", ["127.0.0.1:80", "ftp://host", "http://", "http://127.0.0.1:x", "http://[::1", ""])
def test_what_is_no_address_is_a_wrong_option(makers: tuple[Callable[..., Any], ...], like: str, wrong: str) -> None:
    for make in makers:
        with pytest.raises(InvalidOptions, match="not an address; give one like") as refused:
            make(wrong)
        assert str(refused.value) == f"{wrong}: not an address; give one like {like}"


@pytest.mark.parametrize("option", ["--server", "--triton"])
def test_the_command_line_ends_with_2(option: str) -> None:
    command = [sys.executable, "-c", "from parsing_rcnn.cli import main; main()", "info", option, "127.0.0.1:8080"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: 127.0.0.1:8080: not an address; give one like ")
    assert done.stderr.count("\n") == 1
