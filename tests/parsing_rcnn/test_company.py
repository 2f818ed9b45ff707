"""Who computes at the same time, told by a lock on a file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parsing_rcnn.company import Company

if sys.platform == "win32":
    pytest.skip("there are no such locks", allow_module_level=True)

_HOLD = """
import sys, time
from pathlib import Path
from parsing_rcnn.company import Company
with Company(Path(sys.argv[1])).joined():
    print("in", flush=True)
    time.sleep(600)
"""


def forget() -> None:
    """Until who was met is expected no more."""
    time.sleep(0.05)


def test_who_computes_by_itself_is_alone_again_and_again(tmp_path: Path) -> None:
    company = Company(tmp_path / "lock")
    for _ in range(3):
        with company.joined() as alone:
            assert alone


def test_two_at_once_see_each_other_and_the_first_was_alone(tmp_path: Path) -> None:
    one, other = Company(tmp_path / "lock"), Company(tmp_path / "lock")
    with one.joined() as first:
        with other.joined() as second, one.joined() as third:
            assert (first, second, third) == (True, False, False)
        with other.joined() as again:
            assert not again


def test_who_was_met_is_expected_for_a_moment(tmp_path: Path) -> None:
    one, other = Company(tmp_path / "lock"), Company(tmp_path / "lock")
    with other.joined(), one.joined():
        pass
    with one.joined() as soon:
        assert not soon
    forget()
    with one.joined() as later:
        assert later


def test_another_process_is_company_until_it_dies(tmp_path: Path) -> None:
    company = Company(tmp_path / "lock")
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(company.path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        with company.joined() as alone:
            assert not alone
    finally:
        process.kill()
        process.wait()
    forget()
    with company.joined() as alone:
        assert alone


@pytest.mark.parametrize("obstacle", ["no folder", "link"])
def test_where_there_can_be_no_lock_everybody_is_alone(obstacle: str, tmp_path: Path) -> None:
    path = tmp_path / "absent" / "lock"
    if obstacle == "link":
        path = tmp_path / "lock"
        path.symlink_to(tmp_path / "of somebody else")
    one, other = Company(path), Company(path)
    with one.joined() as first, other.joined() as second:
        assert first
        assert second
    assert not (tmp_path / "of somebody else").exists()


def test_the_file_is_one_for_each_user_and_nobody_elses() -> None:
    company = Company()
    with company.joined():
        assert company.path == Company().path
        assert company.path.stat().st_mode & 0o777 == 0o600
        assert company.path.stat().st_uid == os.getuid()
