"""Cores that a process may use, from files as Linux has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from parsing_rcnn.inference.cores import has_amx, has_avx2, has_vnni, usable_cores


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),  # a container with a view of its own
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "3200000 100000\n"}, 8),
        # a service: the strictest of its group and those around it
        ("0::/a.slice/b.service\n", {"a.slice/cpu.max": "300000 100000", "a.slice/b.service/cpu.max": "max 1"}, 3),
        # control groups of the first version; a container's path is the outer one
        ("3:cpu,cpuacct:/x\n0::/\n", {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "1"}, 8),
        ("1:name=s:/\n3:cpu:/d/x\n", {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ("3:cpu:/d\n", {"cpu/d/cpu.cfs_quota_us": "400000", "cpu/d/cpu.cfs_period_us": "100000"}, 4),
        # RHEL 7 names the controllers in another order than the folder, to which "cpu" leads
        ("5:cpuacct,cpu:/d\n", {"cpu/d/cpu.cfs_quota_us": "200000", "cpu/d/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpuset:/\n", {"cpuset/cpu.cfs_quota_us": "1", "cpuset/cpu.cfs_period_us": "1"}, 8),
    ],
)
def test_no_more_threads_than_the_control_group_gets_time_for(
    own: str, files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text)
    (tmp_path / "own").write_text(own)
    assert usable_cores(tmp_path / "groups", tmp_path / "own") == cores
    assert usable_cores(tmp_path / "groups", tmp_path / "nowhere") == 8


def test_where_processes_are_not_tied_to_cores_all_of_them_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS and Windows
    assert usable_cores(tmp_path / "groups", tmp_path / "nowhere") == os.cpu_count()


@pytest.mark.parametrize(
    ("flags", "vnni", "avx2", "amx"),
    [
        ("fpu avx2 avx512f avx512_vnni", True, True, False),
        ("fpu avx2 avx_vnni", True, True, False),  # without AVX-512, as notebooks have it
        ("fpu avx2 avx512f avx512_vnni2 amx_bf16x", False, True, False),
        ("fpu avx sse4_2", False, False, False),
        ("fpu avx2 avx512_vnni avx512_bf16 amx_tile amx_bf16 amx_int8", True, True, True),
        ("fpu avx2 avx512_vnni avx512_bf16", True, True, False),
    ],
)
def test_what_the_processor_multiplies_by(flags: str, vnni: bool, avx2: bool, amx: bool, tmp_path: Path) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    assert (has_vnni(told), has_avx2(told), has_amx(told)) == (vnni, avx2, amx)
    none = tmp_path / "none"  # macOS and Windows have no such file
    assert (has_vnni(none), has_avx2(none), has_amx(none)) == (False, False, False)
