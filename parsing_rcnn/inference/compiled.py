"""A compiled graph on ONNX Runtime or on OpenVINO."""

from __future__ import annotations

import atexit
import io
import locale
import os
import queue
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parsing_rcnn.errors import BrokenModel, EngineUnavailable, OutOfMemory, is_shortage
from parsing_rcnn.inference.contention import Contention

# read while ONNX Runtime is imported; without it, ONNX Runtime begins then to report to its makers
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

Arrays = Mapping[str, NDArray[Any]]

_cores: list[Any] = []
_core_lock = threading.Lock()
_EXIT_WAIT_SECONDS = 30.0  # the longest that the end of the process waits for daemon threads; a compilation takes a few
_STUCK_SECONDS = 5.0  # after which the end of the process may be waiting for the very thread that waits for it


class _Process:
    """Keeps the runtimes from hanging or crashing this process when it was forked, and when it ends."""

    def __init__(self) -> None:
        self._computed_in: int | None = None
        self._changed, self._by_daemons, self._ends = threading.Condition(), 0, False
        self._own = threading.local()
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(after_in_child=self._forked)

    def refuse_fork(self) -> None:
        """Refuse to use OpenVINO in a process that was forked after OpenVINO had computed.

        Its threads exist only in the parent, and its locks are copied as they were, so every call would wait for ever.
        A fork is harmless where OpenVINO was only imported before.

        Raises:
            EngineUnavailable: this process was forked from one in which OpenVINO had computed.
        """
        if self._computed_in not in (None, os.getpid()):
            raise EngineUnavailable(
                "this process was forked from one in which OpenVINO had computed, whose threads are not here: start it "
                "by multiprocessing's spawn or forkserver, or analyse the first picture after the fork"
            )

    @contextmanager
    def computing(self, *, openvino: bool) -> Iterator[None]:
        """Wrap a compilation or an inference: `refuse_fork` for OpenVINO, and `in_order`.

        Raises:
            EngineUnavailable: as of `refuse_fork`.
            SystemExit: as of `in_order`.
        """
        if openvino:
            self.refuse_fork()
            self._computed_in = os.getpid()
        with self.in_order():
            yield

    @contextmanager
    def in_order(self) -> Iterator[None]:
        """Wrap work of a daemon thread that the end of the process has to wait for. May be nested.

        At its end, the process unloads the libraries that such a thread is using, and Python stops the thread in a way
        that C++ takes for a fault (SIGSEGV, SIGABRT). So `_end` waits for the threads that are in here. A daemon thread
        that comes here later is held for the rest of the process, as Python holds it later anyway; if it ended, its
        objects would be destroyed beside their libraries, with the same fault. Threads that are no daemons pass: Python
        ends them before.

        Raises:
            SystemExit: the end of the process takes so long that it may be waiting for this daemon thread. Python shows
                nothing of it.
        """
        if not threading.current_thread().daemon or getattr(self._own, "inside", False):
            yield
            return
        with self._changed:
            ends = self._ends
            self._by_daemons += not ends
        if ends:
            threading.Event().wait(_STUCK_SECONDS)
            raise SystemExit
        self._own.inside = True
        try:
            yield
        finally:
            self._own.inside = False
            with self._changed:
                self._by_daemons -= 1
                self._changed.notify_all()

    def end_in_order(self) -> None:
        """Have `_end` called at the end of the process, before the libraries imported by now are unloaded."""
        atexit.unregister(self._end)
        atexit.register(self._end)

    def _end(self) -> None:
        with self._changed:
            self._ends = True
            self._changed.wait_for(lambda: not self._by_daemons, _EXIT_WAIT_SECONDS)

    def _forked(self) -> None:
        # the other threads do not exist here, and one of them may have held the lock
        self._changed, self._by_daemons = threading.Condition(), 0


_process = _Process()
_process.end_in_order()  # a daemon thread may still be importing the first library at the end
in_order = _process.in_order


