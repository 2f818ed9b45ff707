"""A real Triton server on free ports, kept by our own supervisor."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn.pipeline import Pipeline
from parsing_rcnn.repository import ModelRepository
from server.launch import Installation, Launch, Supervisor


@dataclass
class Running:
    """A supervised server."""

    launch: Launch
    supervisor: Supervisor
    ready: threading.Event

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.launch.grpc_port}"

    @property
    def http(self) -> str:
        return f"127.0.0.1:{self.launch.http_port}"

    @property
    def metrics(self) -> str:
        return f"127.0.0.1:{self.launch.metrics_port}"


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="session")
def installation() -> Installation:
    try:
        return Installation.find()
    except EngineUnavailable as error:
        pytest.skip(error.detail)


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
    http, grpc, metrics = free_ports(3)
    launch = Launch(repository, http_port=http, grpc_port=grpc, metrics_port=metrics, profile="cpu", drain_seconds=5)
    supervisor = Supervisor(launch, installation, interval=1.0)
    ready = threading.Event()
    thread = threading.Thread(target=supervisor.run, args=(ready.set,))
    thread.start()
    try:
        assert ready.wait(120), "the server did not become ready; its log is above"
        yield Running(launch, supervisor, ready)
    finally:
        supervisor.stop()
        thread.join(60)
    assert not thread.is_alive()
