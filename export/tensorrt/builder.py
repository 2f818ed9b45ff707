"""Builds the TensorRT engines of a model repository (TensorRT 10 and 11), or gives the trtexec commands that do.

The graphs themselves hold the number types (strongly typed networks), so no precision flag is set; TensorRT 11 has none
any more. Not yet executed on hardware: export/README.md says what was checked without a GPU.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.files import write_bytes
from export.plugin import BUILD, TENSORRT_LIBRARY
from export.plugin.node import OPERATOR, VERSION
from export.tensorrt.profiles import ENGINE, Profile

VERSIONS = (10, 11)
WORKSPACE = 4 << 30  # bytes that layers may use while they run
GRAPH = "model.tensorrt.onnx"
PLUGIN = BUILD / TENSORRT_LIBRARY
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


class TensorRTError(RuntimeError):
    """No engine can be built; the message says why, and what to install or to change."""


class TensorRTMissing(TensorRTError):
    """No package, or its libraries do not load."""


class TensorRTVersion(TensorRTError):
    """Neither 10 nor 11."""


class PluginMissing(TensorRTError):
    """The library of PyramidRoiAlign is absent, or TensorRT does not load it."""


class NoGpu(TensorRTError):
    """No driver or no device; engines have to be built on the kind of GPU that will run them."""


class BuildFailed(TensorRTError):
    """TensorRT refuses the graph; the message gives its reasons."""


@dataclass(frozen=True)
class Plan:
    """An engine to build.

    Attributes:
        graph: its name: detector, parsing or densepose_head.
        folder: holds the graph and takes the engine.
        profiles: the shapes it is made for, see `export.tensorrt.profiles`.
        plugin: whether the graph has PyramidRoiAlign nodes.
    """

    graph: str
    folder: Path
    profiles: tuple[Profile, ...]
    plugin: bool

    @property
    def onnx(self) -> Path:
        """What TensorRT's parser reads."""
        return self.folder / GRAPH


def build_engines(plans: Sequence[Plan], plugin: Path = PLUGIN, cache: Path | None = None) -> list[Path]:
    """Build an engine for each plan on this machine's GPU.

    Each is written under a name with TensorRT's version and the GPU's compute capability, and again as `model.plan`,
    which Triton loads.

    Args:
        plugin: libprcnn_plugin.so.
        cache: folder that keeps TensorRT's timings, which make the next build fast; None: they are not kept.

    Returns:
        the engines under their long names.

    Raises:
        TensorRTError: one of its subclasses.
        OutputError: a file cannot be written.
    """
    trt = load_tensorrt()
    capability = compute_capability()
    logger = trt.Logger(trt.Logger.WARNING)
    trt.init_libnvinfer_plugins(logger, "")  # TensorRT's own, NonZero among them
    if any(plan.plugin for plan in plans):
        load_plugin(trt, plugin)
    mark = f"trt{trt.__version__}_sm{capability[0]}{capability[1]}"
    timings = None if cache is None else cache / f"tensorrt_timings_{mark}.cache"
    written = []
    for plan in plans:
        known = timings.read_bytes() if timings is not None and timings.is_file() else b""
        engine, taken = build(trt, logger, plan, known)
        if timings is not None:
            write_bytes(timings, taken)
        path = plan.folder / f"model_{mark}.plan"
        write_bytes(path, engine)
        _same_file(path, plan.folder / ENGINE)
        written.append(path)
    return written


def load_tensorrt() -> Any:
    """Import the module `tensorrt`.

    Raises:
        TensorRTMissing: it is not installed, or its libraries do not load.
        TensorRTVersion: it is neither 10 nor 11.
    """
    wanted = "pip install tensorrt-cu13 (or -cu12, as the driver), 10 or 11, the version that your server has"
    try:
        import tensorrt
    except ModuleNotFoundError as error:
        raise TensorRTMissing(
            f"TensorRT's Python package is not installed ({error}): {wanted}; or run the trtexec commands "
            "(--print-trtexec) where TensorRT is"
        ) from error
    except (ImportError, OSError) as error:
        raise TensorRTMissing(f"TensorRT is installed, but its libraries do not load ({error}): {wanted}") from error
    major = str(getattr(tensorrt, "__version__", "0")).split(".", 1)[0]
    if major not in map(str, VERSIONS):
        raise TensorRTVersion(f"TensorRT {tensorrt.__version__} is installed; these engines need 10 or 11: {wanted}")
    return tensorrt


def compute_capability(library: str = "libcuda.so.1") -> tuple[int, int]:
    """(major, minor) of the first GPU that this process may use, asked of the driver.

    Raises:
        NoGpu: no driver, or no device.
    """
    remedy = "build where the kind of GPU is that will serve, or take the trtexec commands there (--print-trtexec)"
    try:
        driver = ctypes.CDLL(library)
    except OSError as error:
        raise NoGpu(f"no NVIDIA driver here ({error}); {remedy}") from error
    device, found = ctypes.c_int(), [ctypes.c_int(), ctypes.c_int()]
    status = driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0)
    for attribute, value in zip((_MAJOR, _MINOR), found, strict=True):
        status = status or driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
    if status:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hidden = "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible!r})"
        raise NoGpu(f"the driver shows no GPU, CUDA error {status}{hidden}; {remedy}")
    return found[0].value, found[1].value


