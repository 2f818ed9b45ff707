"""What one connection may take: headers, time, answers that nobody reads, and room for the next one."""

from __future__ import annotations

import io
import json
import re
import socket
import struct
import time
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from structlog.testing import capture_logs
from structlog.typing import EventDict

from parsing_rcnn.analyzer import Options
from parsing_rcnn.people import People
from server.connection import ConnectionLimits
from server.settings import Settings
from tests.server.clock import Clock
from tests.server.conftest import Live, Slow
from tests.server.helpers import answered, metric, post, until

LIMITS = ConnectionLimits(
    connections=30, head_seconds=0.6, head_bytes=8192, fields=1000, read_seconds=0.5, linger_seconds=0.5
)
NPZ = "Accept: application/x-npz\r\n"
QUERY = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def clock() -> Clock:
    """Of `strict`."""
    return Clock()


@pytest.fixture(scope="module")
def strict(clock: Clock) -> Iterator[Live]:
    """A gateway that loses patience soon."""
    slow = Slow()
    slow.gate.set()
    with Live(Settings(), lambda: slow, LIMITS, clock=clock) as running:
        yield running


def come(live: Live, *sizes: int) -> None:
    """Wait until so many bytes of heads without end have come over the connections, one each."""
    until(lambda: sorted(each._head for each in list(live.server.server_state.connections)) == sorted(sizes))  # type: ignore[union-attr]


def closed(lines: list[EventDict]) -> list[EventDict]:
    """What the log says of connections that the gateway let go."""
    return [line for line in lines if line["event"] == "closed"]


def drained(live: Live) -> None:
    """Wait until every connection is gone, and all is done that was asked over them."""
    state = live.server.server_state
    until(lambda: not state.connections and not state.tasks)


def opened(live: Live, text: str = "") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", live.port), timeout=60)
    connection.sendall(text.encode())
    return connection


def everything(connection: socket.socket) -> bytes:
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    connection.close()
    return received


def problem(answer: bytes, status: int, code: str) -> dict[str, object]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer[:300]
    assert b"content-type: application/problem+json" in head
    assert b"x-content-type-options: nosniff" in head
    assert b"connection: close" in head
    document = json.loads(body)
    assert document["type"] == f"urn:parsing-rcnn:{code}"
    assert f"x-request-id: {document['request_id']}".encode() in head
    return document  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "more",
    [
        "X-A: " + "a" * 9000,
        "".join(f"X-{k}: abcdefgh\r\n" for k in range(600)),
        "".join(f"X-{k}: abcdefgh\r\n" for k in range(600)) + "\r\n",
    ],
    ids=["one without end", "many without end", "many, complete"],
)
def test_headers_have_a_size(strict: Live, more: str) -> None:
    document = problem(everything(opened(strict, QUERY + more)), 431, "headers-too-large")
    assert "the limit is 8192" in str(document["detail"])


def test_there_may_be_so_many_of_them(live: Live) -> None:
    """Each takes more memory than its bytes."""
    head, few = f"{QUERY}Connection: close\r\n", "".join(f"a{k}:b\r\n" for k in range(126))
    assert everything(opened(live, f"{head}{few}\r\n")).startswith(b"HTTP/1.1 200")
    document = problem(everything(opened(live, f"{head}{few}a:b\r\n\r\n")), 431, "headers-too-large")
    assert "more than 128 headers" in str(document["detail"])


def test_an_address_is_part_of_them(strict: Live) -> None:
    problem(everything(opened(strict, f"GET /healthz?{'a' * 9000} HTTP/1.1\r\n\r\n")), 431, "headers-too-large")


def test_trailers_are_headers(strict: Live, photo_jpeg: bytes) -> None:
    head = "POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection = opened(strict, head + f"{len(photo_jpeg):x}\r\n")
    connection.sendall(photo_jpeg + b"\r\n0\r\n" + b"".join(b"X-%d: abcdefgh\r\n" % k for k in range(600)))
    problem(everything(connection), 431, "headers-too-large")


def test_large_bodies_are_no_headers(strict: Live, photo_jpeg: bytes) -> None:
    assert len(photo_jpeg) > 4 * LIMITS.head_bytes
    connection = post(strict, photo_jpeg, "Connection: close\r\nX-A: " + "a" * 7000 + "\r\n")
    assert everything(connection).startswith(b"HTTP/1.1 200")


