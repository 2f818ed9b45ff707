"""The machine that a benchmark runs on, and what it needs of its interpreter, looked for before the work."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_REMEDY = "`make train-env` makes one, .venv-torch/bin/python"


def machine() -> dict[str, Any]:
    """What figures were measured on: CPU, its cores, Python, and the load before (1 minute; None on Windows)."""
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "load_before": load}


def require_torch(benchmark: str) -> None:
    """End, with one line, where this interpreter has no torch.

    Args:
        benchmark: module of the package, for the line.

    Raises:
        SystemExit: it has none.
    """
    if find_spec("torch") is None:
        sys.exit(
            f"{benchmark}: torch is not installed for {sys.executable}: run it by an interpreter with it; {_REMEDY}"
        )


def require_matplotlib(benchmark: str) -> None:
    """End, with one line, where this interpreter cannot draw what is asked for.

    Args:
        benchmark: module of the package, for the line.

    Raises:
        SystemExit: it has no matplotlib.
    """
    if find_spec("matplotlib") is None:
        sys.exit(
            f"{benchmark}: matplotlib is not installed for {sys.executable}: install requirements/bench.txt there, or "
            "leave the plot out"
        )


def why_no_torch(python: str) -> str | None:
    """Why another interpreter cannot run a peer, for the user; None where it can.

    Args:
        python: a program, found as `benchmarks.rounds.Worker` finds it.
    """
    looks = (
        "import sys; from importlib.util import find_spec; sys.exit(None in map(find_spec, ('torch', 'torchvision')))"
    )
    try:
        done = subprocess.run([python, "-c", looks], capture_output=True, check=False)
    except OSError as error:
        return f"{shlex.quote(python)} cannot be run ({error.strerror}): name an interpreter with torch; {_REMEDY}"
    return (
        f"{python} has no torch and torchvision: name an interpreter with both; {_REMEDY}" if done.returncode else None
    )
