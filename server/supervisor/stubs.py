"""The processes of python models, which Triton calls stubs, and their shared memory.

When the stub of one instance has died, Triton 2.51 never finishes unloading the model. It starts new stubs when the
model is loaded again, and the other instances' old ones stay beside them: most of a GB each for a detector.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import NamedTuple

from parsing_rcnn.inference.contention import children_busy
from server.engines.shared_memory import FOLDER
from server.supervisor.processes import PROC, command_of, parent_of

_BUSY = 10.0  # seconds to wait for what the old stubs had accepted
_POLL = 0.1


class Stub(NamedTuple):
    """A process of a python model: its number, and its command line, which names the model and its shared memory."""

    process: int
    command: tuple[str, ...]

    def is_of(self, model: str) -> bool:
        """Whether it computes this model."""
        return any(part.endswith(f"/{model}/1/model.py") for part in self.command)


class OldStubs:
    """The stubs of a model, and the shared memory of all stubs, before the model is loaded again.

    Args:
        server: process number of the server.
        model: name of the model.
        prefix: how the names of the server's shared memory begin.
    """

    def __init__(self, server: int, model: str, prefix: str) -> None:
        self._server = server
        self._stubs = {stub for stub in _stubs_of(server) if stub.is_of(model)}
        self._memory = set(FOLDER.glob(f"{prefix}*"))

    def end(self) -> list[int]:
        """Kill those that are still there after the load, and remove shared memory that no stub has any more.

        They first get some seconds for what they had accepted.

        Returns:
            the numbers of the killed processes.
        """
        end = time.monotonic() + _BUSY
        while self._left() and children_busy(self._server) and time.monotonic() < end:
            time.sleep(_POLL)
        left = self._left()
        for stub in left:
            with suppress(ProcessLookupError):
                os.kill(stub.process, signal.SIGKILL)
        used = {part for stub in _stubs_of(self._server) - left for part in stub.command}
        for memory in self._memory if used else ():  # the server ends meanwhile: its supervisor removes all
            if memory.name not in used:
                memory.unlink(missing_ok=True)
        return sorted(stub.process for stub in left)

    def _left(self) -> set[Stub]:
        return self._stubs & _stubs_of(self._server)


def _stubs_of(server: int) -> set[Stub]:
    """The stubs that a server has started; none where the system has no /proc."""
    found = set()
    for process in PROC.glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            stub = Stub(int(process.name), command_of(int(process.name)))
            if parent_of(stub.process) == server and any(part.endswith("/model.py") for part in stub.command):
                found.add(stub)
    return found