def load_plugin(trt: Any, path: Path) -> None:
    """Register PyramidRoiAlign with TensorRT; once it is registered in this process, do nothing.

    Raises:
        PluginMissing: the library is absent, or TensorRT does not take it.
    """
    how = "make plugin TENSORRT_INCLUDE_DIR=folder of NvInfer.h"
    registry = trt.get_plugin_registry()
    if registry.get_creator(OPERATOR, str(VERSION), "") is not None:
        return
    if not path.is_file():
        raise PluginMissing(f"{path}: no such file, and the detector needs it; {how} builds it, --plugin names it")
    try:
        handle = registry.load_library(str(path))
    except RuntimeError as error:
        raise PluginMissing(f"{path}: {error}; build it again against TensorRT {trt.__version__}: {how}") from error
    if handle is None:
        raise PluginMissing(f"{path}: TensorRT {trt.__version__} does not take it; build it against its headers: {how}")


def build(trt: Any, logger: Any, plan: Plan, timings: bytes = b"") -> tuple[bytes, bytes]:
    """Parse a graph and build its engine.

    Args:
        timings: TensorRT's timings of earlier builds.

    Returns:
        the engine; and the timings with those of this build added.

    Raises:
        BuildFailed: with TensorRT's words.
    """
    builder = trt.Builder(logger)
    network = parse(trt, logger, builder, plan)
    config = configure(trt, builder, plan, timings, WORKSPACE)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise BuildFailed(
            f"{plan.onnx}: TensorRT {trt.__version__} built no engine, its log above says why; where it refuses a "
            "number of people that depends on the picture, export with --static-people"
        )
    return bytes(engine), bytes(config.get_timing_cache().serialize())


def parse(trt: Any, logger: Any, builder: Any, plan: Plan) -> Any:
    """The network of a graph; each tensor has the type that the graph gives it.

    Raises:
        BuildFailed: with the parser's words.
    """
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(plan.onnx.read_bytes()):
        reasons = [parser.get_error(k) for k in range(parser.num_errors)]
        told = "; ".join(f"{r.node_operator()} {r.node_name()}: {r.desc()}" for r in reasons)
        raise BuildFailed(f"{plan.onnx}: TensorRT {trt.__version__} does not take it: {told}")
    return network


def configure(trt: Any, builder: Any, plan: Plan, timings: bytes, workspace: int) -> Any:
    """The builder's configuration: memory, timings, profiles, and no TF32.

    Raises:
        BuildFailed: TensorRT does not take a profile.
    """
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default: fp32 layers would round their factors to 11 bits
    if not config.set_timing_cache(config.create_timing_cache(timings), False):
        config.set_timing_cache(config.create_timing_cache(b""), False)  # of another version: begin anew
    for profile in plan.profiles:
        shapes = builder.create_optimization_profile()
        shapes.set_shape(profile.input, profile.least, profile.best, profile.largest)
        if config.add_optimization_profile(shapes) < 0:
            raise BuildFailed(f"{plan.onnx}: TensorRT {trt.__version__} does not take the profile {profile}")
    return config


def trtexec(plan: Plan, plugin: Path = PLUGIN, cache: Path | None = None) -> str:
    """The command that builds the engine of a plan with NVIDIA's program.

    Args:
        cache: folder that keeps its timings, which hold for one GPU and one TensorRT; None: they are not kept.
    """
    words = [
        "trtexec",
        f"--onnx={plan.onnx}",
        f"--saveEngine={plan.folder / ENGINE}",
        "--stronglyTyped",
        "--skipInference",
        "--noTF32",
        f"--memPoolSize=workspace:{WORKSPACE >> 20}",
    ]
    if plan.plugin:
        words.append(f"--dynamicPlugins={plugin}")
    if cache is not None:
        words.append(f"--timingCacheFile={cache / 'trtexec_timings.cache'}")
    for index, profile in enumerate(plan.profiles):
        words.append(f"--profile={index}")  # its three shapes follow it
        for name, shape in (("min", profile.least), ("opt", profile.best), ("max", profile.largest)):
            words.append(f"--{name}Shapes={profile.input}:{_by(shape)}")
    return shlex.join(words)


def _by(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape))


def _same_file(path: Path, name: Path) -> None:
    """Make `name` the same file as `path`: a hard link where the file system has them, else a copy."""
    name.unlink(missing_ok=True)
    try:
        os.link(path, name)
    except OSError:
        shutil.copyfile(path, name)
