"""How much of this machine a process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def usable_cores(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """How many cores this process may keep busy: those that it may run on, and no more than its control groups get time
    for (`docker run --cpus`, Kubernetes' `limits`), rounded up.

    Args:
        groups: where control groups are mounted.
        own: which ones this process is in.
    """
    cores = len(os.sched_getaffinity(0))
    return max(1, min([cores, *(math.ceil(share) for share in _shares(groups, own))]))


def _shares(groups: Path, own: Path) -> Iterator[float]:
    """Seconds of CPU time in a second, for each limit that is set: of its groups, and of those around them."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # a container's view may begin at its own group, whose path is still the outer one
        around = [Path(path), *Path(path).parents]
        for folder in dict.fromkeys(groups / controllers / str(group).lstrip("/") for group in around):
            if controllers:
                words = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
            else:
                words = _words(folder / "cpu.max")
            if len(words) == 2 and words[0].isdecimal() and int(words[1]) > 0:  # none is "max" there and -1 here
                yield int(words[0]) / int(words[1])


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
