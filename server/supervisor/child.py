"""A tritonserver as a process of ours, ended when we are; where our log is JSON, its words go through that."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import structlog

_LONGEST = 65536  # bytes of a line; the rest of a longer one is the next
_NUMBER = 32  # bytes of a process's number, at most
_SAID = 10.0  # seconds in which the last lines of an ended server are logged
_LEVELS = {"I": "info", "W": "warning", "E": "error", "F": "critical"}
# "I1128 13:10:41.123456 4711 server.cc:674] words"; with --log-format=ISO8601 "2026-11-28T13:10:41Z I 4711 ..."
_ENTRY = re.compile(r"(?:([IWEF])\d{4} [\d:.]+|\d{4}-\S+ ([IWEF])) \d+ (\S+?:\d+)\] ?(.*)", re.DOTALL)

# The guard is there before the server is, and deaf to who ends a whole machine; its number is told to us over standard
# input, which is a socket. "$$" is the number of what `exec` makes the server, and of its group.
_GUARDED = """
exec 3<&0
(trap '' HUP INT TERM; exec "$0" -I -S "$1" $$ "$2" <&3 3<&- >/dev/null 2>&1) &
echo $! >&3
shift 2
exec "$@" </dev/null 3<&-
"""
_GUARD = Path(__file__).with_name("guard.py")

log = structlog.get_logger("triton")


@dataclass
class Child:
    """A server and who is there for it.

    Attributes:
        process: the server, whose number is that of its group.
        guard: the number of its guard; None where there was no process for one, and then none for a server.
        wire: to the guard, whose other end is only its own.
        lines: what logs its lines until it has ended, and all whom it started; None where nothing does.
    """

    process: subprocess.Popen[bytes]
    guard: int | None
    wire: socket.socket
    lines: threading.Thread | None

    def clear_up(self) -> None:
        """After the server's end: kill whom it left, let the guard go, and have the last lines logged."""
        # processes of python models outlive a server that was killed; they are in its group, and nobody else is
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.dismiss_guard()
        if self.lines is not None:
            self.lines.join(_SAID)

    def dismiss_guard(self) -> None:
        """All of the server's group has ended, or been killed: nobody need do so any more."""
        with suppress(OSError), self.wire as wire:  # somebody may have killed the guard
            wire.sendall(b"ended")

    def reap(self) -> bool:
        """After the server's end was waited for: take note of the ends of those whom it left to us.

        To us they come where we are process 1 of a container, which nobody else's init helps. Nobody waits for them,
        and each would stay in the table of processes. Other children of ours, for which somebody does, are let alone.

        Returns:
            whether none of them is ours any more.
        """
        left = [_left(which) for which in (-self.process.pid, self.guard) if which is not None]
        return not any(left)


def _left(which: int) -> bool:
    """Whether a child of this number (or one of this group, where it is negative) has not ended yet."""
    try:
        while os.waitpid(which, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def spawn(command: Sequence[str], environment: Mapping[str, str], memory: Path, *, wrapped: bool) -> Child:
    """Start it in a session of its own: Ctrl-C reaches us, and we let it drain.

    If we are killed, `server.supervisor.guard` ends the server, unless the guard was dismissed: nobody would watch
    it, and it would hold the ports.

    Args:
        command: program and arguments.
        environment: variables beside ours.
        memory: pattern of the files of its shared memory.
        wrapped: whether its lines go through our log; else straight to our standard error.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _GUARDED, sys.executable, str(_GUARD), str(memory), *command],
            env={**os.environ, **environment},
            start_new_session=True,
            stdin=theirs.fileno(),
            stdout=subprocess.PIPE if wrapped else None,
            stderr=subprocess.STDOUT if wrapped else None,
        )
    guard = int(ours.recv(_NUMBER) or 0) or None
    if process.stdout is None:
        return Child(process, guard, ours, None)
    # a thread that always reads: a pipe that is full would stop the server
    lines = threading.Thread(target=_forward, args=(process.stdout,), daemon=True)
    lines.start()
    return Child(process, guard, ours, lines)


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
