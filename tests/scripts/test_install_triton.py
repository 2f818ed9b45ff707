"""scripts/install_triton.sh: what it leaves alone. That it installs: the tests of tests/server/triton run with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server's wheel is for Linux")


def install(script: Path, folder: str, cwd: Path, python: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": str(python)}
    return subprocess.run(
        ["sh", str(script), folder], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A copy in a repository of its own: a script that removes what it should not finds nothing here."""
    copy = tmp_path / "clone" / "scripts" / "install_triton.sh"
    copy.parent.mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "install_triton.sh", copy)
    shutil.copytree(ROOT / "requirements", tmp_path / "clone" / "requirements")
    return copy


@pytest.fixture
def offline(tmp_path: Path) -> Path:
    """An interpreter that finds its library, but whose pip reaches nobody."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = - ] && exit\n[ "$2" = pip ] && exit 1\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


@pytest.mark.parametrize("version", ["3.13", "3.14"])
def test_a_python_without_wheels_is_refused_before_anything_is_fetched(
    script: Path, tmp_path: Path, version: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] && echo {version} && exit\necho fetched >&2\nexit 1\n')
    python.chmod(0o755)
    ended = install(script, str(tmp_path / "new"), tmp_path, python)
    assert ended.returncode == 1
    assert f"is Python {version}" in ended.stderr
    assert "use 3.11 or 3.12" in ended.stderr
    assert "fetched" not in ended.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("relative", [True, False])
def test_a_folder_of_something_else_is_refused(script: Path, offline: Path, tmp_path: Path, relative: bool) -> None:
    mine = tmp_path / "here" / "mine"
    mine.mkdir(parents=True)
    (mine / "precious").touch()
    ended = install(script, "mine" if relative else str(mine), mine.parent, offline)
    assert ended.returncode == 1
    assert "not made by this script" in ended.stderr
    assert (mine / "precious").exists()


def test_without_a_network_an_older_server_stays(script: Path, offline: Path, tmp_path: Path) -> None:
    (tmp_path / "old" / "server").mkdir(parents=True)
    (tmp_path / "old" / ".installed-3.11-1").touch()
    assert install(script, str(tmp_path / "old"), tmp_path, offline).returncode == 1
    assert (tmp_path / "old" / "server").exists()
