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


@pytest.mark.parametrize("name", ["a clone", "it's", "a(b)", "a[b]", "$a", "a\\b"])
def test_a_folder_in_which_triton_could_not_start_its_models_is_refused(
    script: Path, offline: Path, tmp_path: Path, name: str
) -> None:
    """Its Python backend runs `bash -c` with the paths of models in it, unquoted."""
    script.parents[1].rename(tmp_path / name)
    ended = install(tmp_path / name / "scripts" / script.name, ".triton", tmp_path, offline)
    assert ended.returncode == 1
    assert f"{tmp_path / name}: Triton cannot start its models in a folder with a space" in ended.stderr
    assert "move this clone" in ended.stderr
    assert not (tmp_path / ".triton").exists()


@pytest.mark.parametrize("relative", [True, False])
def test_a_folder_named_so_is_refused_and_the_clone_may_stay(
    script: Path, offline: Path, tmp_path: Path, relative: bool
) -> None:
    ended = install(script, "a server" if relative else str(tmp_path / "a server"), tmp_path, offline)
    assert ended.returncode == 1
    assert f"error: {tmp_path / 'a server'}: Triton cannot start its models in a folder" in ended.stderr
    assert "name another folder" in ended.stderr
    assert "clone" not in ended.stderr
    assert not (tmp_path / "a server").exists()


@pytest.mark.parametrize("relative", [True, False])
def test_a_folder_of_something_else_is_refused(script: Path, offline: Path, tmp_path: Path, relative: bool) -> None:
    mine = tmp_path / "here" / "mine"
    mine.mkdir(parents=True)
    (mine / "precious").touch()
    ended = install(script, "mine" if relative else str(mine), mine.parent, offline)
    assert ended.returncode == 1
    assert "not made by this script" in ended.stderr
    assert (mine / "precious").exists()


def test_an_interpreter_may_lie_in_a_folder_with_a_quote(tmp_path: Path) -> None:
    """The line of the script that puts its packages into the environment of Triton's models, and what that reads."""
    packages = tmp_path / 'it\'s "mine" é' / "site-packages"
    packages.mkdir(parents=True)
    (packages / "of_the_user.py").touch()
    own = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", own], check=True)
    site = next(own.glob("lib/python*/site-packages"))
    lines = (ROOT / "scripts" / "install_triton.sh").read_text().splitlines()
    (line,) = [line for line in lines if "serving.pth" in line]
    given = {**os.environ, "python": sys.executable, "packages": str(packages), "site": str(site)}
    subprocess.run(["sh", "-c", line], env=given, check=True)
    subprocess.run([own / "bin" / "python", "-c", "import of_the_user"], check=True)


def test_without_a_network_an_older_server_stays(script: Path, offline: Path, tmp_path: Path) -> None:
    (tmp_path / "old" / "server").mkdir(parents=True)
    (tmp_path / "old" / ".installed-3.11-1").touch()
    assert install(script, str(tmp_path / "old"), tmp_path, offline).returncode == 1
    assert (tmp_path / "old" / "server").exists()
