"""The three ports of a tritonserver: free, or whose?"""

from __future__ import annotations

import errno
import os
import re
import socket
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import combinations, pairwise
from pathlib import Path

from parsing_rcnn.errors import EngineUnavailable, InvalidOptions
from server.settings import address
from server.supervisor.processes import PROC, command_of, parent_of

_LISTENING = "0A"  # state of a socket in /proc/net/tcp
_COMMANDS = ("parsing-rcnn", "parsing_rcnn")  # installed, and as `python -m`
_OF_THE_PORT = (errno.EADDRINUSE, errno.EACCES)  # another port may be free, or need no rights
_CLAIM = "\0parsing-rcnn-triton-{port}"
_SOCKET = re.compile(r"socket:\[(\d+)\]")


def numbered(host: str, port: int) -> str:
    """The number of an address that may be a name, for which Triton's HTTP library would listen on 255.255.255.255.

    Of several it is the first of IPv4, if there is one: the gateway takes a name for that, too.

    Raises:
        EngineUnavailable: the name is nobody's.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # the latter: a name with an empty or very long part
        reason = str(error.strerror) if isinstance(error, OSError) else "it is no name"
        raise EngineUnavailable(
            f"cannot listen on {address(host, port)}: {reason}; choose another with --host"
        ) from error
    families = [family for family, *_ in found]
    return str(found[families.index(socket.AF_INET) if socket.AF_INET in families else 0][4][0])


def refuse_taken(host: str, ports: Mapping[str, int]) -> None:
    """Refuse to start where another server holds one of the ports: it would answer in place of this one.

    Args:
        host: address to listen on, as a number.
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
            remedy = f"--{name}-port" if error.errno in _OF_THE_PORT else "--host"
            raise EngineUnavailable(
                f"cannot listen on {address(host, port)}: {reason}{who or ';'} choose another with {remedy}"
            ) from error


@contextmanager
def claimed(ports: Mapping[str, int]) -> Iterator[None]:
    """Keep the ports from other supervisors: servers take them only when they have loaded, a minute after their start.

    Each has a socket whose name tells the port. Linux frees the name when the process ends, whatever ends it.

    Args:
        ports: as in `refuse_taken`.

    Raises:
        EngineUnavailable: another supervisor has claimed one; the message names its process, where that can be told.
    """
    with ExitStack() as claims:
        for name, port in ports.items() if sys.platform == "linux" else ():
            claim = claims.enter_context(socket.socket(socket.AF_UNIX))
            try:
                claim.bind(_CLAIM.format(port=port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:  # no such names here
                    continue
                process = next(_holders(_claims(port)), None)
                who = "" if process is None else f" as process {process}: `kill {process}` ends it, or"
                raise EngineUnavailable(
                    f"port {port} is another `parsing-rcnn triton`'s, which runs{who or ';'} choose another with "
                    f"--{name}-port"
                ) from error
        yield


def holder(port: int) -> int | None:
    """Number of a process that listens on a TCP port; None where it is another user's, or the system has no /proc."""
    return next(_holders(_listening(port)), None)


def is_held_by(port: int, session: int) -> bool:
    """Whether a process of this session listens on a TCP port that somebody listens on; also where nobody can tell."""
    sockets = _listening(port)
    if not sockets or not os.access(PROC / str(session) / "fd", os.R_OK):
        return True
    for process in _holders(sockets):
        with suppress(ProcessLookupError):
            if os.getsid(process) == session:
                return True
    return False


def _holders(sockets: Collection[str]) -> Iterator[int]:
    """Numbers of the processes that have one of these sockets, without those of other users."""
    for process in PROC.glob("[0-9]*") if sockets else ():
        with suppress(OSError):  # it has ended, or belongs to another user
            if any(_inode(file) in sockets for file in (process / "fd").iterdir()):
                yield int(process.name)


def _inode(file: Path) -> str | None:
    """Inode of the socket that a file of a process is; None if it is none."""
    with suppress(OSError):
        link = _SOCKET.fullmatch(os.readlink(file))
        return None if link is None else link[1]
    return None


def _claims(port: int) -> set[str]:
    """Inodes of the sockets that claim a port."""
    with suppress(OSError):
        lines = (PROC / "net" / "unix").read_text().splitlines()
        own = "@" + _CLAIM.format(port=port)[1:]
        return {fields[6] for line in lines if (fields := line.split())[-1] == own}
    return set()


def _listening(port: int) -> set[str]:
    """Inodes of the sockets that listen on a port, at whatever address."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (PROC / "net" / table).read_text().splitlines()[1:]:
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
        parent = parent_of(process)
        if any(Path(one).name in _COMMANDS and other == "triton" for one, other in pairwise(command_of(parent))):
            return parent
    return None


def _name(process: int) -> str:
    with suppress(OSError):
        return (PROC / str(process) / "comm").read_text().strip()
    return "it has just ended"
