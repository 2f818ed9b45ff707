"""Load on Triton's ensembles: by perf_analyzer, or by a client of our own where that program does not run."""

from __future__ import annotations

import base64
import contextlib
import csv
import functools
import importlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rounds import ROOT, percentile

UNPACKED = ROOT / ".triton" / "perf_analyzer"
TRANSPORTS = ("grpc", "http", "shared memory")
_ANSWER = 4 * 1024 * 1024  # bytes of the largest output: IUV of 64 people takes 3.1 MB


_TOO_SHORT = ("larger time window", "increase the --measurement-interval")
"""Parts of perf_analyzer's messages where too little was answered within a window."""


@dataclass(frozen=True)
class Load:
    """Throughput, pictures a second, and latencies, milliseconds."""

    per_second: float
    p50_ms: float
    p95_ms: float


@functools.cache
def find_perf_analyzer() -> tuple[str, dict[str, str]] | None:
    """(program, environment) of a perf_analyzer that runs; None where there is none.

    The one that scripts/install_triton.sh unpacked comes before one on PATH.
    """
    unpacked = UNPACKED / "perf_analyzer"
    found = [(str(unpacked), {**os.environ, "LD_LIBRARY_PATH": str(UNPACKED)})] if unpacked.is_file() else []
    on_path = shutil.which("perf_analyzer")
    found += [(on_path, dict(os.environ))] if on_path else []
    for program, environment in found:
        try:
            version = subprocess.run([program, "--version"], env=environment, capture_output=True, check=False)
        except OSError:
            continue
        if version.returncode == 0:
            return program, environment
    return None


def triton_load(
    transport: str, http: str, grpc: str, model: str, photo: bytes, concurrency: int, seconds: float
) -> tuple[Load, str]:
    """(load of an ensemble with `concurrency` requests at a time, the client: "pa" or "python").

    Args:
        transport: one of `TRANSPORTS`; shared memory goes with gRPC. http, grpc: Triton's addresses.
    """
    if find_perf_analyzer() is not None:
        return perf_analyzer(transport, http if transport == "http" else grpc, model, photo, concurrency, seconds), "pa"
    return python_client(transport, http if transport == "http" else grpc, model, photo, concurrency, seconds), "python"


def perf_analyzer(transport: str, address: str, model: str, photo: bytes, concurrency: int, seconds: float) -> Load:
    """One run of perf_analyzer: three windows of `seconds`, longer ones where not enough was answered within one.

    Raises:
        RuntimeError: it failed; the message ends with its output.
    """
    found = find_perf_analyzer()
    if found is None:
        raise RuntimeError(f"no perf_analyzer in {UNPACKED} or on PATH that runs: run scripts/install_triton.sh")
    program, environment = found
    with tempfile.TemporaryDirectory() as folder:
        data, report = Path(folder) / "in.json", Path(folder) / "out.csv"
        # a BYTES element carries its length in front
        element = len(photo).to_bytes(4, "little") + photo
        content = {"content": {"b64": base64.b64encode(element).decode()}, "shape": [1]}
        data.write_text(json.dumps({"data": [{"IMAGE": content}]}))
        command = [
            program, "-m", model, "-u", address, "-i", "http" if transport == "http" else "grpc",
            "--input-data", str(data), "--concurrency-range", str(concurrency), "--max-trials", "3",
            # three windows whatever they say: the spread belongs into the report, not into a refusal
            "--stability-percentage", "999", "--percentile", "95", "-f", str(report),
        ]  # fmt: skip
        if transport == "shared memory":
            command += ["--shared-memory", "system", "--output-shared-memory-size", str(_ANSWER)]
        output = ""
        for window in (seconds, 4 * seconds, 16 * seconds):
            timed = [*command, "--measurement-interval", str(int(1000 * window))]
            ended = subprocess.run(timed, env=environment, capture_output=True, text=True, check=False)
            output = (ended.stderr or ended.stdout)[-2000:]
            if report.is_file() or not any(word in output for word in _TOO_SHORT):
                break
        if not report.is_file():
            raise RuntimeError(f"perf_analyzer ended with status {ended.returncode}: {output}")
        with report.open() as file:
            (row,) = csv.DictReader(file)
    return Load(float(row["Inferences/Second"]), float(row["p50 latency"]) / 1000, float(row["p95 latency"]) / 1000)


