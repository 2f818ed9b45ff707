"""What is said where the packages that run graphs are missing."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_what_brings_a_missing_runtime_can_be_typed_into_any_shell(runtime: str, tmp_path: Path) -> None:
    absent = f"raise ModuleNotFoundError(\"No module named '{runtime}'\", name='{runtime}')"
    (tmp_path / f"{runtime}.py").write_text(absent)
    start = "import sys; sys.path.insert(0, sys.argv.pop(1)); from parsing_rcnn.cli import main; main()"
    command = [sys.executable, "-c", start, str(tmp_path), "info", "--runtime", runtime]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert failed.returncode == 1
    said = failed.stderr.strip()
    assert said.startswith(f"error: {runtime} is not installed: pip install ")
    # zsh takes brackets that are not quoted for a pattern
    names = [word for word in shlex.split(said.partition("pip install ")[2], posix=False) if "[" in word]
    assert [name.strip(",") for name in names] == ["'parsing-rcnn[cpu]'", "'parsing-rcnn[gpu]'"][: len(names)]
    assert names
