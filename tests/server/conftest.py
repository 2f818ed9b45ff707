"""The real gateway over the shipped model, started once."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from server.app import create_app
from server.settings import Settings


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
