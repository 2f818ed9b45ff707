"""A model with two processes is loaded again after one has died: the other's old process and its memory go."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import tritonclient.grpc as library

from benchmarks.frames import drawn_person
from tests.server.helpers import until
from tests.server.triton.conftest import Running


def stubs(running: Running, model: str) -> set[int]:
    """Numbers of the processes that compute a model."""
    asked = ["pgrep", "-P", str(running.supervisor.pid), "-f", f"/{model}/1/model.py"]
    return {int(number) for number in subprocess.run(asked, capture_output=True, check=False).stdout.split()}


def memory(running: Running) -> set[Path]:
    return set(Path("/dev/shm").glob(f"{running.launch.prefix}*"))


def test_nothing_of_the_model_from_before_stays(triton: Running) -> None:
    before, others, regions = stubs(triton, "detector"), stubs(triton, "preprocess"), memory(triton)
    assert len(before) == 2
    assert len(others) == 2
    os.kill(min(before), signal.SIGKILL)
    end = time.monotonic() + 240
    while (now := stubs(triton, "detector")) & before or len(now) != 2 or len(memory(triton)) != len(regions):
        assert time.monotonic() < end, (before, now, memory(triton))
        time.sleep(0.2)
    assert memory(triton) != regions
    until(lambda: {stat.S_IMODE(path.stat().st_mode) for path in memory(triton)} == {0o600})
    assert stubs(triton, "preprocess") == others
    tensor = library.InferInput("IMAGE", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([cv2.imencode(".jpg", drawn_person())[1].tobytes()], np.object_))
    with library.InferenceServerClient(triton.grpc) as client:
        for _ in range(8):  # both processes take their turn
            assert len(client.infer("human_analysis", [tensor]).as_numpy("SCORES")) == 1
    assert stubs(triton, "detector") == now  # nobody had to load it again
    assert len(memory(triton)) == len(regions)
