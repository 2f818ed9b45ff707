"""What the system tells of a process in /proc. All raise OSError where the process has ended, or there is no /proc."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def parent_of(process: int) -> int:
    """Number of the process that started it."""
    return int((PROC / str(process) / "stat").read_text().rpartition(")")[2].split()[1])


def command_of(process: int) -> tuple[str, ...]:
    """Its command line."""
    return tuple(os.fsdecode((PROC / str(process) / "cmdline").read_bytes()).split("\0"))
