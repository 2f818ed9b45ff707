"""A tritonserver as a process of ours, told to end when we do; where our log is JSON, its words go through that."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import IO

import structlog

_LONGEST = 65536  # bytes of a line; the rest of a longer one is the next
_LEVELS = {"I": "info", "W": "warning", "E": "error", "F": "critical"}
# "I1128 13:10:41.123456 4711 server.cc:674] words"; with --log-format=ISO8601 "2026-11-28T13:10:41Z I 4711 ..."
_ENTRY = re.compile(r"(?:([IWEF])\d{4} [\d:.]+|\d{4}-\S+ ([IWEF])) \d+ (\S+?:\d+)\] ?(.*)", re.DOTALL)

log = structlog.get_logger("triton")


def spawn(
    command: Sequence[str], environment: Mapping[str, str], *, wrapped: bool
) -> tuple[subprocess.Popen[bytes], threading.Thread | None]:
    """Start it in a session of its own: Ctrl-C reaches us, and we let it drain.

    Args:
        command: program and arguments.
        environment: variables beside ours.
        wrapped: whether its lines go through our log; else straight to our standard error.

    Returns:
        The process, and what logs its lines until it has ended, and all whom it started.
    """
    process = subprocess.Popen(
        [*_ends_with_us(), *command],
        env={**os.environ, **environment},
        start_new_session=True,
        stdout=subprocess.PIPE if wrapped else None,
        stderr=subprocess.STDOUT if wrapped else None,
    )
    if process.stdout is None:
        return process, None
    # a thread that always reads: a pipe that is full would stop the server
    lines = threading.Thread(target=_forward, args=(process.stdout,), daemon=True)
    lines.start()
    return process, lines


def _ends_with_us() -> list[str]:
    """Linux then tells the server to end when its supervisor is killed: nobody would watch it, and it would hold the
    ports. Triton may hang while it ends, under load; then it has to be killed by hand (deploy/README.md)."""
    program = shutil.which("setpriv")
    return [program, "--pdeathsig", "TERM"] if program else []


def _forward(pipe: IO[bytes]) -> None:
    level = "info"
    with pipe:
        while line := pipe.readline(_LONGEST):
            words = line.decode(errors="backslashreplace").rstrip("\r\n")
            entry = _ENTRY.match(words)
            if entry is not None:
                level = _LEVELS[entry[1] or entry[2]]
                getattr(log, level)(_unquoted(entry[4]), source="tritonserver", at=entry[3])
            elif words.strip():  # of a table, or a stack, that goes on: as its first line
                getattr(log, level)(words, source="tritonserver")


def _unquoted(words: str) -> str:
    """Newer servers write their own words as a string of JSON."""
    try:
        found = json.loads(words)
    except ValueError:
        return words
    return found if isinstance(found, str) else words
