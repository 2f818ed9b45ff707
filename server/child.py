"""A tritonserver as a process of ours, ended when we are; where our log is JSON, its words go through that."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import structlog

_LONGEST = 65536  # bytes of a line; the rest of a longer one is the next
_LEVELS = {"I": "info", "W": "warning", "E": "error", "F": "critical"}
# "I1128 13:10:41.123456 4711 server.cc:674] words"; with --log-format=ISO8601 "2026-11-28T13:10:41Z I 4711 ..."
_ENTRY = re.compile(r"(?:([IWEF])\d{4} [\d:.]+|\d{4}-\S+ ([IWEF])) \d+ (\S+?:\d+)\] ?(.*)", re.DOTALL)

# The guard is there before the server is, and deaf to who ends a whole machine. "$$" is the number of what `exec` makes
# the server, and of its group.
_GUARDED = """
exec 3<&0
(trap '' HUP INT TERM; exec "$0" -I -S "$1" $$ "$2" <&3 3<&- >/dev/null 2>&1) &
shift 2
exec "$@" </dev/null 3<&-
"""
_GUARD = Path(__file__).with_name("guard.py")

log = structlog.get_logger("triton")


def spawn(
    command: Sequence[str], environment: Mapping[str, str], memory: Path, *, wrapped: bool
) -> tuple[subprocess.Popen[bytes], threading.Thread | None]:
    """Start it in a session of its own: Ctrl-C reaches us, and we let it drain.

    Should we be killed, nobody would watch it, and it would hold the ports: `server.guard` then ends it, unless it was
    dismissed (`dismiss_guard`).

    Args:
        command: program and arguments.
        environment: variables beside ours.
        memory: pattern of the files of its shared memory.
        wrapped: whether its lines go through our log; else straight to our standard error.

    Returns:
        The process, and what logs its lines until it has ended, and all whom it started.
    """
    process = subprocess.Popen(
        ["/bin/sh", "-c", _GUARDED, sys.executable, str(_GUARD), str(memory), *command],
        env={**os.environ, **environment},
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if wrapped else None,
        stderr=subprocess.STDOUT if wrapped else None,
    )
    if process.stdout is None:
        return process, None
    # a thread that always reads: a pipe that is full would stop the server
    lines = threading.Thread(target=_forward, args=(process.stdout,), daemon=True)
    lines.start()
    return process, lines


def dismiss_guard(process: subprocess.Popen[bytes]) -> None:
    """All of the process's group has ended, or been killed: nobody need do so any more."""
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as pipe:  # somebody may have killed the guard
        pipe.write(b"ended")


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
