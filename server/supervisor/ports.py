"""The three ports of a tritonserver: free, or held by whom?"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from parsing_rcnn.errors import EngineUnavailable
from server.settings import address

_PROC = Path("/proc")
_LISTENING = "0A"  # state of a socket in /proc/net/tcp
_SOCKET = re.compile(r"socket:\[(\d+)\]")


def refuse_taken(host: str, ports: Mapping[str, int]) -> None:
    """Refuse to start where another server holds one of the ports: it would answer in place of this one.

    Args:
        host: address to listen on.
        ports: "http", "grpc" and "metrics", each with its number.

    Raises:
        EngineUnavailable: nobody can listen there; the message names the process that does, where that can be told.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for name, port in ports.items():
        try:
            socket.create_server((host, port), family=family).close()
        except OSError as error:
            process = holder(port) if error.errno == errno.EADDRINUSE else None
            who = "" if process is None else f" by process {process} ({_name(process)}): `kill {process}` ends it, or"
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


def _name(process: int) -> str:
    with suppress(OSError):
        return (_PROC / str(process) / "comm").read_text().strip()
    return "it has just ended"
