"""Callers who give up: a request that is cancelled while it is computed kills Triton 2.51, so none of ours ever is."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import httpx2
import pytest

from benchmarks.frames import drawn_person
from parsing_rcnn.errors import DeadlineExceeded, EngineUnavailable
from parsing_rcnn_client.sdk.triton import Triton
from server.settings import Settings
from tests.server.conftest import Live
from tests.server.helpers import until
from tests.server.triton.conftest import Running

PATIENCE = (0.4, 0.7, 0.95, 1.3, 1.7, 2.5)  # of what a call takes alone: in a queue, in the midst of a model, between
CALLS = 100  # the server was gone after 11 to 76 when they were cancelled there


@pytest.fixture(scope="module")
def photo() -> bytes:
    return bytes(cv2.imencode(".jpg", cv2.resize(drawn_person(), None, fx=3, fy=3))[1].tobytes())


def impatient(call: Callable[[float], bool]) -> int:
    """Three callers at a time, as patient as this machine is fast; how many calls were late."""
    took = min(alone(call) for _ in range(5))

    def in_time(share: float) -> bool:
        nonlocal took
        begin = time.perf_counter()
        found = call(took * share)
        if found:  # it may have become faster, as others on it have ended
            took = min(took, time.perf_counter() - begin)
        return found

    with ThreadPoolExecutor(3) as callers:
        return CALLS - sum(callers.map(in_time, itertools.islice(itertools.cycle(PATIENCE), CALLS)))


def alone(call: Callable[[float], bool]) -> float:
    started = time.perf_counter()
    assert call(60)
    return time.perf_counter() - started


def outlived(triton: Running, photo: bytes, trial: Callable[[], None]) -> None:
    """The server outlives one of three trials. Of cancelled calls it dies in each; of itself once in thousands of
    calls, in the same place (`TRITONBACKEND_ResponseSend`), when a connection is closed behind its last answer."""
    for further in (True, True, False):
        pid = triton.supervisor.pid
        try:
            trial()
        except (AssertionError, EngineUnavailable):
            if triton.supervisor.pid == pid and is_there(triton, photo):  # then the fault is another
                raise
        if triton.supervisor.pid == pid and is_there(triton, photo):
            return
        assert further, "the server ended in each of three trials"
        until(lambda: is_there(triton, photo), 300)


def is_there(triton: Running, photo: bytes) -> bool:
    client = Triton(f"grpc://{triton.grpc}", retry=False)
    try:
        return len(client.analyze(photo)) > 0
    except EngineUnavailable:
        return False
    finally:
        client.close()


@pytest.mark.parametrize("shared", [False, True], ids=["connection", "shared memory"])
def test_late_and_lost_callers_of_a_gateway_cost_nobody_the_server(triton: Running, photo: bytes, shared: bool) -> None:
    outlived(triton, photo, lambda: late_and_lost(triton, photo, shared=shared))


def late_and_lost(triton: Running, photo: bytes, *, shared: bool) -> None:
    settings = Settings(engine="triton", triton_url=triton.grpc, triton_shared_memory=shared)
    with Live(settings, None) as live, httpx2.Client(base_url=f"http://{live.address}", timeout=60) as client:

        def in_time(seconds: float) -> bool:
            return ask(client, photo, {"X-Timeout-Ms": str(int(1000 * seconds))}).status_code == 200

        def hangs_up(seconds: float) -> bool:
            head = f"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(photo)}\r\n\r\n".encode()
            with socket.create_connection(("127.0.0.1", live.port)) as connection:
                connection.settimeout(seconds)
                try:
                    connection.sendall(head + photo)
                    return bool(connection.recv(1))
                except TimeoutError:
                    return False

        assert impatient(in_time) > CALLS / 3
        assert impatient(hangs_up) > CALLS / 3
        (upstream,) = live.app.state.engine._upstreams
        assert ask(client, photo, {}).status_code == 200
    assert not upstream.requests  # whatever they left has come to an end before the connection had
    assert upstream.in_flight == 0


def ask(client: httpx2.Client, photo: bytes, headers: dict[str, str]) -> httpx2.Response:
    return client.post("/v1/analyze", content=photo, headers={"Content-Type": "image/jpeg", **headers})


def test_a_late_caller_of_its_own_costs_nobody_the_server(triton: Running, photo: bytes) -> None:
    def in_time(seconds: float) -> bool:
        client = Triton(f"grpc://{triton.grpc}", timeout=seconds, retry=False)
        try:
            client.analyze(photo)
        except DeadlineExceeded:
            return False
        finally:
            client.close()
        return True

    def trial() -> None:
        assert impatient(in_time) > CALLS / 3

    outlived(triton, photo, trial)
