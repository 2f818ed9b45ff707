"""scripts/serve_triton.sh over two commands that take a moment to end; the real ones: scripts/check_serve_triton.py."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
# stands for the interpreter: `-m parsing_rcnn triton ...` or `-m parsing_rcnn serve ...`
SERVER = """#!{python}
import os, signal, sys, time
def say(what):
    os.write(log, f"{{sys.argv[3]}} {{what}}\\n".encode())
def end(*_):
    global going
    going = False
log = os.open({log!r}, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
going = True
signal.signal(signal.SIGINT, end)
signal.signal(signal.SIGTERM, end)
say("begins")
while going:
    time.sleep(0.02)
time.sleep(1)
say("ends")
"""


def heeded(pid: int, sent: signal.Signals) -> bool:
    """Whether a process has a handler of a signal."""
    (handled,) = re.findall(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(handled, 16) >> (sent - 1) & 1)


@pytest.mark.skipif(sys.platform != "linux", reason="needs GNU env and bash 5")
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_group_ends_the_gateway_and_then_triton(
    tmp_path: Path, sent: signal.Signals, times: int
) -> None:
    log, python = tmp_path / "log", tmp_path / "python"
    python.write_text(SERVER.format(python=sys.executable, log=str(log)))
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python), "TRITON_GRPC_PORT": "9", "PARSING_RCNN_PORT": "9"}
    # a background shell ignores SIGINT, and nohup SIGHUP, which what they start inherits
    command = ["env", "--default-signal=INT,TERM,HUP", "bash", str(ROOT / "scripts" / "serve_triton.sh")]
    script = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        while not log.exists() or len(log.read_text().splitlines()) < 2:
            assert script.poll() is None
            time.sleep(0.02)
        while not heeded(script.pid, signal.SIGHUP):  # the last one for which the script sets what it does
            assert script.poll() is None
            time.sleep(0.02)
        for _ in range(times):  # as a terminal does for Ctrl-C
            os.killpg(script.pid, sent)
            time.sleep(0.3)
        assert script.wait(120) == 0
    finally:
        subprocess.run(["pkill", "-KILL", "--session", str(script.pid)], check=False)
    begun, ended = log.read_text().splitlines()[:2], log.read_text().splitlines()[2:]
    assert set(begun) == {"triton begins", "serve begins"}
    assert ended == ["serve ends", "triton ends"]
