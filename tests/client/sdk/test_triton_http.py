"""The Triton transport over HTTP, at a server whose first answers are cut; whole ones: tests/server/triton."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parsing_rcnn.errors import DeadlineExceeded, EngineUnavailable, InvalidOptions
from parsing_rcnn.taxonomy import MHP
from parsing_rcnn_client import Client, GatewayError
from tests.client.sdk.kserve import somebody

ROOT = Path(__file__).resolve().parents[3]

pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")

PICTURE = np.zeros((32, 32, 3), np.uint8)
STOPPING = "Server is stopping, scheduler for model has stopped accepting new inference requests"
SHAPES = {
    "BOXES": ("FP32", [0, 4]), "SCORES": ("FP32", [0]), "IMAGE_SIZE": ("INT32", [2]),
    "PARTS": ("UINT8", [0, 128, 128]), "PART_SCORES": ("FP32", [0, 20]), "IUV": ("UINT8", [0, 3, 128, 128]),
    "IUV_SCORES": ("FP32", [0, 25]),
}  # fmt: skip


def whole(status: int, document: object) -> bytes:
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return (head + "Connection: close\r\n\r\n").encode() + body


OUTPUTS = [
    {"name": name, "datatype": kind, "shape": shape, "data": [32, 32] if name == "IMAGE_SIZE" else []}
    for name, (kind, shape) in SHAPES.items()
]
NOBODY = whole(200, {"model_name": "human_analysis", "model_version": "1", "outputs": OUTPUTS})
SILENT = whole(
    200, {"name": "human_analysis"}
)  # the configuration, which is asked for first, and tells of no model card
BROKEN = {
    "closed before the answer": b"",
    "cut in its head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "cut in its body": whole(200, {"outputs": []})[:-4],
    "no HTTP": b"something else\r\n\r\n",
    "a server that ends": whole(503, {"error": STOPPING}),
}


@contextmanager
def answering(*answers: bytes, pieces: Mapping[int, int] | None = None) -> Iterator[tuple[str, list[str]]]:
    """A server that sends these bytes, the last for ever, and closes after each: its address and what was asked. The
    answer of a number in `pieces` comes in so many, a tenth of a second after each other.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append(self.path)
            number = len(asked) - 1
            answer, count = answers[min(number, len(answers) - 1)], (pieces or {}).get(number, 1)
            size = -(-len(answer) // count)
            with suppress(OSError):  # who asked has gone
                for at in range(0, max(len(answer), 1), size or 1):
                    time.sleep(0.1 if count > 1 else 0)
                    self.wfile.write(answer[at : at + size])
            self.close_connection = True

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_is_asked_again_and_has_a_type(broken: bytes) -> None:
    for answers in ((broken, broken, SILENT, NOBODY), (SILENT, broken, broken, NOBODY)):
        with answering(*answers) as (url, asked), Client.triton(url, timeout=30) as client:
            assert len(client.analyze(PICTURE)) == 0
            assert len(asked) == 4
    with answering(SILENT, broken) as (url, asked), Client.triton(url, timeout=30, retry=False) as client:
        with pytest.raises(EngineUnavailable, match="no answer"):
            client.analyze(PICTURE)
        assert len(asked) == 2
        with pytest.raises(EngineUnavailable, match="no answer"):
            _ = client.info


@pytest.mark.parametrize("model", [None, "accurate"])
@pytest.mark.parametrize("late", [0, 1], ids=["configuration", "people"])
def test_an_answer_that_drips_is_too_late_and_the_next_one_is_as_good_as_ever(model: str | None, late: int) -> None:
    """Four seconds of it are within every limit that is for one reading alone."""
    answers = [SILENT, NOBODY]
    answers.insert(late, answers[late])
    with answering(*answers, pieces={late: 40}) as (url, asked), Client.triton(url, 3, model=model) as client:
        with pytest.raises(DeadlineExceeded, match="no answer in time"):
            client.analyze(PICTURE)
        assert len(asked) == late + 1
        client.engine.timeout = 60  # type: ignore[attr-defined]
        assert len(client.analyze(PICTURE)) == 0
        assert len(asked) == 3


def test_all_that_info_asks_has_one_time() -> None:
    """Each of the four answers takes 0.4 s."""
    server, model = {"name": "triton", "version": "2.51.0"}, {"name": "human_parsing", "versions": ["1"]}
    answers = [whole(200, document) for document in (server, {}, {}, model)]
    with answering(*answers, pieces=dict.fromkeys(range(4), 4)) as (url, asked):
        with Client.triton(url, timeout=0.6) as client, pytest.raises(DeadlineExceeded, match="no answer in time"):
            _ = client.info
        assert len(asked) < 4


def test_a_refusal_ends_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    def told() -> int:
        return len([record for record in caplog.records if record.name == "parsing_rcnn_client"])

    unknown = whole(400, {"error": "Request for unknown model: 'human_analysis' is not found"})
    odd = whole(400, {"error": "unexpected inference input"})
    with (
        answering(SILENT, b"", b"", unknown, SILENT, b"", b"", odd, SILENT, b"", b"", NOBODY) as (url, _),
        Client.triton(url) as client,
    ):
        with pytest.raises(EngineUnavailable, match="has no such model"):
            client.analyze(PICTURE)
        assert told() == 1
        with pytest.raises(GatewayError, match="unexpected"):
            client.analyze(PICTURE)
        assert told() == 2
        assert len(client.analyze(PICTURE)) == 0
        assert told() == 3


def test_the_classes_are_those_that_it_says() -> None:
    outputs = [{**o, "shape": [0, 59]} if o["name"] == "PART_SCORES" else o for o in OUTPUTS]
    answer = whole(200, {"model_name": "human_analysis", "model_version": "1", "outputs": outputs})
    with answering(answer) as (url, _), Client.triton(url, timeout=30) as client:
        assert client.analyze(PICTURE).taxonomy is MHP
    server, model = {"name": "triton", "version": "2.51.0"}, {"name": "human_parsing", "versions": ["1"]}
    model["outputs"] = [{"name": "PART_SCORES", "datatype": "FP32", "shape": [-1, 59]}]  # type: ignore[assignment]
    answers = (whole(200, server), whole(200, {}), whole(200, {}), whole(200, model))
    with answering(*answers) as (url, asked), Client.triton(url, timeout=30) as client:
        assert client.info.classes == MHP.classes
    ready = [f"/v2/models/{name}/ready" for name in ("human_parsing", "densepose")]
    assert asked == ["/v2", *ready, "/v2/models/human_parsing", "/v2/models/human_parsing/config"]


@pytest.mark.parametrize("missing", ["gevent", "tritonclient"])
def test_what_http_needs_is_named_where_it_is_not_installed(missing: str) -> None:
    """As in what `make serve` installs: Triton's client for gRPC alone."""
    script = f"import sys; sys.modules[{missing!r}] = None; from parsing_rcnn.cli import main; main()"
    command = [sys.executable, "-c", script, "info", "--triton", "http://127.0.0.1:9"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install 'parsing-rcnn-client[triton]', or use grpc://host:8001" in done.stderr


THREADS = """
import os, sys, threading
import numpy as np
from parsing_rcnn_client import Client

def opened():
    return len(os.listdir("/proc/self/fd"))

def ask():
    assert client.analyze(np.zeros((40, 32, 3), np.uint8), tasks=(), tiles=2).image_size == (40, 32)

def one_after_the_other():
    for _ in range(25):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    return opened()

client = Client.triton(sys.argv[1], 100)
first = one_after_the_other()
second = one_after_the_other()
client.close()
before = opened()
for _ in range(25):
    with Client.triton(sys.argv[1], 100) as client:
        list(client.analyze_many([np.zeros((40, 32, 3), np.uint8)] * 3, tasks=(), in_flight=3))
print(second - first, opened() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_threads_that_ended_leave_nothing_open() -> None:
    """Nor do clients that were closed: a connection and an event loop of each thread would be 75 files and more."""
    with somebody() as url:
        command = [sys.executable, "-c", THREADS, url]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    more, left = map(int, done.stdout.split())
    assert max(more, left) < 10


def test_arrays_may_be_written_to() -> None:
    with somebody() as url, Client.triton(url, 100) as client:
        people = client.analyze(PICTURE, tasks=())
        people.boxes[0] += 1
        people.scores[0] = 0
    assert people.boxes.tolist() == [[1, 1, 33, 33]]


def test_an_answer_that_is_none_of_triton_s_has_a_type() -> None:
    garbled = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n{x}"
    with answering(SILENT, garbled) as (url, _), Client.triton(url, timeout=30) as client:
        with pytest.raises(GatewayError, match="none of Triton's"):
            client.analyze(PICTURE)
        with pytest.raises(GatewayError, match="none of Triton's"):
            _ = client.info


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ([], "none of Triton's .*a JSON list, no object"),
        (None, "none of Triton's .*a JSON NoneType, no object"),
        ({}, "human_analysis: no BOXES"),
        ({"outputs": 1}, "human_analysis: 'int' object is not iterable"),
        ({"outputs": [1]}, "human_analysis: 'int' object"),
        ({"outputs": [{}]}, "human_analysis: no 'name'"),
        ({"outputs": [{"name": "BOXES"}]}, "human_analysis: no 'datatype'"),
        ({"outputs": [{"name": "BOXES", "datatype": "FP32", "parameters": []}]}, "'list' object has no attribute"),
    ],
)
def test_json_that_is_none_of_triton_s_has_a_type(answer: object, says: str) -> None:
    with answering(SILENT, whole(200, answer)) as (url, _), Client.triton(url, timeout=30) as client:
        with pytest.raises(GatewayError, match=says) as refused:
            client.analyze(PICTURE)
        assert refused.value.status == 502
        with pytest.raises(GatewayError):
            _ = client.info


@pytest.mark.parametrize(
    "model",
    [
        {"versions": 1},
        {"outputs": [1]},
        {"outputs": [{"name": "PART_SCORES"}]},
        {"outputs": [{"name": "PART_SCORES", "shape": []}]},
    ],
)
def test_metadata_that_are_none_of_triton_s_have_a_type(model: object) -> None:
    server = {"name": "triton", "version": "2.51.0"}
    answers = [whole(200, document) for document in (server, {}, {}, model)]
    says = pytest.raises(GatewayError, match=r"answers with its metadata: .*; is it this project's")
    with answering(*answers) as (url, _), Client.triton(url, timeout=30) as client, says:
        _ = client.info


@pytest.mark.parametrize("configuration", [[], None, {"config": []}, {"parameters": 1}])
def test_a_configuration_that_is_none_tells_nothing(configuration: object) -> None:
    with answering(whole(200, configuration), NOBODY) as (url, _), Client.triton(url, timeout=30) as client:
        assert len(client.analyze(PICTURE)) == 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"tiles": 12}, r"^tiles: 12 is outside 1\.\.4$"),
        ({"tiles": 0}, r"^tiles: 0 is outside 1\.\.4$"),
        ({"tiles": "2"}, r"^tiles: '2' is no whole number in 1\.\.4$"),
        ({"tiles": 2.5}, r"^tiles: 2\.5 is no whole number in 1\.\.4$"),
        ({"confidence": 3}, r"^confidence: 3 is outside 0\.\.1$"),
        ({"max_side": 1}, r"^max_side: 1 is outside "),
    ],
)
def test_an_option_out_of_its_range_is_refused_before_anything_is_asked(wrong: dict[str, Any], says: str) -> None:
    with answering(SILENT, NOBODY) as (url, asked), Client.triton(url, timeout=30) as client:
        for options in (wrong, wrong | {"tasks": "parsing"}):
            with pytest.raises(InvalidOptions, match=says):
                client.analyze(PICTURE, **options)
        assert asked == []
