"""The reader of the log goes away, as `head` does after its lines: the server goes on."""

from __future__ import annotations

import os
import subprocess
import sys

_SUPERVISOR = """
import sys
from pathlib import Path
from server.supervisor.child import spawn
child = spawn(["sh", "-c", sys.argv[1]], {}, Path("/dev/shm/nothing_of_this_name"), wrapped=False)
print(child.process.wait())
child.clear_up()
"""


def test_a_server_outlives_the_reader_of_its_log() -> None:
    """As `sh` here, tritonserver leaves SIGPIPE as its parent had it, which by itself ends a process."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", _SUPERVISOR, "echo one >&2; echo two >&2; exit 5"],
            stdout=subprocess.PIPE,
            stderr=writer,
            text=True,
            check=False,
            timeout=120,
        )
    finally:
        os.close(writer)
    assert ended.stdout == "5\n"
