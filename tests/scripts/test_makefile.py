"""`make`: which Python its environments get, and paths with spaces and quotes in them."""

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


def make(folder: Path, target: str, python: str | Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Everything but the installation of packages."""
    for name in ("Makefile", "pyproject.toml", "client/pyproject.toml", "requirements"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        if not (folder / name).exists():
            copy(ROOT / name, folder / name)  # type: ignore[operator]
    command = ["make", target, f"PYTHON={python}", "PIP=-c pass", *words]
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


@pytest.fixture
def odd_clone(tmp_path: Path) -> Path:
    """A clone in a folder with a space and a quote in its name. Whatever its recipes run tells its arguments."""
    folder = tmp_path / "it's a clone"
    for environment in (".venv", ".venv-torch"):
        python = folder / environment / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.symlink_to(sys.executable)
    program = '#!/bin/sh\nprintf "<%s>" "$0" "$PYTHON" "$@"\necho\n"$PYTHON" -c pass\n'
    for name in ("scripts/install_triton.sh", "scripts/serve_triton.sh", ".venv-torch/bin/parsing-rcnn"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(program)
        (folder / name).chmod(0o755)
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks" / "triton.py").write_text("import sys\nprint(sys.argv[1:])\n")
    return folder


def test_a_clone_may_lie_in_a_folder_with_a_space(odd_clone: Path) -> None:
    python = odd_clone / ".venv" / "bin" / "python"
    served = make(odd_clone, "serve-triton", sys.executable)
    assert served.returncode == 0, served.stderr
    for script in ("scripts/install_triton.sh", "scripts/serve_triton.sh"):
        assert f"<{script}><{python}>" in served.stdout


def test_a_photo_may_have_a_space_in_its_name(odd_clone: Path) -> None:
    done = make(odd_clone, "bench", sys.executable, "PHOTO=my photo's.jpg")
    assert done.returncode == 0, done.stderr
    assert str(["--photo", "my photo's.jpg", "--out", "out/benchmarks/triton"]) in done.stdout


@pytest.mark.parametrize("bodies", [False, True])
def test_a_data_folder_may_have_a_space_in_its_name(odd_clone: Path, tmp_path: Path, bodies: bool) -> None:
    data = tmp_path / "my photo's data"
    (data / "backgrounds").mkdir(parents=True)
    if bodies:
        (data / "makehuman_cc0").mkdir()
    done = make(odd_clone, "train", sys.executable, f"DATA={data}")
    assert done.returncode == 0, done.stderr
    rendered, trained = [line for line in done.stdout.splitlines() if line.startswith("<.venv-torch/bin/parsing-rcnn>")]
    assert rendered.endswith(f"<{data}/backgrounds>" + (f"<--assets><{data}/makehuman_cc0>" if bodies else ""))
    assert f"<--data><{data}>" in trained
    assert make(odd_clone, "train", sys.executable).returncode != 0  # without DATA
