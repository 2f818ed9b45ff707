"""Engines of a repository (detector/1/model.plan and so on), run by TensorRT's Python API.

Written against the documented API of TensorRT 10 and 11; not executed on a GPU by the tests of this project.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.named_graphs import NamedGraphs
from export.tensorrt.builder import PLUGIN, load_plugin
from export.tensorrt.profiles import ENGINE
from parsing_rcnn.repository import GRAPHS, ModelRepository


def unavailable(repository: ModelRepository) -> str | None:
    """Why the engines of a repository cannot run here; None where they can."""
    if find_spec("tensorrt") is None:
        return "tensorrt is not installed"
    if not torch.cuda.is_available():
        return "no CUDA device"
    missing = [name for name in GRAPHS if not plan_of(repository, name).is_file()]
    return f"{plan_of(repository, missing[0])} is missing: build the engines first" if missing else None


def plan_of(repository: ModelRepository, name: str) -> Path:
    """Where the engine of a graph lies."""
    return repository.path / name / "1" / ENGINE


class _Engine:
    """One engine: numpy in, numpy out. An allocator gives memory for outputs whose sizes depend on the data."""

    def __init__(self, path: Path) -> None:
        import tensorrt as trt

        self._trt = trt
        self._logger = trt.Logger(trt.Logger.WARNING)
        trt.init_libnvinfer_plugins(self._logger, "")
        if PLUGIN.is_file():  # only engines with nodes of the plugin need it
            load_plugin(trt, PLUGIN)
        self._engine = trt.Runtime(self._logger).deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise RuntimeError(f"{path}: TensorRT {trt.__version__} cannot read this engine; build it again with it")
        self._context = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self.inputs = [n for n in names if self._engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        self.outputs = [n for n in names if n not in self.inputs]
        self._allocators = {name: _allocator(trt) for name in self.outputs}

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        stream = torch.cuda.current_stream()
        on_gpu = {name: torch.from_numpy(np.ascontiguousarray(inputs[name])).cuda() for name in self.inputs}
        profile = self._profile({name: tuple(tensor.shape) for name, tensor in on_gpu.items()})
        self._context.set_optimization_profile_async(profile, stream.cuda_stream)
        for name, tensor in on_gpu.items():
            self._context.set_input_shape(name, tuple(tensor.shape))
            self._context.set_tensor_address(name, tensor.data_ptr())
        for name, allocator in self._allocators.items():
            self._context.set_output_allocator(name, allocator)
        if not self._context.execute_async_v3(stream.cuda_stream):
            raise RuntimeError("TensorRT did not run the engine: its log above says why")
        stream.synchronize()
        outputs = {}
        for name, allocator in self._allocators.items():
            kind = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
            size = int(np.prod(allocator.shape)) * kind.itemsize
            outputs[name] = allocator.memory[:size].cpu().numpy().view(kind).reshape(allocator.shape)
        return outputs

    def _profile(self, shapes: Mapping[str, tuple[int, ...]]) -> int:
        number = self.profile_of(shapes)
        if number is None:
            raise RuntimeError(f"no profile of the engine holds {dict(shapes)}: build it for this size (export --size)")
        return number

    def profile_of(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        """The number of the engine's first profile that holds inputs of these shapes; None where there is none."""
        for number in range(self._engine.num_optimization_profiles):
            bounds = {name: self._engine.get_tensor_profile_shape(name, number) for name in shapes}
            if all(
                low <= size <= high
                for name, shape in shapes.items()
                for low, size, high in zip(bounds[name][0], shape, bounds[name][2], strict=True)
            ):
                return number
        return None


def _allocator(trt: Any) -> Any:
    """An output allocator: one piece of GPU memory that grows to what TensorRT asks for, and the output's shape."""

    class Allocator(trt.IOutputAllocator):
        def __init__(self) -> None:
            super().__init__()
            self.memory = torch.empty(0, dtype=torch.uint8, device="cuda")
            self.shape: tuple[int, ...] = ()

        def reallocate_output(self, tensor_name: str, memory: int, size: int, alignment: int) -> int:
            if size > self.memory.numel():
                self.memory = torch.empty(size, dtype=torch.uint8, device="cuda")
            return int(self.memory.data_ptr())

        def reallocate_output_async(self, tensor_name: str, memory: int, size: int, alignment: int, stream: int) -> int:
            return self.reallocate_output(tensor_name, memory, size, alignment)

        def notify_shape(self, tensor_name: str, shape: Any) -> None:
            self.shape = tuple(shape)

    return Allocator()


class TensorRtGraphs(NamedGraphs):
    """Detector and heads of a repository on the GPU. Ask `unavailable` first whether they can run here."""

    def __init__(self, repository: ModelRepository) -> None:
        import tensorrt as trt

        self.name = f"tensorrt {trt.__version__} {torch.cuda.get_device_name()}"
        self._engines = {name: _Engine(plan_of(repository, name)) for name in GRAPHS}

    def takes(self, canvas: tuple[int, ...]) -> bool:
        """Whether a profile of the detector's engine holds canvases of this shape (H, W, 3)."""
        return self._engines["detector"].profile_of({"CANVAS": canvas}) is not None

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]], outputs: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        """See `NamedGraphs`. An engine computes all of its outputs; those that were not asked for are dropped."""
        answer = self._engines[graph].run(inputs)
        return {name: answer[name] for name in outputs}