def test_headers_must_end(strict: Live, clock: Clock) -> None:
    drained(strict)
    slow, silent = opened(strict, QUERY), opened(strict)
    come(strict, len(QUERY), 0)
    letters = b"X-Slow: abc"
    for number, letter in enumerate(letters, 1):  # a byte now and then is not enough
        slow.send(bytes([letter]))
        come(strict, len(QUERY) + number, 0)
        clock.forward(LIMITS.head_seconds / len(letters))
    problem(everything(slow), 408, "upload-timeout")
    assert everything(silent) == b""
    drained(strict)
    again = opened(strict, QUERY + "\r\n")
    assert answered(again).startswith(b"HTTP/1.1 200")
    again.sendall(b"GET /heal")  # the second request of a connection has no more time than the first
    come(strict, len(b"GET /heal"))
    clock.forward(LIMITS.head_seconds)
    problem(everything(again), 408, "upload-timeout")


def test_who_leaves_before_a_head_ends_is_refused_nothing(strict: Live, clock: Clock) -> None:
    def refusals() -> float | None:
        return strict.app.state.metrics.registry.get_sample_value("parsing_rcnn_answers_total", {"status": "408"})

    drained(strict)
    before = refusals()
    with capture_logs() as lines:
        leaving = opened(strict, QUERY)
        come(strict, len(QUERY))
        leaving.close()
        drained(strict)
        clock.forward(2 * LIMITS.head_seconds)
    assert [line for line in lines if line["event"] == "refused"] == []
    assert refusals() == before


def test_between_requests_there_is_more_time(strict: Live, clock: Clock) -> None:
    with opened(strict, QUERY + "\r\n") as connection:
        for _ in range(2):
            assert answered(connection).startswith(b"HTTP/1.1 200")
            clock.forward(2 * LIMITS.head_seconds)
            connection.sendall((QUERY + "\r\n").encode())
        assert answered(connection).startswith(b"HTTP/1.1 200")


def test_the_next_request_may_begin_while_one_is_in_work(photo_jpeg: bytes) -> None:
    slow, clock = Slow(), Clock()
    with Live(Settings(), lambda: slow, LIMITS, clock=clock) as live:
        connection = post(live, photo_jpeg)
        assert slow.begun.acquire(timeout=60)
        connection.sendall(b"GET /heal")
        come(live, len(b"GET /heal"))
        clock.forward(2 * LIMITS.head_seconds)
        slow.gate.set()
        assert answered(connection).startswith(b"HTTP/1.1 200")
        connection.sendall(b"thz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b'{"status":"ok"}' in everything(connection)


def test_what_is_no_http_is_told_so(strict: Live) -> None:
    for bytes_ in ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "HELO there\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"):
        with capture_logs() as lines:
            document = problem(everything(opened(strict, bytes_)), 400, "malformed-request")
        assert "HTTP/1.1" in str(document["detail"])
        assert [(line["event"], line["status"]) for line in lines] == [("refused", 400)]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (
            "POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "Content-Length",
        ),
        ("POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "chunk size"),
        ("GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1"),
        ("CONNECT x:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1"),
    ],
    ids=["two lengths", "no chunk", "no address", "a tunnel"],
)
def test_bad_requests_are_told_what_is_bad(strict: Live, sent: str, reason: str) -> None:
    document = problem(everything(opened(strict, sent)), 400, "malformed-request")
    assert reason in str(document["detail"])
    assert "TLS" not in str(document["detail"])


@pytest.mark.parametrize(
    "head",
    [
        "GET /healthz HTTP/1.1\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\nhost: evil.example\r\n",
        "GET /healthz HTTP/1.0\r\nHost: localhost\r\nHost: localhost\r\n",
        "GET /healthz HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n",
        "GET /v1/stream HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
        "POST /v1/analyze HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
    ],
    ids=["none", "two", "two that differ", "two in 1.0", "none, another protocol", "none, a stream", "none, a body"],
)
def test_a_request_has_one_host(strict: Live, head: str) -> None:
    document = problem(everything(opened(strict, head + "\r\n")), 400, "malformed-request")
    assert "headers `Host`" in str(document["detail"])


def test_old_probes_name_no_host(strict: Live) -> None:
    for head in (
        "GET /healthz HTTP/0.9\r\n",
        "GET /healthz HTTP/1.0\r\n",
        "GET /healthz HTTP/1.0\r\nHost: localhost\r\n",
    ):
        assert everything(opened(strict, head + "\r\n")).startswith(b"HTTP/1.1 200")


