"""Where the packages that run graphs are missing, in a process that is forked, and at the end of one."""

from __future__ import annotations

import locale
import os
import shlex
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parsing_rcnn.inference.compiled import OpenVinoGraph, openvino_core
from parsing_rcnn.inference.contention import Threads
from parsing_rcnn.repository import ModelRepository

ROOT = Path(__file__).resolve().parents[3]


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


FORKS = """
import os, sys
import numpy as np
from parsing_rcnn.errors import EngineUnavailable
from parsing_rcnn.pipeline import Pipeline

runtime, before = sys.argv[1:]
picture = np.full((90, 160, 3), 114, np.uint8)
engine = None if before == "imported" else Pipeline(runtime=runtime, threads=2)
if before in ("computed", "gone"):
    engine.analyze(picture)
if before == "gone":
    engine.close()
    engine = None
if os.fork() == 0:
    try:
        (engine or Pipeline(runtime=runtime, threads=2)).analyze(picture)
    except EngineUnavailable as error:
        print(error.detail, flush=True)
        os._exit(3)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.parametrize(
    ("runtime", "before", "refused"),
    [
        ("openvino", "imported", False),
        ("openvino", "opened", False),
        ("openvino", "computed", True),
        ("openvino", "gone", True),
        ("onnxruntime", "computed", False),
    ],
)
def test_a_fork_is_refused_where_it_would_wait_for_ever(runtime: str, before: str, refused: bool) -> None:
    pytest.importorskip(runtime)
    command = [sys.executable, "-c", FORKS, runtime, before]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == (3 if refused else 0), done.stderr
    assert ("spawn or forkserver" in done.stdout) == refused


ENDS = """
import atexit, sys, threading
import cv2
import numpy as np
from parsing_rcnn.pipeline import Pipeline

runtime, owner, wait = sys.argv[1:]
photo, begun, stop = cv2.imencode(".jpg", np.full((900, 1600, 3), 114, np.uint8))[1].tobytes(), [], threading.Event()
first = threading.Semaphore(0)
shared = Pipeline(runtime=runtime, threads=1) if owner == "main" else None

def work():
    engine = shared or Pipeline(runtime=runtime, threads=1)
    while not stop.is_set():
        engine.analyze(photo)
        first.release()

if wait == "joined":  # after what the package does at the end, which an engine has it do first of all
    atexit.register(lambda: [stop.set(), *(thread.join() for thread in begun)])
begun += [threading.Thread(target=work, daemon=True) for _ in range(2)]
for thread in begun:
    thread.start()
for _ in range(int(wait) if wait.isdigit() else 4):
    first.acquire()
"""


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("owner", ["main", "thread"])
@pytest.mark.parametrize("wait", ["0", "1", "4", "7"])  # pictures before the end: it comes while an engine is made, too
def test_a_program_ends_in_order_while_daemon_threads_compute(runtime: str, owner: str, wait: str) -> None:
    pytest.importorskip(runtime)
    command = [sys.executable, "-c", ENDS, runtime, owner, wait]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_program_that_waits_for_its_daemon_threads_at_its_end_ends() -> None:
    pytest.importorskip("openvino")
    command = [sys.executable, "-c", ENDS, "openvino", "thread", "joined"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_threads_that_compile_leave_the_locale_as_it_was() -> None:
    """OpenVINO sets it to "C" for a moment and then back to what it found; two threads do so in the worst order."""
    real = openvino_core()
    both, first = threading.Barrier(2, timeout=60), threading.Event()

    class Core:
        read_model = staticmethod(real.read_model)

        def compile_model(self, model: Any, *others: Any) -> Any:
            compiled = real.compile_model(model, *others)
            if both.wait() == 0:
                found = locale.setlocale(locale.LC_ALL)
                locale.setlocale(locale.LC_ALL, "C")
                first.set()
                both.wait()
                locale.setlocale(locale.LC_ALL, found)
                both.wait()
            else:
                assert first.wait(60)
                found = locale.setlocale(locale.LC_ALL)  # "C"
                both.wait()
                both.wait()
                locale.setlocale(locale.LC_ALL, found)
            return compiled

    repository = ModelRepository.open()
    model = repository.read(repository.graph("densepose_head"))
    graph = OpenVinoGraph("densepose_head", model, Core(), Threads(), alone={}, beside={})

    def people(count: int) -> int:
        return len(graph.run({"ROI_FEATURES": np.zeros((count, 64, 32, 32), np.float32)}, ("IUV",))["IUV"])

    own = locale.setlocale(locale.LC_ALL)
    try:
        before = locale.setlocale(locale.LC_ALL, "C.UTF-8")
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(people, (1, 2))) == [1, 2]
        assert locale.setlocale(locale.LC_ALL) == before
    finally:
        locale.setlocale(locale.LC_ALL, own)


def test_a_compilation_holds_up_nobody_who_needs_another_one() -> None:
    """As of a model at another size: whoever asks for the usual one is answered meanwhile."""
    begun, gate = threading.Event(), threading.Event()

    class Slow(OpenVinoGraph):
        def _static(self, shapes: dict[str, tuple[int, ...]], *others: Any) -> Any:
            if shapes["ROI_FEATURES"][0] == 2:
                begun.set()
                assert gate.wait(60)
            return super()._static(shapes, *others)

    repository = ModelRepository.open()
    model = repository.read(repository.graph("densepose_head"))
    graph = Slow("densepose_head", model, openvino_core(), Threads(), alone={}, beside={})

    def people(count: int) -> int:
        features = np.zeros((count, 64, 32, 32), np.float32)
        return len(graph.run({"ROI_FEATURES": features}, ("IUV",))["IUV"])

    with ThreadPoolExecutor(3) as pool:
        try:
            waiting = [pool.submit(people, 2) for _ in range(2)]
            assert begun.wait(60)
            assert pool.submit(people, 1).result(60) == 1
            assert not any(one.done() for one in waiting)
        finally:
            gate.set()
        assert [one.result(60) for one in waiting] == [2, 2]
