"""The files that models hand pictures in: closed to other users, who may write to the same folder."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from server.engines.shared_memory import FOLDER
from server.supervisor.installation import Installation
from server.supervisor.launch import Launch, Supervisor
from tests.server.helpers import spare_ports, until


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def opened(path: Path) -> Path:
    """A new file that everybody may read."""
    path.touch()
    path.chmod(0o666)
    return path


@pytest.fixture
def prefix(slow: Installation, repository: Path) -> Iterator[str]:
    """How the names of the shared memory of a server that loads begin."""
    http, grpc, metrics = spare_ports(3)
    supervisor = Supervisor(Launch(repository, "127.0.0.1", http, grpc, metrics, "cpu"), slow)
    running = threading.Thread(target=supervisor.run, daemon=True)
    running.start()
    try:
        until(lambda: supervisor.pid is not None)  # it has removed what was there before
        yield supervisor.launch.prefix
    finally:
        supervisor.stop()
        running.join(60)
        assert not running.is_alive()
        assert not list(FOLDER.glob(f"{supervisor.launch.prefix}*"))


def test_a_link_of_another_user_closes_no_other_file(prefix: str, tmp_path: Path) -> None:
    """Nor does a pipe, which opens when somebody writes to it, keep the supervisor from the rest."""
    with ExitStack() as ends:
        own, linked = opened(tmp_path / "own"), opened(FOLDER / f"another_of_{prefix}")
        ends.callback(linked.unlink)
        (FOLDER / f"{prefix}symbolic").symlink_to(own)
        (FOLDER / f"{prefix}hard").hardlink_to(linked)
        os.mkfifo(FOLDER / f"{prefix}pipe", 0o666)
        for name in ("first", "second"):  # the second one appears when all above were seen
            file = opened(FOLDER / f"{prefix}{name}")
            until(lambda file=file: mode(file) == 0o600)  # type: ignore[misc]
        assert mode(own) == 0o666
        assert mode(linked) == 0o666