HEAD = "POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("HELO there\r\n\r\n", 400),
        ("CONNECT x:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("CONNECT /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (QUERY + "X-A: " + "a" * 9000, 431),
        (QUERY, 408),
        ("GET /healthz HTTP/1.1\r\n\r\n", 400),
        (HEAD + "xyz\r\n", 400),
        (HEAD + "0\r\n" + "X-A: abcdefgh\r\n" * 600, 431),
    ],
    ids=[
        "no HTTP",
        "a tunnel",
        "a tunnel to a page",
        "a long header",
        "half a head",
        "no host",
        "no chunk",
        "many trailers",
    ],
)
def test_what_the_connection_refuses_is_counted_once(strict: Live, clock: Clock, sent: str, status: int) -> None:
    def counts() -> dict[str, float]:
        (found,) = strict.app.state.metrics.answers.collect()
        return {s.labels["status"]: s.value for s in found.samples if s.name.endswith("_total")}

    drained(strict)
    before = counts()
    with capture_logs() as lines:
        connection = opened(strict, sent)
        if status == 408:
            come(strict, len(sent))
            clock.forward(LIMITS.head_seconds)
        answer = everything(connection)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        until(lambda: sum(counts().values()) > sum(before.values()))
        drained(strict)  # and with it what would be counted besides
    assert {s: n - before.get(s, 0) for s, n in counts().items() if n != before.get(s, 0)} == {str(status): 1}
    assert {line["status"] for line in lines if "status" in line} == {status}
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    said = {(line["code"], line["detail"]) for line in lines if "status" in line}
    assert said == {(told["type"].rpartition(":")[2], told["detail"])}
    identities = {line["request_id"] for line in lines if "request_id" in line}
    assert identities == {json.loads(answer.partition(b"\r\n\r\n")[2])["request_id"]}


def test_a_bad_body_behind_a_request_in_work_ends_both(photo_jpeg: bytes) -> None:
    slow = Slow()
    with Live(Settings(), lambda: slow, LIMITS, clock=Clock()) as live, capture_logs() as lines:

        def counts() -> dict[str, float]:
            (found,) = live.app.state.metrics.answers.collect()
            return {s.labels["status"]: s.value for s in found.samples if s.name.endswith("_total") and s.value}

        connection = post(live, photo_jpeg)
        assert slow.begun.acquire(timeout=60)
        connection.sendall((HEAD + "xyz\r\n").encode())
        problem(everything(connection), 400, "malformed-request")
        slow.gate.set()
        until(lambda: sum(counts().values()) >= 2)
        drained(live)  # and with it what would be counted besides
        assert counts() == {"400": 1, "499": 1}
    assert not [line for line in lines if line["log_level"] == "error"]


def test_a_request_without_host_is_refused_behind_the_answers_to_those_before_it(photo_jpeg: bytes) -> None:
    slow = Slow()
    with Live(Settings(), lambda: slow, LIMITS, clock=Clock()) as live:
        connection = post(live, photo_jpeg)
        assert slow.begun.acquire(timeout=60)
        (own,) = live.server.server_state.connections
        models = QUERY.replace("/healthz", "/v1/models")
        connection.sendall(f"{models}\r\nGET /healthz HTTP/1.1\r\n\r\n{QUERY}\r\n".encode())
        until(lambda: own._last is not None)  # type: ignore[union-attr]
        connection.sendall((QUERY + "\r\n").encode())  # nobody answers what comes behind it
        slow.gate.set()
        answers = everything(connection)
        drained(live)  # and with it what would be counted besides
        (found,) = live.app.state.metrics.answers.collect()
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"200", b"400"]
    document = problem(answers[answers.rindex(b"HTTP/1.1 ") :], 400, "malformed-request")
    assert "headers `Host`" in str(document["detail"])
    counted = {s.labels["status"]: s.value for s in found.samples if s.name.endswith("_total") and s.value}
    assert counted == {"200": 2, "400": 1}


def test_who_is_refused_may_send_the_rest_and_reads_why() -> None:
    """Though so much of the body was there that no more of it was read."""
    with Live(Settings(), Slow, ConnectionLimits(linger_seconds=30)) as live:
        connection = opened(live, HEAD)
        connection.sendall(b"%x\r\n" % 100_000 + bytes(100_000) + b"\r\nxyz\r\n" + bytes(16_000_000))
        problem(everything(connection), 400, "malformed-request")


