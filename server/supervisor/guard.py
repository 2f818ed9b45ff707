"""Ends a tritonserver whose supervisor was killed: kills its process group and removes their shared memory.

    python -I -S guard.py GROUP PATTERN

GROUP is the id of the process group, PATTERN a glob pattern of the shared memory files. Standard input is a socket of
the supervisor: end of file means that the supervisor is gone, whatever killed it; any bytes mean that all is in order.

There is no SIGTERM first: under load the server would answer next to nothing of what it has accepted, and would keep
its ports for all the time that it gives to last requests.

`server.supervisor.child` starts this as a program of its own, which needs only Python's standard library and little
memory.
"""

import glob
import os
import signal
import sys
from contextlib import suppress


def main() -> None:
    """Wait until the supervisor is gone, then clear up."""
    group, pattern = int(sys.argv[1]), sys.argv[2]
    os.setsid()  # out of the group
    word = b""
    with suppress(ConnectionResetError):  # the supervisor was killed before it had read our process id
        word = sys.stdin.buffer.read()
    if word:
        return
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    for left in glob.glob(pattern):  # now: the next server on these ports uses the same names
        with suppress(FileNotFoundError):
            os.unlink(left)


if __name__ == "__main__":
    main()
