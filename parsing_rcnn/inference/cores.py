"""How many cores this process may use, and which instructions the processor has."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_TOLD = Path("/proc/cpuinfo")


def usable_cores(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """How many cores this process may keep busy.

    Those that it may run on, but no more than the CPU time of its control groups allows (`docker run --cpus`,
    Kubernetes' `limits`), rounded up.

    Args:
        groups: where control groups are mounted.
        own: file that names the control groups of this process.
    """
    return max(1, min([visible_cores(), *(math.ceil(share) for share in _shares(groups, own))]))


def visible_cores() -> int:
    """How many cores this process may run on, whatever share of their time it gets."""
    # macOS and Windows do not tie a process to cores
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shares(groups: Path, own: Path) -> Iterator[float]:
    """CPU seconds per second, for each limit of the process's control groups and of the groups around them."""
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
        # some kernels say "cpuacct,cpu" of the folder cpu,cpuacct, to which cpu leads, too
        mounts = [groups / controllers, groups / "cpu"] if controllers else [groups]
        for folder in dict.fromkeys(mount / str(group).lstrip("/") for mount in mounts for group in around):
            if controllers:
                words = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
            else:
                words = _words(folder / "cpu.max")
            if len(words) == 2 and words[0].isdecimal() and int(words[1]) > 0:  # none is "max" there and -1 here
                yield int(words[0]) / int(words[1])


def has_vnni(told: Path = _TOLD) -> bool:
    """Whether the processor sums products of INT8 in 32 bits (AVX-512 VNNI, AVX-VNNI).

    Without it, pairs of them are summed in 16 bits first (see `has_avx2`). False on other systems than Linux.

    Args:
        told: the kernel's file about the processor.
    """
    return not {"avx512_vnni", "avx_vnni"}.isdisjoint(_words(told))


def has_avx2(told: Path = _TOLD) -> bool:
    """Whether the processor sums two products of uint8 and int8 in 16 bits, which weights of 7 bits never overflow.

    Args:
        told: see `has_vnni`.
    """
    return "avx2" in _words(told)


def has_amx(told: Path = _TOLD) -> bool:
    """Whether the processor multiplies bf16 in tiles. (With AVX-512 BF16 alone, bf16 is only twice as fast as fp32.)

    Args:
        told: see `has_vnni`.
    """
    return "amx_bf16" in _words(told)


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
