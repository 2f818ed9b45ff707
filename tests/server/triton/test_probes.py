"""Late probes: a model that answers nobody is sick soon, one that is only behind its queue is not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_client
from tritonclient.utils import InferenceServerException

from parsing_rcnn.ensembles import PROBE
from server.engines.tiny import tiny_picture
from server.supervisor.probes import Prober
from tests.server.triton.conftest import Running


class Late:
    """A server whose probes are late; `step` requests of others end between two of them."""

    def __init__(self, step: int, instances: int) -> None:
        self.step, self.instances, self.ended = step, instances, 0

    def get_model_config(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(
            config=SimpleNamespace(instance_group=[SimpleNamespace(count=self.instances)], model_warmup=[])
        )

    def get_model_metadata(self, *_: Any, **__: Any) -> Any:
        return {"inputs": [{"name": "LIMITS", "datatype": "FP32", "shape": [2]}]}

    def async_infer(self, _: str, __: Any, callback: Any, parameters: Any) -> None:
        assert parameters == {PROBE: True}  # to a detector
        callback(None, InferenceServerException("Deadline Exceeded", status="StatusCode.DEADLINE_EXCEEDED"))

    def get_inference_statistics(self, *_: Any, **__: Any) -> Any:
        self.ended += self.step
        success = SimpleNamespace(count=self.ended, ns=0)
        return SimpleNamespace(
            model_stats=[
                SimpleNamespace(inference_stats=SimpleNamespace(success=success, fail=SimpleNamespace(count=0)))
            ]
        )

    def get_model_repository_index(self, **_: Any) -> Any:
        return SimpleNamespace(models=[SimpleNamespace(name="detector", state="READY")])

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("step", "rounds"), [(0, 6), (3, 60)])
def test_how_often_a_probe_may_be_late(tmp_path: Path, step: int, rounds: int) -> None:
    (tmp_path / "detector").mkdir()
    # of two instances one may hang while the other answers; a single one that answers is not even probed
    late = Late(step, instances=2 if step else 1)
    with Prober(late, "http://127.0.0.1:1/metrics", tmp_path) as prober:
        found = [list(prober.sick()) for _ in range(rounds)]
    assert found[:-1] == [[]] * (rounds - 1)
    assert found[-1] == [("detector", "Deadline Exceeded")]


def test_a_probe_that_is_late_is_waited_for_again_and_not_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled inference may end the server; and no others pile up behind it."""
    monkeypatch.setattr("server.supervisor.probes._DEADLINE", 0.05)
    asked: list[Any] = []

    class Silent(Late):
        def async_infer(self, _: str, __: Any, callback: Any, **more: Any) -> None:
            assert more == {"parameters": {PROBE: True}}  # no deadline, which would be a cancellation
            asked.append(callback)

    (tmp_path / "detector").mkdir()
    with Prober(Silent(0, 1), "http://127.0.0.1:1/metrics", tmp_path) as prober:
        assert [list(prober.sick()) for _ in range(3)] == [[]] * 3
        assert len(asked) == 1
        asked[0]("well", None)
        assert [list(prober.sick()) for _ in range(2)] == [[]] * 2  # late by one again
        assert len(asked) == 2
        found = [found for _ in range(5) for found in prober.sick()]
        assert [name for name, _ in found] == ["detector"]


@contextmanager
def metrics(waiting: int) -> Iterator[str]:
    """Metrics of a server with so many requests in its queues; yields their address."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'nv_inference_pending_request_count{model="detector",version="1"} %d\n' % waiting)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/metrics"
        finally:
            server.shutdown()
            thread.join()


def test_a_stop_waits_for_what_is_computed_however_long_it_takes(tmp_path: Path) -> None:
    """A head at a crowd for seconds ends nothing and has nothing waiting."""
    child = """
import sys, time
from pathlib import Path
from parsing_rcnn.inference.contention import Siblings
with Siblings(0, 1).handling_request():
    print("begun", flush=True)
    time.sleep(3)
    Path(sys.argv[1]).touch()
