"""A real Triton server on free ports, kept by our own supervisor."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.repository import ModelRepository
from server.supervisor.installation import Installation
from server.supervisor.launch import Launch, Supervisor
from server.supervisor.probes import KEY
from tests.server.helpers import spare_ports


@contextmanager
def commanded(
    server: str, folder: Path, repository: Path, *more: str, before: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """`parsing-rcnn triton` with more options, whose tritonserver is a shell script, in folder/bin.

    Args:
        server: the script.
        folder: is put first into PATH.
        repository: of the models.
        more: options.
        before: Python that the command runs first.
    """
    program = folder / "bin" / "tritonserver"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{server}\n")
    program.chmod(0o755)
    named = [f"--{name}-port={port}" for name, port in zip(("http", "grpc", "metrics"), spare_ports(3), strict=True)]
    command = [sys.executable, "-c", f"{before}\nfrom parsing_rcnn.cli import main\nmain()", "triton"]
    options = ["--profile", "cpu", "--repository", str(repository), *named, *more]
    environment = os.environ | {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    with subprocess.Popen([*command, *options], env=environment, stderr=subprocess.PIPE, text=True) as supervisor:
        limit = threading.Timer(300, supervisor.kill)
        limit.start()
        try:
            yield supervisor
        finally:
            limit.cancel()
            supervisor.kill()


@dataclass
class Running:
    """A supervised server."""

    launch: Launch
    supervisor: Supervisor
    ready: threading.Event
    thread: threading.Thread

    def stop(self) -> None:
        """Tell the server to end, and wait for that."""
        self.supervisor.stop()
        self.thread.join(120)
        assert not self.thread.is_alive()

    @property
    def headers(self) -> dict[str, str]:
        """By which the server lets models be loaded over gRPC."""
        return {f"triton-grpc-protocol-{KEY}": self.launch.key}

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.launch.grpc_port}"

    @property
    def http(self) -> str:
        return f"127.0.0.1:{self.launch.http_port}"

    @property
    def metrics(self) -> str:
        return f"127.0.0.1:{self.launch.metrics_port}"


@contextmanager
def supervised(
    installation: Installation,
    repository: Path,
    *,
    drain_seconds: int,
    interval: float = 2.0,
    host: str = "127.0.0.1",
) -> Iterator[Running]:
    """A server that is ready, ended at the end."""
    http, grpc, metrics = spare_ports(3)
    ports = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    launch = Launch(repository, host, **ports, profile="cpu", drain_seconds=drain_seconds)
    supervisor, ready = Supervisor(launch, installation, interval), threading.Event()
    running = Running(launch, supervisor, ready, threading.Thread(target=supervisor.run, args=(ready.set,)))
    running.thread.start()
    try:
        assert ready.wait(300), "the server did not become ready; its log is above"
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def installation() -> Installation:
    try:
        return Installation.find()
    except EngineUnavailable as error:
        pytest.skip(error.detail)


@pytest.fixture
def slow(tmp_path: Path) -> Installation:
    """A server that loads for as long as the test takes."""
    program = tmp_path / "tritonserver"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    return Installation(program, tmp_path)


@pytest.fixture(scope="session")
def repository() -> Path:
    return ModelRepository.open().path


@pytest.fixture(scope="session")
def pipeline() -> Pipeline:
    """On all cores, as Triton's models compute a picture alone: another number of threads adds in another order."""
    return Pipeline()


@pytest.fixture(scope="session")
def triton(installation: Installation, repository: Path) -> Iterator[Running]:
    """One server for all tests: those that break it leave it as they found it."""
    with supervised(installation, repository, drain_seconds=5, interval=1.0) as running:
        yield running
