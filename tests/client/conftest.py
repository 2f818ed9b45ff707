"""A real gateway over the shipped model, on a free port."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx2
import pytest
import uvicorn

from parsing_rcnn.pipeline import Pipeline
from server.app import create_app
from server.settings import Settings


@contextmanager
def serving(app: Any, port: int = 0) -> Iterator[str]:
    """Serve an ASGI application in a thread: its address."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


@pytest.fixture(scope="session")
def serve_app() -> Callable[..., AbstractContextManager[str]]:
    """The context manager `serving(app, port=0)`."""
    return serving


@pytest.fixture(scope="session")
def gateway_url(pipeline: Pipeline) -> Iterator[str]:
    """Address of a gateway."""
    with serving(create_app(Settings(), lambda: pipeline)) as url:
        while httpx2.get(f"{url}/readyz").status_code != 200:
            time.sleep(0.05)
        yield url
