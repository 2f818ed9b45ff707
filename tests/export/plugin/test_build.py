"""What the build makes: sanitizers find nothing, libraries show the C ABI alone, nvcc compiles the kernel."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from export.plugin import CUDA_LIBRARY, SOURCE, Arguments, Level
from tests.export.plugin.conftest import build

ABI = {"prcnn_abi_version", "prcnn_roi_align", "prcnn_roi_align_problem"}


def symbols(library: Path) -> set[str]:
    if shutil.which("nm") is None:
        pytest.skip("no nm on this machine")
    listed = subprocess.run(["nm", "-D", "--defined-only", str(library)], capture_output=True, text=True, check=True)
    names = {line.split()[-1] for line in listed.stdout.splitlines() if " T " in line}
    return {name for name in names if not name.startswith("_")}


def test_sanitizers_are_clean(tmp_path: Path) -> None:
    build(tmp_path, "-DPRCNN_SANITIZE=ON")
    done = subprocess.run([tmp_path / "test_roi_align"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "ok\n"


def test_symbols(cpu_library: Path) -> None:
    assert symbols(cpu_library) == ABI


def test_structures_match_the_header(tmp_path: Path) -> None:
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler on this machine")
    names = [name for name, *_ in Arguments._fields_]
    source = '#include <cstddef>\n#include <cstdio>\n#include "pyramid_roi_align.h"\nint main() {\n'
    source += "".join(f'std::printf("%zu ", offsetof(prcnn_roi_align_args, {name}));\n' for name in names)
    source += 'std::printf("%zu %zu", sizeof(prcnn_roi_align_args), sizeof(prcnn_level)); }\n'
    (tmp_path / "offsets.cpp").write_text(source)
    program = tmp_path / "offsets"
    subprocess.run(["c++", f"-I{SOURCE / 'include'}", tmp_path / "offsets.cpp", "-o", program], check=True)
    printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    wanted = [getattr(Arguments, name).offset for name in names] + [ctypes.sizeof(Arguments), ctypes.sizeof(Level)]
    assert [int(word) for word in printed.split()] == wanted


def test_header_is_c(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler on this machine")
    (tmp_path / "header.c").write_text('#include "pyramid_roi_align.h"\n')
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", f"-I{SOURCE / 'include'}"]
    subprocess.run(["cc", *flags, tmp_path / "header.c"], check=True)


def test_tensorrt_needs_its_headers(tmp_path: Path) -> None:
    if shutil.which("cmake") is None or shutil.which("nvcc") is None:
        pytest.skip("no cmake or no nvcc on this machine")
    command = ["cmake", "-S", str(SOURCE), "-B", str(tmp_path / "b"), f"-DTENSORRT_INCLUDE_DIR={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "holds no NvInfer.h" in done.stderr


def test_nvcc_compiles_the_kernel(tmp_path: Path) -> None:
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc on this machine")
    build(tmp_path, "-DPRCNN_CUDA=ON", "-DPRCNN_ARCHITECTURES=90", target="prcnn_roi_align_cuda")
    library = tmp_path / CUDA_LIBRARY
    assert symbols(library) == ABI | {"prcnn_roi_align_cuda"}
    needed = subprocess.run(["readelf", "-d", str(library)], capture_output=True, text=True, check=True).stdout
    # the CUDA runtime is inside: it loads where there is no GPU, and beside any other version
    assert not re.search(r"NEEDED.*(cuda|nvinfer)", needed)
    assert ctypes.CDLL(str(library)).prcnn_abi_version() == 1


def test_the_kernel_is_built_for_every_card_from_the_t4_on(tmp_path: Path) -> None:
    if shutil.which("cmake") is None or shutil.which("nvcc") is None:
        pytest.skip("no cmake or no nvcc on this machine")
    command = ["cmake", "-S", str(SOURCE), "-B", str(tmp_path), "-DPRCNN_CUDA=ON"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (commands,) = tmp_path.glob("CMakeFiles/prcnn_kernel.dir/build.make")
    asked = set(re.findall(r"code=(\w+)", commands.read_text()))
    assert asked == {"sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120", "compute_120"}
    known = subprocess.run(["nvcc", "--list-gpu-code"], capture_output=True, text=True, check=True).stdout.split()
    assert asked - {"compute_120"} <= set(known)


PLACES = """
#include "roi_align.h"
extern "C" __global__ void places(const float* start, const float* step, const int* bin, float* out) {
    out[threadIdx.x] = parsing_rcnn::place(start[0], step[0], bin[0], 1, 2.0f);
}
extern "C" __global__ void fused(const float* a, float* out) {
    out[0] = a[0] * a[1] + a[2];
}
"""


def test_places_of_samples_are_not_fused_on_the_device(tmp_path: Path) -> None:
    """One rounding less would move a sample of a large picture by a bit, and the answer by 1e-4."""
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc on this machine")
    (tmp_path / "places.cu").write_text(PLACES)
    command = ["nvcc", "-O3", "-std=c++17", "-arch=sm_90", "-ptx", f"-I{SOURCE / 'include'}", "places.cu"]
    subprocess.run([*command, "-o", "places.ptx"], check=True, cwd=tmp_path)
    code = {part.split("(")[0]: part for part in (tmp_path / "places.ptx").read_text().split(".entry ")[1:]}
    assert "fma.rn.f32" in code["fused"], "nvcc fuses no more: this test says nothing"
    assert "fma" not in code["places"]
    assert code["places"].count("mul.rn.f32") == 2  # with .rn said, ptxas may not fuse them either
    assert code["places"].count("add.rn.f32") == 2
    assert "add.f32" not in code["places"]
