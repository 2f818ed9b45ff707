"""`make` and the environments that it makes: which Python they get."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OLD = """#!/bin/sh
[ "$1" = --version ] && { echo Python 3.10.14; exit 0; }
[ "$2" = venv ] || exit 1
for folder; do :; done
mkdir -p "$folder/bin" && cp "$0" "$folder/bin/python"
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """What does as Python 3.10: it makes environments, into which nothing can be installed."""
    program = tmp_path / "python3.10"
    program.write_text(OLD)
    program.chmod(0o755)
    return program


def make(folder: Path, target: str, python: str | Path) -> subprocess.CompletedProcess[str]:
    """Everything but the installation of packages."""
    for name in ("Makefile", "pyproject.toml", "client/pyproject.toml", "requirements"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        if not (folder / name).exists():
            copy(ROOT / name, folder / name)  # type: ignore[operator]
    command = ["make", target, f"PYTHON={python}", "PIP=-c pass"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.parametrize("target", [".venv/.serve", ".venv-torch/.train", ".venv-deploy/.ready"])
def test_a_python_that_is_too_old_is_named_before_anything_is_made(target: str, tmp_path: Path, old: Path) -> None:
    folder = tmp_path / "clone"
    refused = make(folder, target, old)
    assert refused.returncode != 0
    assert "Python 3.11 or newer is needed" in refused.stdout
    assert "3.10.14" in refused.stdout
    assert not (folder / target).parent.exists()
    missing = make(folder, target, "python3.99")
    assert "Python 3.11 or newer is needed" in missing.stdout
    assert not (folder / target).parent.exists()


def test_an_environment_whose_python_is_too_old_is_made_anew(tmp_path: Path, old: Path) -> None:
    folder, target = tmp_path / "clone", ".venv/.serve"
    python = folder / ".venv" / "bin" / "python"
    subprocess.run([old, "-m", "venv", folder / ".venv"], check=True)
    assert make(folder, target, sys.executable).returncode == 0
    subprocess.run([python, "-c", "import sys; assert sys.version_info >= (3, 11)"], check=True)
    (folder / ".venv" / "kept").touch()
    (folder / target).unlink()
    assert make(folder, target, old).returncode == 0  # it has what it needs, whatever PYTHON is
    assert (folder / ".venv" / "kept").exists()


@pytest.mark.parametrize(
    ("target", "stamps"),
    [
        (".venv/.test", (".serve", ".test")),
        (".venv-torch/.train", (".train",)),
        (".venv-deploy/.ready", (".ready",)),
    ],
)
def test_an_environment_whose_python_has_gone_is_made_anew(
    target: str, stamps: tuple[str, ...], tmp_path: Path
) -> None:
    folder = tmp_path / "clone"
    python = (folder / target).parent / "bin" / "python"
    make(folder, "clean", sys.executable)  # the clone, without environments
    python.parent.mkdir(parents=True)
    python.symlink_to(tmp_path / "gone")
    for stamp in stamps:
        (python.parents[1] / stamp).touch()
    made = make(folder, target, sys.executable)
    assert made.returncode == 0, made.stderr
    subprocess.run([python, "-c", "pass"], check=True)
    assert "up to date" in make(folder, target, sys.executable).stdout
