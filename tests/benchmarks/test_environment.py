"""Benchmarks in an environment, or at data, that are not theirs: one line, before any work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# as if torch were not installed
_WITHOUT = (
    "import runpy, sys; sys.modules['torch'] = None; del sys.argv[0]; "
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("benchmark", "arguments"),
    [
        ("design", ()),
        ("roi_sizes", ()),
        ("training_speed", ("data/rendered",)),
        ("runtimes", ()),
        ("ladder", ("--data", "nowhere")),
    ],
)
def test_without_torch_it_says_which_environment_has_it(
    benchmark: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run("-c", _WITHOUT, f"benchmarks.{benchmark}", *arguments, "--out", str(out))
    assert done.returncode == 1
    assert done.stderr.startswith(f"{benchmark}: torch is not installed for {sys.executable}: ")
    assert "`make train-env`" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not out.exists()
    shown = run("-c", _WITHOUT, f"benchmarks.{benchmark}", "--help")
    assert (shown.returncode, "--out OUT" in shown.stdout) == (0, True), shown.stderr


@pytest.mark.parametrize(
    ("benchmark", "arguments"),
    [
        ("soak", ("--plot", "x.png")),
        ("video_memory", ("--data", "nowhere", "--plot", "x.png")),
        ("pareto", ("--point", "a", "b", "c", "--out", "x.png")),
    ],
)
def test_a_plot_without_matplotlib_is_refused_before_the_work(benchmark: str, arguments: tuple[str, ...]) -> None:
    done = run("-c", _WITHOUT.replace("torch", "matplotlib"), f"benchmarks.{benchmark}", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{benchmark}: matplotlib is not installed for {sys.executable}: ")
    assert "requirements/bench.txt" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_peers_interpreter_is_looked_at_first(tmp_path: Path) -> None:
    without = tmp_path / "python"
    without.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')  # has the standard library alone
    without.chmod(0o755)
    for python, says in (("nix", "cannot be run"), (str(without), "has no torch and torchvision")):
        done = run("-m", "benchmarks.embedded", "--torch-python", python, "--out", str(tmp_path / "out.json"))
        assert done.returncode == 1
        assert done.stderr.startswith("embedded: --torch-python: ")
        assert says in done.stderr
        assert "`make train-env`" in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_walk_without_its_data_names_what_is_missing(tmp_path: Path) -> None:
    done = run("-m", "benchmarks.video", "--data", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"video: {tmp_path / 'ccp' / 'images'}: no photo")
    assert done.stderr.count("\n") == 1