def python_client(transport: str, address: str, model: str, photo: bytes, concurrency: int, seconds: float) -> Load:
    """The same by tritonclient, each thread with its own connection. It takes more of the machine than C++ does."""
    return threads_load(lambda: _client_call(transport, address, model, photo), concurrency, seconds)


def _client_call(transport: str, address: str, model: str, photo: bytes) -> Callable[[], Any]:
    """A function that has one picture analysed, over a connection of its own."""
    library = importlib.import_module("tritonclient.http" if transport == "http" else "tritonclient.grpc")
    client = library.InferenceServerClient(address)
    tensor = library.InferInput("IMAGE", [1], "BYTES")
    if transport != "shared memory":
        tensor.set_data_from_numpy(np.array([photo], dtype=np.object_))
        return functools.partial(client.infer, model, [tensor])
    names = [output.name for output in client.get_model_metadata(model).outputs]
    memory = SharedMemory(create=True, size=len(photo) + 4 + _ANSWER * len(names))
    assert memory.buf is not None
    memory.buf[:4], memory.buf[4 : 4 + len(photo)] = len(photo).to_bytes(4, "little"), photo
    client.register_system_shared_memory(memory.name, f"/{memory.name}", memory.size)
    tensor.set_shared_memory(memory.name, len(photo) + 4)
    outputs = [library.InferRequestedOutput(name) for name in names]
    for index, output in enumerate(outputs):
        output.set_shared_memory(memory.name, _ANSWER, len(photo) + 4 + _ANSWER * index)

    return _SharedMemoryCall(client, memory, functools.partial(client.infer, model, [tensor], outputs=outputs))


@dataclass(frozen=True)
class _SharedMemoryCall:
    """A request whose picture and answers lie in shared memory, which `close` gives back."""

    client: Any
    memory: SharedMemory
    infer: Callable[[], Any]

    def __call__(self) -> None:
        self.infer()

    def close(self) -> None:
        self.client.unregister_system_shared_memory(self.memory.name)
        self.memory.close()
        self.memory.unlink()


def threads_load(make: Callable[[], Callable[[], Any]], concurrency: int, seconds: float) -> Load:
    """The load of `concurrency` threads, each of which sends one request after another; `make` gives each its function.

    Only answers within `seconds` count for the throughput. Those on their way at the end have ever fewer others beside
    them, and the last ones wait for half a second in Triton 2.51, which notices a free model when a request arrives.
    """
    times: list[float] = []
    moments: list[float] = []
    failures: list[Exception] = []
    start = threading.Barrier(concurrency + 1)

    def run() -> None:
        try:
            ask = make()
            ask()  # connections are opened, and what is compiled late is compiled
        except Exception as error:
            failures.append(error)
            start.abort()
            return
        try:
            start.wait()
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                begin = time.perf_counter()
                ask()
                now = time.perf_counter()
                moments.append(now)
                times.append(1000 * (now - begin))
        except threading.BrokenBarrierError:  # another one failed
            pass
        except Exception as error:
            failures.append(error)
        finally:
            getattr(ask, "close", lambda: None)()

    threads = [threading.Thread(target=run) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    with contextlib.suppress(threading.BrokenBarrierError):
        start.wait()
    begin = time.perf_counter()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(f"a client failed: {failures[0]}") from failures[0]
    counted = [moment for moment in moments if moment <= begin + seconds] or [min(moments)]
    return Load(len(counted) / (max(counted) - begin), statistics.median(times), percentile(times, 0.95))
