"""`timeout` of the clients for threads, at a server whose answers never end: each of its bytes comes soon enough."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest

from parsing_rcnn.errors import DeadlineExceeded
from parsing_rcnn_client import Client
from parsing_rcnn_client.sdk.deadlines import Transport, until
from parsing_rcnn_client.sdk.gateway import Gateway

BYTES = 600  # a minute of them
HEAD = b"HTTP/1.1 200 OK\r\nX-Slow: "
BODY = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BYTES


@contextmanager
def dripping(begin: bytes) -> Iterator[tuple[str, list[bool]]]:
    """A server that sends this at once and then a byte every tenth of a second: its address, and of each connection
    whether it was kept until all were sent.
    """
    ended: list[bool] = []
    stopped = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65_536)
                connection.sendall(begin)
                for _ in range(BYTES):
                    if stopped.wait(0.1):
                        break
                    connection.sendall(b"a")
                ended.append(True)
            except OSError:  # who asked has gone
                ended.append(False)

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=answer, args=(connection,))
            thread.start()
            threads.append(thread)

    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", ended
            for thread in threads:
                thread.join()
        finally:
            stopped.set()
            listening.shutdown(socket.SHUT_RDWR)
            serving.join()


@pytest.mark.parametrize("begin", [HEAD, BODY], ids=["head", "body"])
def test_a_gateway_whose_answer_drips_is_too_late(begin: bytes) -> None:
    with dripping(begin) as (url, ended):
        with Client(Gateway(url, timeout=1)) as client, pytest.raises(DeadlineExceeded, match="no answer in time"):
            client.analyze(b"picture")
        with Client.connect(url, 1) as client, pytest.raises(DeadlineExceeded):
            _ = client.info
    assert ended
    assert not any(ended)


@pytest.mark.parametrize("begin", [HEAD, BODY], ids=["head", "body"])
def test_a_triton_whose_answer_drips_is_too_late(begin: bytes) -> None:
    pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
    with dripping(begin) as (url, ended), Client.triton(url, 1) as client:
        with pytest.raises(DeadlineExceeded, match="no answer in time"):
            client.analyze(b"picture")
        with pytest.raises(DeadlineExceeded):
            _ = client.info
    assert ended
    assert not any(ended)


def test_a_deadline_is_of_its_block_and_thread() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    def serve() -> None:
        for _ in range(2):
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

    def get() -> str:
        return http.get(url, timeout=60).text

    found: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        serving = threading.Thread(target=serve)
        serving.start()
        with httpx2.Client(transport=Transport(httpx2.Limits(max_keepalive_connections=0))) as http, until(0):
            other = threading.Thread(target=lambda: found.append(get()))
            other.start()
            other.join()
            with pytest.raises(httpx2.TimeoutException, match="the deadline has passed"):
                get()
        serving.join()
        assert found == ["ok"]
