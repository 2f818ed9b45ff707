"""Ends a tritonserver whose supervisor was killed: its group of processes at once, and their shared memory.

    python -I -S guard.py GROUP PATTERN

GROUP is the number of the group, and PATTERN is of the files of the shared memory. Standard input is a socket of
the supervisor, whose end says that it is gone, whatever killed it; a word in it says that all is in order.

Nobody is asked to end first: under load a server that is told to (SIGTERM) answers next to nothing of what it has, and
keeps its ports for all the time that it has for last requests.

`server.supervisor.child` starts this as a program of its own, which needs nothing but Python, and little of its memory.
"""

import glob
import os
import signal
import sys
from contextlib import suppress


def main() -> None:
    """Wait for the supervisor's end, and then clear up."""
    group, pattern = int(sys.argv[1]), sys.argv[2]
    os.setsid()  # out of the group
    word = b""
    with suppress(ConnectionResetError):  # killed before it had read our number
        word = sys.stdin.buffer.read()
    if word:
        return
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    for left in glob.glob(pattern):  # at once: the next server on these ports names its own alike
        with suppress(FileNotFoundError):
            os.unlink(left)


if __name__ == "__main__":
    main()
