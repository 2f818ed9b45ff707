"""The three ports of a tritonserver: free, or held by whom?"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from itertools import combinations, pairwise
from pathlib import Path

from parsing_rcnn.errors import EngineUnavailable, InvalidOptions
from server.settings import address

_PROC = Path("/proc")
_LISTENING = "0A"  # state of a socket in /proc/net/tcp
_COMMANDS = ("parsing-rcnn", "parsing_rcnn")  # installed, and as `python -m`
_SOCKET = re.compile(r"socket:\[(\d+)\]")


def refuse_taken(host: str, ports: Mapping[str, int]) -> None:
    """Refuse to start where another server holds one of the ports: it would answer in place of this one.

    Args:
        host: address to listen on.
        ports: "http", "grpc" and "metrics", each with its number.

    Raises:
        InvalidOptions: two of them are the same.
        EngineUnavailable: nobody can listen there; the message names the process that does, where that can be told.
    """
    for (name, port), (other, same) in combinations(ports.items(), 2):
        if port == same:
            raise InvalidOptions(f"--{name}-port and --{other}-port are both {port}: give each a port of its own")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for name, port in ports.items():
        try:
            socket.create_server((host, port), family=family).close()
        except OSError as error:
            process = holder(port) if error.errno == errno.EADDRINUSE else None
            who = "" if process is None else f" by {_who(process)}, or"
            reason = str(error.strerror).partition(" (")[0]
            raise EngineUnavailable(
                f"cannot listen on {address(host, port)}: {reason}{who or ';'} choose another with --{name}-port"
            ) from error


def holder(port: int) -> int | None:
    """Number of a process that listens on a TCP port; None where it is another user's, or the system has no /proc."""
    sockets = _listening(port)
    for process in _PROC.glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or belongs to another user
            for file in (process / "fd").iterdir():
                with suppress(OSError):
                    link = _SOCKET.fullmatch(os.readlink(file))
                    if link is not None and link[1] in sockets:
                        return int(process.name)
    return None


def _listening(port: int) -> set[str]:
    """Inodes of the sockets that listen on a port, at whatever address."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()  # number, local address:port, remote one, state, ..., inode
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(fields[9])
    return inodes


def _who(process: int) -> str:
    """What a process is, and how it ends: a server comes back as long as its supervisor runs."""
    supervisor = _supervisor(process)
    if supervisor is None:
        return f"process {process} ({_name(process)}): `kill {process}` ends it"
    return (
        f"process {process} ({_name(process)}), which `parsing-rcnn triton` keeps as process {supervisor}: "
        f"`kill {supervisor}` ends both"
    )


def _supervisor(process: int) -> int | None:
    """Number of the `parsing-rcnn triton` that started a process; None where something else did."""
    with suppress(OSError):  # one of them has ended
        parent = int((_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()[1])
        command = os.fsdecode((_PROC / str(parent) / "cmdline").read_bytes()).split("\0")
        if any(Path(one).name in _COMMANDS and other == "triton" for one, other in pairwise(command)):
            return parent
    return None


def _name(process: int) -> str:
    with suppress(OSError):
        return (_PROC / str(process) / "comm").read_text().strip()
    return "it has just ended"
