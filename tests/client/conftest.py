"""A real gateway over the shipped model, on a free port."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from parsing_rcnn.pipeline import Pipeline

# what serves is imported where it is used: PyAV is tested in an environment without it


@contextmanager
def serving(app: Any, port: int = 0) -> Iterator[str]:
    """Serve an ASGI application in a thread: its address."""
    import uvicorn

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


@pytest.fixture
def kept_port() -> Iterator[int]:
    """A port that nobody else gets while nobody listens at it, and where one server after the other may listen."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do; then both may have it
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture(scope="session")
def serve_app() -> Callable[..., AbstractContextManager[str]]:
    """The context manager `serving(app, port=0)`."""
    return serving


@contextmanager
def gateway(pipeline: Pipeline, **settings: Any) -> Iterator[str]:
    """A gateway that is ready: its address."""
    import httpx2

    from server.app import create_app
    from server.settings import Settings

    with serving(create_app(Settings(**settings), lambda: pipeline)) as url:
        while httpx2.get(f"{url}/readyz").status_code != 200:
            time.sleep(0.05)
        yield url


@pytest.fixture(scope="session")
def gateway_url(pipeline: Pipeline) -> Iterator[str]:
    """Address of a gateway."""
    with gateway(pipeline) as url:
        yield url


@pytest.fixture(scope="session")
def guarded(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A gateway that asks for keys: (its address, a key)."""
    from server.keys import add_key

    keys = tmp_path_factory.mktemp("keys") / "keys.txt"
    key = add_key(keys, "alice")
    with gateway(pipeline, keys=keys) as url:
        yield url, key


@pytest.fixture
def photo(tmp_path: Path, photo_jpeg: bytes) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo_jpeg)
    return path


@pytest.fixture
def clip(tmp_path: Path, photo: Path) -> Path:
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: sh scripts/install_ffmpeg.sh")
    path = tmp_path / "clip.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-loop", "1", "-i", photo, "-t", "0.4", "-r", "10", path], check=True)
    return path


@pytest.fixture
def handlers() -> Iterator[None]:
    """Puts the handlers of signals back, which an interrupt leaves ignored."""
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
