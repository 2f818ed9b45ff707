"""scripts/build_engines.sh: where its engines go. What it builds again, and when: tests/deploy/test_images.py."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
# of NVIDIA's two programs, as far as the script asks them
TRTEXEC = """#!/bin/sh
echo '&&&& RUNNING TensorRT.trtexec [TensorRT v101300]'
for word; do case $word in --saveEngine=*) echo "$word" >> {asked}; {write} ;; esac; done
"""
WRITE = 'mkdir -p "$(dirname "${word#--saveEngine=}")"; echo engine > "${word#--saveEngine=}"'
NVIDIA_SMI = "#!/bin/sh\necho 'NVIDIA H100 PCIe, 9.0'\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Graphs that were exported for the folder `to volume`."""
    home = tmp_path / "from" / "repository" / "detector" / "1"
    home.mkdir(parents=True)
    (home / "model.tensorrt.onnx").write_text("graph")
    (tmp_path / "from" / "build").mkdir()
    engine = tmp_path / "to volume" / "repository" / "detector" / "1" / "model.plan"
    (tmp_path / "from" / "trtexec.txt").write_text(f"trtexec --stronglyTyped '--saveEngine={engine}'\n")
    (tmp_path / "to volume").mkdir()
    (tmp_path / "elsewhere").mkdir()
    return tmp_path


def build(folder: Path, to: str, write: str = WRITE) -> subprocess.CompletedProcess[str]:
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    for name, text in (
        ("trtexec", TRTEXEC.replace("{asked}", str(folder / "asked")).replace("{write}", write)),
        ("nvidia-smi", NVIDIA_SMI),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return subprocess.run(
        [str(ROOT / "scripts" / "build_engines.sh"), "from", to],
        cwd=folder, env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("to", ["{}/to volume", "{}/to volume/", "to volume"])
def test_engines_lie_in_the_folder_that_is_named(folder: Path, to: str) -> None:
    done = build(folder, to.format(folder))
    assert done.returncode == 0, done.stderr
    assert (folder / "to volume" / "repository" / "detector" / "1" / "model.plan").is_file()
    assert done.stdout.endswith(f"1 engines in {folder}/to volume for NVIDIA H100 PCIe, 9.0\n")


def test_an_engine_that_is_away_is_built_again(folder: Path) -> None:
    engine = folder / "to volume" / "repository" / "detector" / "1" / "model.plan"
    assert build(folder, "to volume").returncode == 0
    engine.unlink()
    assert build(folder, "to volume").returncode == 0
    assert engine.is_file()


def test_engines_of_another_folder_are_refused_before_any_is_built(folder: Path) -> None:
    (folder / "elsewhere" / "repository").mkdir()
    done = build(folder, str(folder / "elsewhere"))
    assert done.returncode == 1
    assert f"writes {folder}/to volume/repository/detector/1/model.plan, which is not in {folder}/else" in done.stderr
    assert f"export with --out {folder}/elsewhere/repository --print-trtexec" in done.stderr
    assert not (folder / "asked").exists()
    assert (folder / "elsewhere" / "repository").is_dir()  # what Triton reads there is left
    (folder / "from" / "trtexec.txt").write_text("trtexec --stronglyTyped\n")
    done = build(folder, str(folder / "to volume"))
    assert done.returncode == 1
    assert "writes no engine, which is not in" in done.stderr


@pytest.mark.parametrize("write", [":", ': > "${word#--saveEngine=}"'])
def test_a_success_without_an_engine_is_none(folder: Path, write: str) -> None:
    for _ in range(2):  # what is missing is not taken for built the next time
        done = build(folder, str(folder / "to volume"), write)
        assert done.returncode == 1
        assert f"did not write {folder}/to volume/repository/detector/1/model.plan" in done.stderr
        assert "engines in" not in done.stdout
    assert build(folder, str(folder / "to volume")).returncode == 0