class _KeptLocale:
    """Wraps compilations: after the last of those that overlap the process has the locale from before the first.

    OpenVINO sets the locale of the process to "C" while it compiles, and then back to what it found. The second of two
    threads finds "C". That would stay, and every text file would be read as ASCII from then on.
    """

    def __init__(self) -> None:
        self._lock, self._compiling, self._before = threading.Lock(), 0, ""

    def __enter__(self) -> None:
        with self._lock:
            if not self._compiling:
                self._before = locale.setlocale(locale.LC_ALL)
            self._compiling += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._compiling -= 1
            if not self._compiling and locale.setlocale(locale.LC_ALL) != self._before:
                locale.setlocale(locale.LC_ALL, self._before)


_kept_locale = _KeptLocale()


class Graph(Protocol):
    """A compiled graph. Thread-safe."""

    def run(self, inputs: Arrays, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Named arrays in; the outputs with these names out."""
        ...


def openvino_core() -> Any:
    """The one `openvino.Core` of this process, made without the package that reports every import to OpenVINO's makers.

    There is only one and it is never released. A core gives its thread a signal stack (for AMX) and frees that stack
    with itself. Where two cores are released in the order in which they were made, the second one restores the stack
    that the first one has freed, and the next signal that Python handles (Ctrl-C, the end of a child) ends the process.

    Raises:
        EngineUnavailable: it is not installed, or cannot be used here (`_Process.refuse_fork`).
    """
    _process.refuse_fork()
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO has a stub for its absence
    try:
        import openvino
    except ImportError as error:
        raise EngineUnavailable("openvino is not installed: pip install 'parsing-rcnn[cpu]'") from error
    with _core_lock:
        if not _cores:
            # fills a table of types now, in one thread: two threads that first need it at the same time deadlock, one
            # with the table's lock and one with Python's
            openvino.Type.f32.to_dtype()
            _cores.append(openvino.Core())
            _process.end_in_order()
        return _cores[0]


def has_bf16(core: Any) -> bool:
    """Whether OpenVINO computes in bf16 on this CPU, which needs AMX or AVX-512 BF16; `core` is of `openvino_core`."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def onnx_runtime() -> Any:
    """The package onnxruntime, with its telemetry off.

    Raises:
        EngineUnavailable: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineUnavailable(
            "onnxruntime is not installed: pip install 'parsing-rcnn[cpu]', or 'parsing-rcnn[gpu]' beside a CUDA device"
        ) from error
    onnxruntime.disable_telemetry_events()  # the events of Windows, which begin after the import
    _process.end_in_order()
    return onnxruntime


class OrtGraph:
    """A graph on ONNX Runtime: on CUDA where the package and a device are present, else on the CPU.

    Args:
        name: of the graph's file in the repository, for error messages, which clients get to read.
        model: the bytes of that file.
        threads: of one inference.
    """

    def __init__(self, name: str, model: bytes, threads: int) -> None:
        onnxruntime = onnx_runtime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        available = onnxruntime.get_available_providers()
        # fp32 without TF32, as everywhere; cuDNN's heuristic picks algorithms: trying all takes a second a new shape
        providers: dict[str, dict[str, str]] = {
            "CUDAExecutionProvider": {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
            "CPUExecutionProvider": {},
        }
        wanted = [(name, own) for name, own in providers.items() if name in available]
        try:
            with _process.computing(openvino=False):
                self.session = onnxruntime.InferenceSession(model, options, providers=wanted)
        except Exception as error:  # ONNX Runtime's own types have no common base
            raise _fault(name, error) from error
        self.name = name
        self._inputs = {tensor.name for tensor in self.session.get_inputs()}
        self._outputs = {tensor.name for tensor in self.session.get_outputs()}

    def run(self, inputs: Arrays, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        wrong = (self._inputs ^ set(inputs)) | (set(outputs) - self._outputs)
        if wrong:
            raise BrokenModel(self.name, f"{', '.join(sorted(wrong))}: not there, or not known here")
        with _process.computing(openvino=False), _shortage_named(self.name):
            return dict(zip(outputs, self.session.run(list(outputs), dict(inputs)), strict=True))


class _Compilation:
    """A graph compiled for one key. The first thread that needs it compiles; others wait only for the same key."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.model: Any = None
        self.idle: queue.LifoQueue[Any] = queue.LifoQueue()


class OpenVinoGraph:
    """A graph on OpenVINO's CPU plugin: one static compilation for each set of input shapes, outputs and contention.

    Args:
        name: of the graph's file in the repository, for error messages, which clients get to read.
        model: the bytes of that file, of which every compilation is made: the file may have changed by then.
        core: of `openvino_core`.
        contention: tells whether an inference has the processor to itself.
        alone: properties of compilations for inferences that have it to themselves.
        beside: properties of compilations for inferences beside others.
    """

    def __init__(
        self,
        name: str,
        model: bytes,
        core: Any,
        contention: Contention,
        *,
        alone: Mapping[str, Any],
        beside: Mapping[str, Any],
    ) -> None:
        self.name, self.core = name, core
        self._contention, self._alone, self._beside = contention, alone, beside
        self._bytes = model
        self._read: Any = None  # the same as OpenVINO has it, once something is compiled
        self._compiled: dict[Any, _Compilation] = {}
        self._lock = threading.Lock()

    def run(self, inputs: Arrays, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        shapes = {name: value.shape for name, value in inputs.items()}
        # before any lock is taken: after a fork, locks that other threads held are never released
        with _process.computing(openvino=True), self._contention.running() as alone:
            model, idle = self._compile(shapes, tuple(outputs), self._alone if alone else self._beside)
            with _shortage_named(self.name):
                try:
                    request = idle.get_nowait()
                except queue.Empty:
                    request = model.create_infer_request()
                # infer() would pick a stream by chance, and wait for it although the other one is idle
                request.start_async({n: np.ascontiguousarray(v) for n, v in inputs.items()}, share_inputs=True)
                request.wait()
                found = {name: request.get_tensor(name).data.copy() for name in outputs}
            idle.put(request)  # not one that failed, or that was interrupted and may still run
            return found

    def _compile(
        self, shapes: dict[str, tuple[int, ...]], outputs: tuple[str, ...], properties: Mapping[str, Any]
    ) -> tuple[Any, queue.LifoQueue[Any]]:
        key = (tuple(sorted(shapes.items())), outputs, tuple(sorted(properties.items())))
        with self._lock:
            found = self._compiled.setdefault(key, _Compilation())
        with found.lock:
            if found.model is None:
                try:
                    found.model = self._static(shapes, outputs, properties)
                except (RuntimeError, MemoryError) as error:
                    raise _fault(self.name, error) from error
        return found.model, found.idle

    def _static(
        self, shapes: dict[str, tuple[int, ...]], outputs: tuple[str, ...], properties: Mapping[str, Any]
    ) -> Any:
        with self._lock:
            if self._read is None:
                self._read = self.core.read_model(io.BytesIO(self._bytes))  # it takes bytes only as a stream
                self._bytes = b""
            model = self._read.clone()
        model.reshape({name: list(shape) for name, shape in shapes.items()})
        # an unused output would still be computed, and PART_PROBS is 20 times the size of PARTS
        for result in model.get_results():
            if result.output(0).get_any_name() not in outputs:
                model.remove_result(result)
        missing = set(outputs) - {result.output(0).get_any_name() for result in model.get_results()}
        if missing:
            raise RuntimeError(f"it has no {', '.join(sorted(missing))}")
        with _kept_locale:
            return self.core.compile_model(model, "CPU", dict(properties))


def _fault(name: str, error: Exception) -> EngineUnavailable:
    """The error for a graph that cannot be loaded or compiled."""
    return OutOfMemory(name, error) if is_shortage(error) else BrokenModel(name, error)


@contextmanager
def _shortage_named(name: str) -> Iterator[None]:
    """Turn a shortage of memory while a graph runs into `OutOfMemory`; any other error there is a fault of ours."""
    try:
        yield
    except Exception as error:
        if is_shortage(error):
            raise OutOfMemory(name, error) from error
        raise
