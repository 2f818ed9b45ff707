"""What a benchmark needs of its interpreter, looked for before the work."""

from __future__ import annotations

import shlex
import subprocess
import sys
from importlib.util import find_spec

from benchmarks.rounds import ROOT

_REMEDY = "`make train-env` makes one, .venv-torch/bin/python"


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
        done = subprocess.run([python, "-c", looks], cwd=ROOT, capture_output=True, check=False)
    except OSError as error:
        return f"{shlex.quote(python)} cannot be run ({error.strerror}): name an interpreter with torch; {_REMEDY}"
    return (
        f"{python} has no torch and torchvision: name an interpreter with both; {_REMEDY}" if done.returncode else None
    )
