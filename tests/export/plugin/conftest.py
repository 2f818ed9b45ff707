"""The CPU library, built once for these tests from the sources as they are."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from export.plugin import CPU_LIBRARY, SOURCE, PyramidRoiAlign


def build(folder: Path, *options: str, target: str = "all") -> None:
    """Configure and build export/plugin in `folder`; a failure shows the compiler's own words."""
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("no cmake or no C++ compiler on this machine")
    for command in (
        ["cmake", "-S", str(SOURCE), "-B", str(folder), *options],
        ["cmake", "--build", str(folder), "--target", target],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def cpu_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    build(folder, target="prcnn_roi_align")
    return folder / CPU_LIBRARY


@pytest.fixture(scope="session")
def pool(cpu_library: Path) -> PyramidRoiAlign:
    return PyramidRoiAlign(cpu_library)
