"""libprcnn_triton.so registers the plugin when it is opened, which is all that Triton does with it.

TensorRT's headers are not here, so what registers is compiled alone, against a registry that says what it is given.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from export.plugin import SOURCE

HEADER = """
#pragma once
#define PARTS_OF_A_VERSION 10
#define NV_TENSORRT_MAJOR PARTS_OF_A_VERSION  // as TensorRT 10.13 writes it
namespace nvinfer1 {
struct IPluginCreatorInterface { char const* name; };
struct IPluginRegistry { virtual bool registerCreator(IPluginCreatorInterface&, char const* const) noexcept = 0; };
}
"""
PLUGIN = """
#include <cstdint>
#include <NvInfer.h>
extern "C" nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
    static nvinfer1::IPluginCreatorInterface creator{"PyramidRoiAlign"};
    static nvinfer1::IPluginCreatorInterface* const creators[]{&creator};
    count = 1;
    return creators;
}
"""
TENSORRT = """
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <NvInfer.h>
struct Registry : nvinfer1::IPluginRegistry {
    int count{0};
    bool registerCreator(nvinfer1::IPluginCreatorInterface& creator, char const* const space) noexcept override {
        std::printf("%s in '%s'\\n", creator.name, space);
        std::fflush(stdout);
        return ++count == 1;
    }
};
extern "C" int32_t getInferLibVersion() { return VERSION; }
extern "C" nvinfer1::IPluginRegistry* getPluginRegistry() {
    static Registry registry;
    return &registry;
}
"""
# opened as Triton's TensorRT backend opens plugins (RTLD_NOW and RTLD_LOCAL), TensorRT before as that backend has it
OPEN = """
import ctypes, os, sys
seen, *before, plugin = sys.argv[1:]
for library in before:
    ctypes.CDLL(library, os.RTLD_NOW | getattr(os, seen))
ctypes.CDLL(plugin, os.RTLD_NOW | os.RTLD_LOCAL)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of TensorRT's stand-in; plugin.so and other.so, which are the same."""
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler on this machine")
    folder = tmp_path_factory.mktemp("register")
    (folder / "NvInfer.h").write_text(HEADER)
    (folder / "plugin.cpp").write_text(PLUGIN)
    (folder / "tensorrt.cpp").write_text(TENSORRT)
    ours = [SOURCE / "src" / "register.cpp", folder / "plugin.cpp"]
    flags = ["-std=c++17", "-shared", "-fPIC", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{folder}"]
    for name, sources, extra in (
        ("libnvinfer.so.10", [folder / "tensorrt.cpp"], ["-DVERSION=101300", "-Wl,-soname,libnvinfer.so.10"]),
        ("libnvinfer.so.11", [folder / "tensorrt.cpp"], ["-DVERSION=110400", "-Wl,-soname,libnvinfer.so.11"]),
        ("libstatic.so", [folder / "tensorrt.cpp"], ["-DVERSION=101300"]),
        ("libother.so", [folder / "tensorrt.cpp"], ["-DVERSION=110400"]),
        ("plugin.so", ours, ["-ldl"]),
        ("other.so", ours, ["-ldl"]),
    ):
        subprocess.run(["c++", *flags, *sources, *extra, "-o", folder / name], check=True)
    return folder


def opened(folder: Path, *libraries: str, seen: str = "RTLD_LOCAL") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", OPEN, seen, *(str(folder / name) for name in libraries)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_opening_registers_once(folder: Path) -> None:
    done = opened(folder, "libnvinfer.so.10", "plugin.so", "plugin.so")
    assert done.stdout == "PyramidRoiAlign in ''\n"
    assert done.stderr == ""


def test_a_server_may_hold_tensorrt_under_another_name(folder: Path) -> None:
    assert opened(folder, "libstatic.so", "plugin.so", seen="RTLD_GLOBAL").stdout == "PyramidRoiAlign in ''\n"


@pytest.mark.parametrize("seen", ["RTLD_LOCAL", "RTLD_GLOBAL"])
@pytest.mark.parametrize("before", [[], ["libnvinfer.so.11"]])
def test_without_its_tensorrt_it_says_why(folder: Path, before: list[str], seen: str) -> None:
    """A server with another TensorRT is not given classes of this one, whoever may see that."""
    done = opened(folder, *before, "plugin.so", seen=seen)
    assert done.stdout == ""
    assert "libnvinfer.so.10 is not loaded here, so PyramidRoiAlign is not registered" in done.stderr
    # other headers help where there is another version, and nothing but a later opening where there is none yet
    assert ("build this library with the headers of the server's own TensorRT" in done.stderr) == bool(before)
    assert ("no TensorRT is loaded yet" in done.stderr) == (not before)
    assert ("--backend-config=tensorrt,plugins=PATH, not LD_PRELOAD" in done.stderr) == (not before)


def test_a_library_that_is_preloaded_comes_before_tensorrt(folder: Path) -> None:
    environment = {**os.environ, "LD_PRELOAD": str(folder / "plugin.so")}
    command = [sys.executable, "-c", OPEN, "RTLD_LOCAL", str(folder / "libnvinfer.so.10"), str(folder / "plugin.so")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "no TensorRT is loaded yet; have Triton open this library when it is" in done.stderr
    assert "headers" not in done.stderr


def test_another_version_that_all_may_see_is_no_absence(folder: Path) -> None:
    """A server may hold its TensorRT under any name."""
    done = opened(folder, "libother.so", "plugin.so", seen="RTLD_GLOBAL")
    assert done.stdout == ""
    assert "build this library with the headers of the server's own TensorRT" in done.stderr


def test_what_tensorrt_refuses_is_said(folder: Path) -> None:
    done = opened(folder, "libnvinfer.so.10", "plugin.so", "other.so")
    assert done.stdout.count("PyramidRoiAlign") == 2
    assert "TensorRT does not take PyramidRoiAlign" in done.stderr
