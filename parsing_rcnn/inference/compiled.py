"""A compiled graph on ONNX Runtime or on OpenVINO."""

from __future__ import annotations

import atexit
import io
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
from parsing_rcnn.inference.contention import Company

# ONNX Runtime reads it while it is imported, and would begin then to report to its makers
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

Arrays = Mapping[str, NDArray[Any]]

_cores: list[Any] = []
_core_lock = threading.Lock()
_LONGEST = 30.0  # seconds for which the end of a process waits for what is computed; a compilation takes a few
_STUCK = 5.0  # seconds of that end after which a program may be waiting for one of its daemon threads


class _Process:
    """What is computed in this process, which may be forked, and ends one day."""

    def __init__(self) -> None:
        self._computed_in: int | None = None
        self._changed, self._by_daemons, self._ends = threading.Condition(), 0, False
        self._own = threading.local()
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(after_in_child=self._forked)

    def refuse_fork(self) -> None:
        """OpenVINO's threads stay behind in the process that is forked, and its locks as they were: whatever is asked
        of it in the child waits for ever. What it only opened before is of use there.

        Raises:
            EngineUnavailable: it has computed in another process, of which this one was forked.
        """
        if self._computed_in not in (None, os.getpid()):
            raise EngineUnavailable(
                "this process was forked from one in which OpenVINO had computed, whose threads are not here: start it "
                "by multiprocessing's spawn or forkserver, or analyse the first picture after the fork"
            )

    @contextmanager
    def computing(self, *, openvino: bool) -> Iterator[None]:
        """While something is compiled or computed; daemon threads do so `in_order`.

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
        """What the end of the process waits for, where a daemon thread does it: what it is done with is about to be
        taken away, and Python leaves such threads there in a way that C++ takes for a fault (SIGSEGV, SIGABRT).

        Once the process ends, daemon threads wait here for the rest of its time, as they do later anywhere in Python.
        Were they to end, what they own would be taken apart while the libraries of it are, which is the same fault.
        All others end before that. One of these may stand in another.

        Raises:
            SystemExit: of which nothing is shown: this is a daemon thread, and the end of the process takes so long
                that it may be this thread that it waits for.
        """
        if not threading.current_thread().daemon or getattr(self._own, "inside", False):
            yield
            return
        with self._changed:
            ends = self._ends
            self._by_daemons += not ends
        if ends:
            threading.Event().wait(_STUCK)
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
        """At the end of the process let daemon threads end what they compute, before anything of a library ends that
        was imported by now."""
        atexit.unregister(self._end)
        atexit.register(self._end)

    def _end(self) -> None:
        with self._changed:
            self._ends = True
            self._changed.wait_for(lambda: not self._by_daemons, _LONGEST)

    def _forked(self) -> None:
        # other threads are not here; one of them may have had the lock
        self._changed, self._by_daemons = threading.Condition(), 0


_process = _Process()
_process.end_in_order()  # a daemon thread may be importing the first library then
in_order = _process.in_order


class Graph(Protocol):
    """A compiled graph. Thread-safe."""

    def run(self, inputs: Arrays, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Named arrays in, the named outputs out."""
        ...


def openvino_core() -> Any:
    """OpenVINO's entry, without the package that would report every import of it to its makers.

    There is one in a process, and it stays. Each gives its thread a stack for signals (for AMX) and takes it away with
    itself; of two that end in the order in which they began, the second leaves the thread with the stack that the first
    took away, and the next signal that Python handles, Ctrl-C or the end of a child, ends the process.

    Raises:
        EngineUnavailable: it is not installed, or cannot be used here (`_Process.refuse_fork`).
    """
    _process.refuse_fork()
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it has a stub for who lacks it
    try:
        import openvino
    except ImportError as error:
        raise EngineUnavailable("openvino is not installed: pip install 'parsing-rcnn[cpu]'") from error
    with _core_lock:
        if not _cores:
            # fills a table of types in one thread: two threads that need it first at once wait for each other for ever,
            # one with its lock and one with Python's
            openvino.Type.f32.to_dtype()
            _cores.append(openvino.Core())
            _process.end_in_order()
        return _cores[0]