"""
    computed = tmp_path / "computed"
    (tmp_path / "detector").mkdir()
    with (
        subprocess.Popen([sys.executable, "-c", child, str(computed)], text=True, stdout=subprocess.PIPE) as model,
        metrics(waiting=0) as address,
        Prober(Late(0, 1), address, tmp_path) as prober,
    ):
        assert model.stdout is not None
        assert model.stdout.readline() == "begun\n"
        assert prober.drain(120, os.getpid()) == "idle"
        assert computed.exists()
        assert model.wait(60) == 0
        assert prober.drain(120, os.getpid()) == "idle"


def test_a_server_whose_requests_wait_is_not_idle(tmp_path: Path) -> None:
    with metrics(waiting=2) as address, Prober(Late(0, 1), address, tmp_path) as prober:
        assert prober.drain(2, None) == "busy"


def test_a_server_that_gives_no_metrics_or_statistics_is_not_called_idle(tmp_path: Path) -> None:
    """Whoever waits would be lost."""

    class Mute(Late):
        def get_inference_statistics(self, *_: Any, **__: Any) -> Any:
            raise InferenceServerException("unavailable", status="StatusCode.UNAVAILABLE")

    with Prober(Late(0, 1), "http://127.0.0.1:1/metrics", tmp_path) as prober:
        assert prober.drain(2, None) == "unknown"
    with metrics(waiting=0) as address, Prober(Mute(0, 1), address, tmp_path) as prober:
        assert prober.drain(2, None) == "unknown"


@pytest.mark.parametrize(("last", "state"), [(0, "idle"), (9, "idle"), (11, "unknown"), (99, "busy")])
def test_requests_that_take_longer_than_a_stop_may_do_not_make_a_server_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int, state: str
) -> None:
    """Those so far have taken 8 s each, and nobody has asked since second `last` of 20."""
    seconds = 0.0

    def sleep(more: float) -> None:
        nonlocal seconds
        seconds += more

    class Slow(Late):
        def get_inference_statistics(self, *_: Any, **__: Any) -> Any:
            count = 100 + int(10 * min(seconds, last) + 0.5)
            success, fail = SimpleNamespace(count=count, ns=8_000_000_000 * count), SimpleNamespace(count=0)
            stats = SimpleNamespace(success=success, fail=fail)
            return SimpleNamespace(model_stats=[SimpleNamespace(inference_stats=stats)])

    monkeypatch.setattr("server.supervisor.probes.time", SimpleNamespace(monotonic=lambda: seconds, sleep=sleep))
    with metrics(waiting=0) as address, Prober(Slow(0, 1), address, tmp_path) as prober:
        assert prober.drain(20, None) == state
        assert seconds >= 19.9  # whoever may be between two steps has all the time


def test_a_server_that_answers_says_what_it_lacks(tmp_path: Path) -> None:
    """One that does not answer lacks nothing that is known."""

    class Partly(Late):
        live = True

        def is_server_live(self, **_: Any) -> bool:
            if not self.live:
                raise InferenceServerException("unavailable", status="StatusCode.UNAVAILABLE")
            return True

        def is_model_ready(self, name: str, **_: Any) -> bool:
            return name != "parsing"

    for name in ("detector", "parsing"):
        (tmp_path / name).mkdir()
    server = Partly(0, 1)
    with Prober(server, "http://127.0.0.1:1/metrics", tmp_path) as prober:
        assert prober.lost() == ["parsing"]
        assert not prober.server_ready()
        server.live = False
        assert prober.lost() is None
        assert not prober.server_ready()


def test_a_stop_does_not_wait_for_a_server_that_has_ended(tmp_path: Path) -> None:
    asked: list[bool] = []

    def ended() -> bool:
        asked.append(len(asked) > 2)
        return asked[-1]

    with Prober(Late(0, 1), "http://127.0.0.1:1/metrics", tmp_path) as prober:
        assert prober.drain(600, None, ended) == "unknown"
    assert asked[-1]


def test_a_model_that_answers_by_its_only_instance_is_not_probed(triton: Running) -> None:
    """People who come while a head computes a probe would wait half a second: Triton looks that rarely."""
    client = triton_client.InferenceServerClient(triton.grpc)
    picture = triton_client.InferInput("IMAGE", [1], "BYTES")
    picture.set_data_from_numpy(np.array([tiny_picture()], np.object_))

    def answered() -> int:
        (model,) = client.get_inference_statistics("parsing").model_stats
        return int(model.inference_stats.success.count)

    for _ in range(3):  # whatever has to be compiled
        client.infer("human_analysis", [picture])
    before, end = answered(), time.monotonic() + 6  # the supervisor of the tests goes round every second
    asked = []
    while time.monotonic() < end:
        begin = time.monotonic()
        client.infer("human_analysis", [picture])
        asked.append((begin, time.monotonic()))
    probes = answered() - before - len(asked)
    asked.append((end, time.monotonic()))
    # on a busy machine: rounds without an answer since the one before
    silent = sum(int((got - begin) / triton.supervisor.interval) for (begin, _), (_, got) in pairwise(asked))
    assert 0 <= probes <= 1 + silent  # a round may have begun before the first picture
    client.close()