def test_a_refusal_is_not_put_into_an_answer_that_has_begun() -> None:
    live = Live(Settings(), Slow, ConnectionLimits(linger_seconds=30))
    live.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)  # else the system holds the answer
    with live:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", live.port))
        connection.sendall(b"GET /docs-assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"
        connection.sendall(b"HELO there\r\n\r\n")
        received = everything(connection)
        assert 0 < len(received) < 1_000_000  # it was cut short
        assert b"malformed-request" not in received


OFFER = "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\nUpgrade: h2c\r\n"


@pytest.mark.parametrize("cut", ["in one piece", "behind the head", "in the offer"])
def test_an_offer_of_http2_is_passed_over(strict: Live, photo_jpeg: bytes, cut: str) -> None:
    """Java's HttpClient and `curl --http2` make it, and send their body behind it."""
    head = f"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\n{OFFER}Content-Length: {len(photo_jpeg)}\r\n\r\n".encode()
    sent = head + photo_jpeg
    at = {"in one piece": 0, "behind the head": len(head), "in the offer": head.index(b"Upgrade: h2c") + 5}[cut]
    connection = opened(strict)
    connection.sendall(sent[:at])
    time.sleep(0.1 * (at > 0))
    connection.sendall(sent[at:])
    answer = answered(connection)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    connection.sendall((QUERY + OFFER + "Connection: close\r\n\r\n").encode())  # and the next one
    rest = everything(connection)
    assert rest.startswith(b"HTTP/1.1 200")
    assert b'{"status":"ok"}' in rest


@pytest.mark.parametrize("apart", [True, False])
def test_a_body_behind_an_offer_is_no_second_request(strict: Live, apart: bool) -> None:
    inner = QUERY + "X-Request-ID: smuggled\r\n\r\n"
    connection = opened(
        strict, f"POST /readyz HTTP/1.1\r\nHost: localhost\r\n{OFFER}Content-Length: {len(inner)}\r\n\r\n"
    )
    time.sleep(0.1 * apart)
    connection.sendall((inner + QUERY + "Connection: close\r\n\r\n").encode())
    answers = everything(connection)
    assert b"smuggled" not in answers
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"405", b"200"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_stream_has_no_body(strict: Live, method: str) -> None:
    offer = "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    head = f"{method} /v1/models HTTP/1.1\r\nHost: localhost\r\n{offer}Content-Length: 5\r\n\r\n"
    answer = everything(opened(strict, head + "hello"))
    assert answer.startswith(b"HTTP/1.1 200" if method == "GET" else b"HTTP/1.1 405")


def test_a_stream_begins_with_a_get(strict: Live) -> None:
    offer = "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    answer = everything(opened(strict, f"POST /v1/models HTTP/1.1\r\nHost: localhost\r\n{offer}\r\n"))
    problem(answer, 405, "method-not-allowed")


def test_a_stream_whose_handshake_says_that_it_has_no_body(strict: Live) -> None:
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    head = (
        f"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n{upgrade}Sec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n"
    )
    with opened(strict, head) as connection:
        assert connection.recv(4000).startswith(b"HTTP/1.1 101")


def test_many_offers_in_one_piece(strict: Live) -> None:
    asked = 32
    offers = (QUERY + OFFER + "\r\n") * asked + QUERY + "Connection: close\r\n\r\n"
    answers = everything(opened(strict, offers))
    assert answers.count(b"HTTP/1.1 200") == asked + 1


@pytest.mark.parametrize("header", ["", "Connection: close\r\n"], ids=["kept", "closed"])
def test_a_refused_body_is_not_read_for_ever(strict: Live, clock: Clock, header: str) -> None:
    connection = post(strict, b"", header, declared=10**9)
    assert answered(connection).startswith(b"HTTP/1.1 413")
    connection.sendall(bytes(65536))
    clock.forward(LIMITS.linger_seconds)
    end = time.monotonic() + 60
    try:
        while time.monotonic() < end:
            connection.sendall(bytes(65536))
            time.sleep(0.02)
        pytest.fail("it is still read")
    except OSError:  # reset, or a broken pipe
        connection.close()


class Talkative(Slow):
    """Answers with more than a socket holds by itself."""

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        if not isinstance(image, bytes):
            return super().analyze(image, options)
        count, random = 64, np.random.default_rng(0)
        boxes = np.tile(np.array([0, 0, 900, 900], np.float32), (count, 1))
        iuv = random.integers(1, 25, (count, 3, 128, 128), np.uint8)
        return People(boxes, np.ones(count, np.float32), (900, 900), iuv=iuv)


def asking(live: Live, photo_jpeg: bytes) -> socket.socket:
    """A connection that holds little by itself, with a request on its way."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", live.port))
    head = f"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\n{NPZ}Content-Length: {len(photo_jpeg)}\r\n\r\n"
    connection.sendall(head.encode() + photo_jpeg)
    return connection


def test_who_does_not_read_is_let_go(photo_jpeg: bytes) -> None:
    clock = Clock()
    live = Live(Settings(), Talkative, LIMITS, clock=clock)
    live.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)  # else the system holds the answer
    with live:
        with capture_logs() as lines:
            connection = asking(live, photo_jpeg)
            connection.recv(1, socket.MSG_PEEK)  # it has begun
            until(lambda: closed(lines) or clock.forward(LIMITS.read_seconds))
        assert "bytes were read" in closed(lines)[0]["reason"]
        connection.close()
        until(lambda: metric(live, "parsing_rcnn_held") == 0)
        patient = post(live, photo_jpeg, NPZ + "Connection: close\r\n")  # who reads slowly, but reads, gets all of it
        received = b""
        while piece := patient.recv(262144):
            received += piece
            clock.forward(0.05)
        patient.close()
        with np.load(io.BytesIO(received.partition(b"\r\n\r\n")[2])) as arrays:
            assert arrays["iuv"].shape == (64, 3, 128, 128)


def test_who_begins_to_read_must_go_on(photo_jpeg: bytes) -> None:
    clock = Clock()
    live = Live(Settings(), Talkative, LIMITS, clock=clock)
    live.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    with live, capture_logs() as lines, asking(live, photo_jpeg) as connection:
        wanted = 300_000  # of 2 MB
        while wanted > 0:
            wanted -= len(connection.recv(wanted))
        until(lambda: closed(lines) or clock.forward(LIMITS.read_seconds))


class Nobody(Slow):
    """Finds nobody in a picture of 700 x 700."""

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        return People(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), (700, 700))


def streaming(live: Live, buffered: int = 4096) -> socket.socket:
    """A stream whose first frame is sent, and whose answer of 1.5 MB has begun to come."""
    noise, buffer = np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8), io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffered)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", live.port))
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    head = f"GET /v1/stream?render=overlay HTTP/1.1\r\nHost: localhost\r\n{upgrade}Sec-WebSocket-Version: 13\r\n\r\n"
    connection.sendall(head.encode())
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        received += connection.recv(1)
    assert received.startswith(b"HTTP/1.1 101")
    payload = bytes(8) + buffer.getvalue()  # with a mask of zeros
    connection.sendall(b"\x82\xff" + struct.pack(">QI", len(payload), 0) + payload)
    assert connection.recv(2) == b"\x82\x7f"  # binary, of 64 KiB or more
    return connection


def test_streams_that_are_not_read_are_let_go() -> None:
    clock = Clock()
    live = Live(Settings(max_streams=2), Nobody, LIMITS, clock=clock)
    live.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    with live:
        with capture_logs() as lines:
            sleepers = [streaming(live) for _ in range(2)]
            sleepers[1].sendall(b"\x88\x80\0\0\0\0")  # says that it closes, and does not read either
            until(lambda: len(closed(lines)) == 2 or clock.forward(LIMITS.read_seconds))
        until(lambda: metric(live, "parsing_rcnn_streams") == 0)
        until(lambda: not live.server.server_state.connections)
        patient = streaming(live, 131072)  # who reads slowly, but reads, gets all of it
        received = b""
        while len(received) < 8 or len(received) < 8 + struct.unpack_from(">Q", received)[0]:
            piece = patient.recv(65536)
            assert piece
            received += piece
            clock.forward(0.03)
        assert Image.open(io.BytesIO(received[16:])).size == (700, 700)
        for each in (patient, *sleepers):
            each.close()


@pytest.mark.parametrize("stream", [False, True], ids=["a request", "a stream"])
def test_who_reads_a_little_now_and_then_is_let_go(photo_jpeg: bytes, stream: bool) -> None:
    """Less than 64 KiB in half a second, here half of it: at that pace an answer of 1.5 MB would take half a minute."""
    clock = Clock()
    live = Live(Settings(), Nobody if stream else Talkative, LIMITS, clock=clock)
    live.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # else it is taken in pieces that are as large
    with live, capture_logs() as lines:
        connection = streaming(live) if stream else asking(live, photo_jpeg)
        received, pace = 0, 64 * 1024  # bytes a second
        while received < 500_000 and not closed(lines):
            try:
                piece = connection.recv(2048)
            except ConnectionResetError:
                break
            received += len(piece)
            clock.forward(len(piece) / pace)
        until(lambda: closed(lines))
        connection.close()
    assert [line["reason"] for line in closed(lines)] == ["in 0.5 s less than 65536 bytes were read"]
    assert 0 < received < 500_000


def test_the_silent_make_room(strict: Live, photo_jpeg: bytes) -> None:
    silent = [opened(strict) for _ in range(LIMITS.connections)]
    answers = [everything(post(strict, photo_jpeg, "Connection: close\r\n")) for _ in range(5)]
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    for connection in silent:
        connection.close()


def test_the_setting_says_how_many_connections_there_are() -> None:
    with Live(Settings(max_connections=16), Slow, clock=Clock()) as live:
        silent = [opened(live)]
        come(live, 0)
        silent += [opened(live) for _ in range(15)]
        assert everything(opened(live, QUERY + "Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert everything(silent[0]) == b""  # though its time to say something is not over
        for connection in silent[1:]:
            connection.close()


def test_the_one_that_was_silent_for_longest_makes_room() -> None:
    slow = Slow()
    slow.gate.set()
    limits = ConnectionLimits(connections=3)
    with Live(Settings(), lambda: slow, limits, clock=Clock()) as live:

        def used(connection: socket.socket) -> bool:
            connection.sendall((QUERY + "\r\n").encode())
            answer = b""
            try:  # to its end: until then it is not silent
                while not answer.endswith(b"}") and (piece := connection.recv(4000)):
                    answer += piece
            except ConnectionResetError:
                return False
            return answer.startswith(b"HTTP/1.1 200")

        kept = [opened(live) for _ in range(limits.connections)]
        for connection in (*kept, kept[0]):  # the first one opened is the last one used
            assert used(connection)
        newest = opened(live)
        assert used(newest)
        assert everything(kept[1]) == b""
        assert used(kept[2])
        assert used(kept[0])
        for connection in (*kept, newest):
            connection.close()


@pytest.mark.parametrize("refused", [False, True])
def test_a_connection_that_stays_silent_is_closed(refused: bool) -> None:
    """Also behind a body of which the rest came after its refusal."""
    slow, clock = Slow(), Clock()
    slow.gate.set()
    live = Live(Settings(), lambda: slow, LIMITS, clock=clock)
    live.server.config.timeout_keep_alive = 1
    with live:
        connection = opened(live, QUERY + "\r\n")
        assert answered(connection).startswith(b"HTTP/1.1 200")
        if refused:
            connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf")
            assert answered(connection).startswith(b"HTTP/1.1 404")
            (own,) = live.server.server_state.connections
            connection.sendall(b" of it")
            until(lambda: not own.cycle.more_body)  # type: ignore[union-attr]
        clock.forward(1)
        assert everything(connection) == b""  # until the gateway closes


def test_with_every_connection_at_work_the_next_one_is_refused(photo_jpeg: bytes) -> None:
    slow = Slow()
    limits = ConnectionLimits(connections=3)
    with Live(Settings(), lambda: slow, limits) as live:
        busy = [post(live, photo_jpeg) for _ in range(3)]
        assert slow.begun.acquire(timeout=60)
        until(lambda: live.app.state.service.admission.held == 3)
        answer = everything(opened(live, QUERY.replace("/healthz", "/v1/models") + "\r\n"))
        assert "3 connections" in str(problem(answer, 503, "busy")["detail"])
        assert b"\r\nretry-after: 1\r\n" in answer
        assert live.app.state.metrics.registry.get_sample_value("parsing_rcnn_answers_total", {"status": "503"}) == 1
        slow.gate.set()
        for connection in busy:
            assert connection.recv(4000).startswith(b"HTTP/1.1 200")
            connection.close()
