"""Servers for measurements: a gateway, and a Triton server, each started on free ports and ended again."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_READY = 180.0  # seconds


@dataclass(frozen=True)
class TritonServer:
    """Addresses of a server and the process id of its supervisor."""

    http: str
    grpc: str
    pid: int


@contextmanager
def gateway(arguments: Sequence[str] = ()) -> Iterator[tuple[int, int]]:
    """(port, process id) of a gateway that is ready.

    Args:
        arguments: further ones of `parsing-rcnn serve`.

    Raises:
        RuntimeError: it did not get ready; the message ends with what it said.
    """
    with socket.socket() as kept:  # nobody else gets the port before the gateway listens there
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        port = kept.getsockname()[1]
        with _running(["serve", "--port", str(port), *arguments], port, "/readyz") as pid:
            yield port, pid


@contextmanager
def triton_server(repository: Path | None = None) -> Iterator[TritonServer]:
    """A Triton server that is ready, with its supervisor.

    Raises:
        RuntimeError: it did not get ready; the message ends with what it said.
    """
    http_port, grpc, metrics = free_ports(3)
    ports = ["--http-port", str(http_port), "--grpc-port", str(grpc), "--metrics-port", str(metrics)]
    where = ["--repository", str(repository)] if repository else []
    with _running(["triton", *ports, *where], http_port, "/v2/models/human_analysis/ready") as pid:
        yield TritonServer(f"127.0.0.1:{http_port}", f"127.0.0.1:{grpc}", pid)


@contextmanager
def _running(command: Sequence[str], port: int, path: str) -> Iterator[int]:
    with tempfile.TemporaryFile("w+") as log:  # Triton writes hundreds of lines: they matter if it does not start
        process = subprocess.Popen([sys.executable, "-m", "parsing_rcnn", *command], stdout=log, stderr=log)

        def failure(reason: str) -> RuntimeError:
            log.seek(0)
            return RuntimeError(f"`parsing-rcnn {command[0]}` {reason}:\n{log.read()[-2000:]}")

        try:
            end = time.monotonic() + _READY
            while not _answers(port, path):
                if process.poll() is not None:
                    raise failure(f"ended with status {process.returncode}")
                if time.monotonic() > end:
                    raise failure(f"was not ready within {_READY:.0f} s")
                time.sleep(0.2)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise failure("did not end within 60 s of SIGTERM") from None


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def family(pid: int) -> list[int]:
    """A process and all that descend from it (Linux)."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        parents.setdefault(int(text.rsplit(")", 1)[1].split()[1]), []).append(int(path.parent.name))
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return found
