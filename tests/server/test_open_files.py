"""Where the system allows few open files, connections leave those that the gateway needs for itself."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress

from tests.server.test_stopping import Served, killed_in_the_end, serving, until

ALLOWED = 260
LIMITED = ("sh", "-c", f'ulimit -n {ALLOWED}; exec "$@"', "sh")


def alive(served: Served) -> bool:
    with suppress(OSError):
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        finally:
            connection.close()
    return False


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed it."""
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_connections_leave_files_for_the_gateway_itself() -> None:
    """No Triton is there: a hundred idle callers would be nothing to the 1000 that there may be by themselves."""
    gateway = serving(*LIMITED, PARSING_RCNN_ENGINE="triton", PARSING_RCNN_TRITON_URL="127.0.0.1:1")
    with gateway as served, killed_in_the_end(served), ExitStack() as stack:
        assert served.process.stderr is not None
        said = ""
        while "warning: 260 files" not in said:
            line = served.process.stderr.readline()
            assert line, said
            said += line
        assert "at most 60 connections at the same time instead of --max-connections 1000" in said
        threading.Thread(target=served.process.stderr.read, daemon=True).start()  # a full pipe would block it
        until(lambda: alive(served), 240)
        idle = []
        for _ in range(100):
            idle.append(stack.enter_context(socket.create_connection(("127.0.0.1", served.port))))
            idle[-1].setblocking(False)
        until(lambda: sum(map(is_closed, idle)) >= 40, 120)
        assert alive(served)
        assert sum(map(is_closed, idle)) <= 41  # one more made way for the last question


# a gateway that has no file left for a connection to Triton
_NONE_LEFT = """
import asyncio, os, resource, sys
from contextlib import suppress
from server.engines.triton import TritonEngine
from server.telemetry import configure_logging

async def main():
    configure_logging("json")
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    engine = TritonEngine(["127.0.0.1:1"], None, limit=1, timeout=1)
    await engine.start()
    with suppress(OSError):
        while True:
            os.open(os.devnull, os.O_RDONLY)
    while "open files" not in (engine.not_ready or ""):
        await asyncio.sleep(0.1)
    print(engine.not_ready)
    sys.stdout.flush()
    os._exit(0)

asyncio.run(main())
"""


def test_where_no_file_is_left_the_log_says_so_in_a_line() -> None:
    """Without what grpc has behind its message, which is no text."""
    command = [sys.executable, "-c", _NONE_LEFT]
    ended = subprocess.run(command, capture_output=True, check=True, timeout=240)
    assert ended.stdout.startswith(b"127.0.0.1:1: ")
    assert ended.stdout.endswith(b"Too many open files\n")
    assert b"triton gets no pictures" in ended.stderr
    assert b"Too many open files" in ended.stderr
    assert b"Invalid encoding" not in ended.stderr
    assert b"Traceback" not in ended.stderr