def onnx_runtime() -> Any:
    """ONNX Runtime's package, which reports nothing to its makers.

    Raises:
        EngineUnavailable: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineUnavailable(
            "onnxruntime is not installed: pip install 'parsing-rcnn[cpu]', or 'parsing-rcnn[gpu]' beside a CUDA device"
        ) from error
    onnxruntime.disable_telemetry_events()  # of Windows, which come later
    _process.end_in_order()
    return onnxruntime


class OrtGraph:
    """A graph on ONNX Runtime: CUDA where the package and a device are there, else the CPU.

    Args:
        name: for errors, which clients get to read: of the graph's file in the repository.
        model: its bytes.
        threads: of one inference.
    """

    def __init__(self, name: str, model: bytes, threads: int) -> None:
        onnxruntime = onnx_runtime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        available = onnxruntime.get_available_providers()
        # fp32 without TF32, as everywhere; an algorithm by cuDNN's rules, for to try all takes a second a new shape
        providers: dict[str, dict[str, str]] = {
            "CUDAExecutionProvider": {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
            "CPUExecutionProvider": {},
        }
        wanted = [(name, own) for name, own in providers.items() if name in available]
        try:
            with _process.computing(openvino=False):
                self.session = onnxruntime.InferenceSession(model, options, providers=wanted)
        except Exception as error:  # of types of its own, without a common base
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
    """One of a graph: made by whoever needs it first, for which only those wait who need the same one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.model: Any = None
        self.idle: queue.LifoQueue[Any] = queue.LifoQueue()


class OpenVinoGraph:
    """A graph on OpenVINO's CPU plugin, one static compilation for each set of input shapes and outputs, and company.

    Args:
        name: for errors, which clients get to read: of the graph's file in the repository.
        model: its bytes, of which every compilation is made: the file may be another one by then.
        core: of `openvino_core`.
        company: tells whether an inference has the processor to itself.
        alone, beside: properties of compilations for inferences that have, and that have not.
    """

    def __init__(
        self,
        name: str,
        model: bytes,
        core: Any,
        company: Company,
        *,
        alone: Mapping[str, Any],
        beside: Mapping[str, Any],
    ) -> None:
        self.name, self.core = name, core
        self._model, self._company, self._alone, self._beside = model, company, alone, beside
        self._compiled: dict[Any, _Compilation] = {}
        self._lock = threading.Lock()

    def run(self, inputs: Arrays, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        shapes = {name: value.shape for name, value in inputs.items()}
        # first of all: locks that others had when this process was forked are never given back
        with _process.computing(openvino=True), self._company.joined() as alone:
            model, idle = self._compile(shapes, tuple(outputs), self._alone if alone else self._beside)
            with _shortage_named(self.name):
                try:
                    request = idle.get_nowait()
                except queue.Empty:
                    request = model.create_infer_request()
                # infer() would run on a stream by chance, and wait for it where the other one is idle
                request.start_async({n: np.ascontiguousarray(v) for n, v in inputs.items()}, share_inputs=True)
                request.wait()
                found = {name: request.get_tensor(name).data.copy() for name in outputs}
            idle.put(request)  # one that failed, or was interrupted and may still run, is not used again
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
        # ONNX it takes from streams alone
        model = self.core.read_model(io.BytesIO(self._model))
        model.reshape({name: list(shape) for name, shape in shapes.items()})
        # an output that nobody reads would still be computed: PART_PROBS is 20 times the size of PARTS
        for result in model.get_results():
            if result.output(0).get_any_name() not in outputs:
                model.remove_result(result)
        missing = set(outputs) - {result.output(0).get_any_name() for result in model.get_results()}
        if missing:
            raise RuntimeError(f"it has no {', '.join(sorted(missing))}")
        return self.core.compile_model(model, "CPU", dict(properties))


def _fault(name: str, error: Exception) -> EngineUnavailable:
    """Why a graph cannot be made ready."""
    return OutOfMemory(name, error) if is_shortage(error) else BrokenModel(name, error)


@contextmanager
def _shortage_named(name: str) -> Iterator[None]:
    """A shortage of memory while a graph is run is told as one; what else happens then is a fault of ours."""
    try:
        yield
    except Exception as error:
        if is_shortage(error):
            raise OutOfMemory(name, error) from error
        raise
