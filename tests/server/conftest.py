"""The real gateway over the shipped model, started once."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import uvicorn
from numpy.typing import NDArray
from starlette.testclient import TestClient

from parsing_rcnn.analyzer import Analyzer, ModelInfo, Options
from parsing_rcnn.people import People
from server.app import create_app
from server.connection import ConnectionLimits, configuration
from server.settings import Settings
from tests.server.clock import Clock

INFO = ModelInfo("slow", "1", "none", {"parsing": True}, ("Background",), ((64, 64),), {})


class Slow:
    """An analyzer that waits for a signal: what a real one cannot be made to do on demand."""

    info = INFO

    def __init__(self) -> None:
        self.gate, self.begun = threading.Event(), threading.Semaphore(0)

    def analyze(self, image: bytes | NDArray[np.uint8], options: Options = Options()) -> People:  # noqa: B008
        if isinstance(image, bytes):
            self.begun.release()
            assert self.gate.wait(120)
        return People(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), (4, 4))

    def close(self) -> None: ...


def wait_until_ready(client: TestClient, seconds: float = 120) -> None:
    """Block until /readyz says so."""
    end = time.monotonic() + seconds
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < end, client.get("/readyz").text
        time.sleep(0.05)


@pytest.fixture(scope="session")
def client(pipeline) -> Iterator[TestClient]:  # type: ignore[no-untyped-def]
    """A client of the gateway with small limits, so that tests can reach them."""
    settings = Settings(max_bytes=2_000_000, max_pixels=4_000_000, max_side=4000)
    pipeline.limits = settings.limits
    with TestClient(create_app(settings, lambda: pipeline), raise_server_exceptions=False) as running:
        wait_until_ready(running)
        yield running


class Live:
    """The gateway on a real socket, for what an in-process client cannot show; its connections may have a clock."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Analyzer] | None,
        connections: ConnectionLimits | None = None,
        port: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self.app = create_app(settings, load)
        configured = configuration(self.app, settings, connections)
        if clock is not None:
            configured.http, configured.ws = map(clock.of, (configured.http, configured.ws))  # type: ignore[arg-type,assignment]
        self.server = uvicorn.Server(configured)
        self.socket = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port = self.socket.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})

    def __enter__(self) -> Live:
        self._thread.start()
        end = time.monotonic() + 120
        while self.server.started is False or self.app.state.engine.not_ready is not None:
            assert time.monotonic() < end, self.app.state.engine.not_ready
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self._thread.join(120)
        self.socket.close()
        assert not self._thread.is_alive()


@pytest.fixture(scope="session")
def live(pipeline) -> Iterator[Live]:  # type: ignore[no-untyped-def]
    """The real gateway on a real socket."""
    with Live(Settings(max_bytes=4_000_000), lambda: pipeline) as running:
        yield running
