"""The CPU library, built once for these tests from the sources as they are."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from export.plugin import CPU_LIBRARY, SOURCE, PyramidRoiAlign

DECLARATIONS = Path(__file__).with_name("tensorrt")  # NvInfer.h, as far as the plugin goes
# where CUDA's would be: the same arithmetic in the memory of the host
HOST_KERNEL = """
#include "pyramid_roi_align.h"
extern "C" int32_t prcnn_roi_align_cuda(const prcnn_roi_align_args* args, void*) { return prcnn_roi_align(args); }
"""


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


def compile_tensorrt_plugin(folder: Path, program: str, *flags: str, name: str) -> Path:
    """The TensorRT plugin with `program`, warnings as errors, on the CPU's kernel."""
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler on this machine")
    (folder / "program.cpp").write_text(HOST_KERNEL + program)
    sources = [SOURCE / "src" / "tensorrt.cpp", SOURCE / "src" / "cpu.cpp", folder / "program.cpp"]
    own = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror", f"-I{SOURCE / 'include'}"]
    command = ["c++", *own, f"-I{DECLARATIONS}", *flags, *sources, "-o", folder / name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / name


@pytest.fixture(scope="session")
def cpu_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    build(folder, target="prcnn_roi_align")
    return folder / CPU_LIBRARY


@pytest.fixture(scope="session")
def pool(cpu_library: Path) -> PyramidRoiAlign:
    return PyramidRoiAlign(cpu_library)
