"""The command `serve` when it is told to end, and where nobody hears it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.server.helpers import spare_port, until

ROOT = Path(__file__).resolve().parents[2]
PATIENT = {"PARSING_RCNN_DRAIN_SECONDS": "300", "PARSING_RCNN_UPLOAD_SECONDS": "300"}  # whatever else the machine does


class Served:
    """A gateway in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def status(self, path: str) -> int | None:
        """Of an answer; None where nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except (urllib.error.URLError, ConnectionError):
            return None

    def answers(self, path: str) -> None:
        """Wait until it does."""
        end = time.monotonic() + 240
        while self.status(path) != 200:
            assert time.monotonic() < end
            assert self.process.poll() is None
            time.sleep(0.05)

    @contextmanager
    def upload(self, picture: bytes) -> Iterator[Callable[[], tuple[int, bytes]]]:
        """A request that is accepted, and whose body has not come; yields what sends it, and gives the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as client:
            head = f"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(picture)}\r\n"
            client.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
            assert client.recv(100).startswith(b"HTTP/1.1 100 ")

            def rest() -> tuple[int, bytes]:
                client.sendall(picture)
                answer = http.client.HTTPResponse(client)
                answer.begin()
                return answer.status, answer.read()

            yield rest


@contextmanager
def serving(
    *before: str, after: str = "", program: Sequence[str] = ("-m", "parsing_rcnn"), **variables: str
) -> Iterator[Served]:
    """`before` is put before the command, `after` are redirections of a shell."""
    port = spare_port()
    command = [*before, sys.executable, *program, "serve", "--threads", "1", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARSING_RCNN_")}
    process = subprocess.Popen(
        ["sh", "-c", f'exec "$@" {after}', "sh", *command],
        env=environment | variables,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield Served(process, port)
    finally:
        process.kill()
        process.communicate()


@contextmanager
def killed_in_the_end(served: Served) -> Iterator[None]:
    """A process that is silent and does not end."""
    end = threading.Timer(300, served.process.kill)
    end.start()
    try:
        yield
    finally:
        end.cancel()


# the command, which compiles no more than one graph of the model until it may
HELD = """
import time
from pathlib import Path
from parsing_rcnn.cli import main
from parsing_rcnn.inference import compiled
own = compiled.OpenVinoGraph._static
def held(*given):
    made = own(*given)
    while not Path({go!r}).exists():
        time.sleep(0.02)
    return made
compiled.OpenVinoGraph._static = held
main()
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_model_that_is_being_loaded_is_not_waited_for(sent: signal.Signals, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    cache, go = tmp_path / "cache", tmp_path / "go"
    program = ("-c", HELD.format(go=str(go)))
    with serving(program=program, PARSING_RCNN_CACHE=str(cache)) as served, killed_in_the_end(served):
        until(lambda: any(cache.glob("*.blob")), 240)
        served.process.send_signal(sent)
        said = ""
        while "stopping" not in said:
            line = served.process.stderr.readline()  # type: ignore[union-attr]
            assert line, said
            said += line
        go.touch()
        said += served.process.communicate(timeout=120)[1]
    assert served.process.returncode == {signal.SIGTERM: -15, signal.SIGINT: 130}[sent]
    assert "stopping" in said
    assert "Traceback" not in said
    graphs = 10  # three canvases; one, two and four people in both heads; one with probabilities
    assert len(list(cache.glob("*.blob"))) < graphs


def test_a_terminal_that_is_closed_lets_accepted_requests_be_answered(photo_jpeg: bytes) -> None:
    with serving(**PATIENT) as served:
        served.answers("/readyz")
        with served.upload(photo_jpeg) as rest:
            served.process.send_signal(signal.SIGHUP)
            until(lambda: served.status("/healthz") is None, 60)
            status, answer = rest()
        assert (status, b"predictions" in answer) == (200, True)
        assert served.process.wait(120) == -signal.SIGTERM


def test_nohup_lets_the_terminal_go() -> None:
    with serving("nohup") as served:
        served.answers("/healthz")
        served.process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert served.status("/healthz") == 200


def test_a_second_ctrl_c_says_that_requests_are_cut_off(photo_jpeg: bytes) -> None:
    with serving(**PATIENT) as served:
        served.answers("/readyz")
        with served.upload(photo_jpeg):
            served.process.send_signal(signal.SIGINT)
            until(lambda: served.status("/healthz") is None, 60)
            served.process.send_signal(signal.SIGINT)
            _, said = served.process.communicate(timeout=120)
    assert served.process.returncode == 130
    assert "stopped at once: requests in work are cut off" in said
    assert "Traceback" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize("style", ["console", "json"])
def test_where_the_log_cannot_be_written_pictures_are_analysed(style: str, photo_jpeg: bytes) -> None:
    with serving(after="2>/dev/full", PARSING_RCNN_LOG_FORMAT=style) as served:
        served.answers("/readyz")
        with served.upload(photo_jpeg) as rest:
            assert rest()[0] == 200
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(120) == -signal.SIGTERM


def test_it_serves_where_standard_files_are_closed(photo_jpeg: bytes) -> None:
    with serving(after="0<&- 1>&- 2>&-") as served:
        served.answers("/readyz")
        with served.upload(photo_jpeg) as rest:
            assert rest()[0] == 200
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(120) == -signal.SIGTERM


# the command, with a decoder that never ends
HUNG = """
import threading
from pathlib import Path
from parsing_rcnn.cli import main
from parsing_rcnn.pipeline import Pipeline
own = Pipeline.analyze
def hung(self, image, *more, **named):
    if isinstance(image, bytes) and image.endswith(b"hang"):
        Path({begun!r}).touch()
        threading.Event().wait()
    return own(self, image, *more, **named)
Pipeline.analyze = hung
main()
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_the_end_does_not_wait_for_a_picture_that_never_ends(
    sent: signal.Signals, photo_jpeg: bytes, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    program = ("-c", HUNG.format(begun=str(begun)))
    with serving(program=program, PARSING_RCNN_DRAIN_SECONDS="1") as served, killed_in_the_end(served):
        served.answers("/readyz")
        with served.upload(photo_jpeg + b"hang") as rest:
            answer: list[int] = []
            asking = threading.Thread(target=lambda: answer.append(rest()[0]))
            asking.start()
            until(begun.exists)
            served.process.send_signal(sent)
            _, said = served.process.communicate(timeout=400)
            asking.join()
    assert served.process.returncode == {signal.SIGTERM: -15, signal.SIGINT: 130}[sent]
    assert answer == [503]
    assert "work that cannot be interrupted" in said
    assert "Traceback" not in said
