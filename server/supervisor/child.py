"""A tritonserver as a child process that ends when we do, and whose lines we read."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import structlog

_STANDARD_ERROR = 2
_LONGEST = 65536  # bytes; a longer line of the server is read in pieces
_NUMBER = 32  # bytes: enough for a process id in decimal
_FIRST = 4096  # lines; its usage has 400
_SAID = 10.0  # seconds to wait until the last lines of an ended server are read
_LEVELS = {"I": "info", "W": "warning", "E": "error", "F": "critical"}
# "I1128 13:10:41.123456 4711 server.cc:674] words"; with --log-format=ISO8601 "2026-11-28T13:10:41Z I 4711 ..."
_ENTRY = re.compile(r"(?:([IWEF])\d{4} [\d:.]+|\d{4}-\S+ ([IWEF])) \d+ (\S+?:\d+)\] ?(.*)", re.DOTALL)

# The guard is started before the server, and ignores the signals that a machine sends to everybody when it goes down.
# The shell writes the guard's process id to standard input, which is a socket. "$$" is the shell's own process id:
# `exec` makes it that of the server, and it is also the id of the server's process group.
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
    """A server with its guard and the thread that logs its lines.

    Attributes:
        process: the server; its process id is also that of its process group.
        guard: process id of its guard; None where none could be started, and then there is no server either.
        wire: socket to the guard, which alone has the other end.
        lines: reads the lines of the server and of all that it started, until they have ended.
        first: its lines before the first entry of its log, complete after `clear_up`. A server that does not take its
            options says how it is used, and ends; one that does writes an entry before it loads a model.
    """

    process: subprocess.Popen[bytes]
    guard: int | None
    wire: socket.socket
    lines: threading.Thread
    first: list[str] = field(default_factory=list)

    def clear_up(self) -> None:
        """After the server's end: kill what it left running, dismiss the guard, and let the last lines be read."""
        # the processes of python models outlive a server that was killed; nothing else is in its group
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.dismiss_guard()
        self.lines.join(_SAID)

    def dismiss_guard(self) -> None:
        """Tell the guard that the server's group has ended or was killed: there is nothing left for it to do."""
        with suppress(OSError), self.wire as wire:  # the guard may have been killed
            wire.sendall(b"ended")

    def reap(self) -> bool:
        """Reap the processes that the ended server left to us; call it after waiting for the server itself.

        Orphans become our children where we are process 1 of a container without an init. Nobody else waits for them,
        so each would stay a zombie. Other children of ours are left to whoever waits for them.

        Returns:
            whether none of them is left.
        """
        left = [_left(which) for which in (-self.process.pid, self.guard) if which is not None]
        return not any(left)


def _left(which: int) -> bool:
    """Whether a child with this process id (or any of this group, where it is negative) has not ended yet."""
    try:
        while os.waitpid(which, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def spawn(command: Sequence[str], environment: Mapping[str, str], memory: Path, *, wrapped: bool) -> Child:
    """Start the server in a session of its own, so that Ctrl-C reaches only us, and we can let it drain.

    If we are killed, `server.supervisor.guard` ends the server, unless the guard was dismissed: otherwise nobody would
    watch the server, and it would hold the ports.

    Args:
        command: program and arguments.
        environment: variables added to ours.
        memory: glob pattern of its shared memory files.
        wrapped: whether its lines go through our log; if not, they go to our standard error as they are, and what it
            writes to its standard output straight to ours.

    Raises:
        OSError: the system starts no process now.
    """
    ours, theirs = socket.socketpair()
    with theirs, ExitStack() as failed:
        failed.enter_context(ours)
        process = subprocess.Popen(
            ["/bin/sh", "-c", _GUARDED, sys.executable, str(_GUARD), str(memory), *command],
            env={**os.environ, **environment},
            start_new_session=True,
            stdin=theirs.fileno(),
            stdout=subprocess.PIPE if wrapped else None,
            stderr=subprocess.STDOUT if wrapped else subprocess.PIPE,
            restore_signals=False,  # SIGPIPE stays ignored: a server whose output has lost its reader goes on
        )
        failed.pop_all()
    guard = int(ours.recv(_NUMBER) or 0) or None
    pipe, first = process.stdout if wrapped else process.stderr, list[str]()
    # a thread keeps reading: a full pipe would block the server
    lines = threading.Thread(target=_read, args=(pipe, first, _logged() if wrapped else _passed_on), daemon=True)
    lines.start()
    return Child(process, guard, ours, lines, first)


def _read(pipe: IO[bytes], first: list[str], tell: Callable[[bytes, str, re.Match[str] | None], None]) -> None:
    """Tell each line until the pipe ends, and keep the first ones (see `Child`)."""
    begun = False
    with pipe:
        while line := pipe.readline(_LONGEST):
            words = line.decode(errors="backslashreplace").rstrip("\r\n")
            entry = _ENTRY.match(words)
            begun = begun or entry is not None
            if not begun and len(first) < _FIRST:
                first.append(words)
            tell(line, words, entry)


def _passed_on(line: bytes, *_: object) -> None:
    with suppress(OSError):  # full disk, or the reader of our log has gone: the server goes on
        while line:
            line = line[os.write(_STANDARD_ERROR, line) :]


def _logged() -> Callable[[bytes, str, re.Match[str] | None], None]:
    level = "info"

    def tell(_: bytes, words: str, entry: re.Match[str] | None) -> None:
        nonlocal level
        if entry is not None:
            level = _LEVELS[entry[1] or entry[2]]
            getattr(log, level)(_unquoted(entry[4]), source="tritonserver", at=entry[3])
        elif words.strip():  # a table or a stack trace goes on: the level of its first line
            getattr(log, level)(words, source="tritonserver")

    return tell


def _unquoted(words: str) -> str:
    """The message itself: newer servers write it as a JSON string."""
    try:
        found = json.loads(words)
    except ValueError:
        return words
    return found if isinstance(found, str) else words
