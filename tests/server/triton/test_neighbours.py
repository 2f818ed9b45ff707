"""Two supervisors, or a foreign server, at the same ports: nobody takes the other's answers for those of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs
from tritonclient.grpc import service_pb2, service_pb2_grpc

from parsing_rcnn.errors import EngineUnavailable
from server.supervisor.installation import Installation
from server.supervisor.launch import Launch, Supervisor
from server.supervisor.ports import claimed
from tests.server.helpers import spare_ports, until


def test_a_second_one_is_refused_while_the_first_ones_server_loads(
    repository: Path, slow: Installation, tmp_path: Path
) -> None:
    """It would take the ports if it were the faster one."""
    http, grpc_port, metrics = spare_ports(3)
    first = Supervisor(Launch(repository, "127.0.0.1", http, grpc_port, metrics, "cpu"), slow)
    running = threading.Thread(target=first.run)
    running.start()
    try:
        until(lambda: first.pid is not None)
        program = [sys.executable, "-m", "parsing_rcnn", "triton", "--repository", str(repository), "--profile", "cpu"]
        for name, ports in (("grpc", (*spare_ports(1), grpc_port)), ("http", (http, *spare_ports(1)))):
            named = [f"--http-port={ports[0]}", f"--grpc-port={ports[1]}", f"--metrics-port={spare_ports(1)[0]}"]
            path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
            ended = subprocess.run(
                [*program, *named], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
            )
            assert ended.returncode == 1
            wanted = f"as process {os.getpid()}: `kill {os.getpid()}` ends it, or choose another with --{name}-port"
            assert wanted in ended.stderr
            assert "starting" not in ended.stderr
    finally:
        first.stop()
        running.join(60)
    with claimed(first.launch.ports):  # its end gave them back
        pass


def test_a_claim_that_fails_leaves_none_behind() -> None:
    one, two = spare_ports(2)
    with claimed({"http": two}):
        words = re.escape(f"port {two} is another `parsing-rcnn triton`'s")
        with pytest.raises(EngineUnavailable, match=words), claimed({"grpc": one, "http": two}):
            pass
        with claimed({"grpc": one}):
            pass


class Foreign(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A server of somebody else, which is ready; `asked` are the names of the calls."""

    def __init__(self, port: int) -> None:
        self.asked: list[str] = []
        self.server = grpc.server(ThreadPoolExecutor(2))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self.server)
        assert self.server.add_insecure_port(f"127.0.0.1:{port}") == port
        self.server.start()

    def ServerLive(self, *_: Any) -> Any:  # noqa: N802 (gRPC's name)
        self.asked.append("live")
        return service_pb2.ServerLiveResponse(live=True)

    def ModelReady(self, *_: Any) -> Any:  # noqa: N802 (gRPC's name)
        return service_pb2.ModelReadyResponse(ready=True)

    def RepositoryModelUnload(self, *_: Any) -> Any:  # noqa: N802 (gRPC's name)
        self.asked.append("unload")
        return service_pb2.RepositoryModelUnloadResponse()

    def RepositoryIndex(self, *_: Any) -> Any:  # noqa: N802 (gRPC's name)
        return service_pb2.RepositoryIndexResponse(
            models=[service_pb2.RepositoryIndexResponse.ModelIndex(name="human_analysis", state="READY")]
        )


def test_a_foreign_server_at_the_port_is_neither_ready_nor_drained(repository: Path, slow: Installation) -> None:
    """It was started while ours loads."""
    http, port, metrics = spare_ports(3)
    supervisor = Supervisor(Launch(repository, "127.0.0.1", http, port, metrics, "cpu", drain_seconds=1), slow)
    foreign, ready = Foreign(port), threading.Event()
    with capture_logs() as lines:
        running = threading.Thread(target=supervisor.run, args=(ready.set,))
        running.start()
        try:
            until(lambda: foreign.asked.count("live") > 3 or ready.is_set())
        finally:
            supervisor.stop()
            running.join(60)
            foreign.server.stop(None).wait()
    assert not ready.is_set()
    assert "unload" not in foreign.asked
    (command,) = [line["command"] for line in lines if line["event"] == "starting"]
    assert supervisor.launch.key not in command  # the log may be read by more people
    assert command.count("=***") == 2
