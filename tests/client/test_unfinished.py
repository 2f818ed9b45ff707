"""Runs that write one file at the same time: each has its own until it is whole, and nobody writes into another's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn_client.coco import CocoFile
from parsing_rcnn_client.unfinished import Unfinished, growing

_HOLDS = """
import sys
from pathlib import Path
from parsing_rcnn_client.unfinished import Unfinished, growing
file = growing(Path(sys.argv[2])) if sys.argv[1] == "growing" else Unfinished(Path(sys.argv[2]), sys.argv[3]).file
file.write(b"theirs")
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_run(*given: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes a file."""
    command = [sys.executable, "-c", _HOLDS, *map(str, given)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("name", "second"), [("all.csv.part", "all.csv.2.part"), (".all.part.part.mp4", ".all.part.2.part.mp4")]
)
def test_two_runs_have_files_of_their_own_and_the_last_one_stays(tmp_path: Path, name: str, second: str) -> None:
    whole = tmp_path / "all"
    with another_run("unfinished", whole, name):
        own = Unfinished(whole, name)
        assert own.path.name == second
        own.file.write(b"ours")
        assert (tmp_path / name).read_bytes() == b"theirs"
        own.finish()
        own.finish()
        own.drop()  # does nothing to what is finished
        assert whole.read_bytes() == b"ours"
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["all", name])


def test_what_a_killed_run_left_is_replaced_and_its_orphans_write_elsewhere(tmp_path: Path) -> None:
    with another_run("unfinished", tmp_path / "all", "all.part") as process:
        process.kill()
        process.wait()
    with (tmp_path / "all.part").open("ab") as orphan:  # as a program that the run had started
        own = Unfinished(tmp_path / "all", "all.part")
        assert own.path.name == "all.part"
        orphan.write(b"late")
    own.file.write(b"ours")
    own.finish()
    assert (tmp_path / "all").read_bytes() == b"ours"
    assert [path.name for path in tmp_path.iterdir()] == ["all"]


def test_what_is_dropped_is_gone_and_another_s_stays(tmp_path: Path) -> None:
    with another_run("unfinished", tmp_path / "all", "all.part"):
        own = Unfinished(tmp_path / "all", "all.part")
        own.drop()
        own.drop()
        assert [path.name for path in tmp_path.iterdir()] == ["all.part"]


def test_a_file_that_another_run_writes_into_is_refused(tmp_path: Path) -> None:
    says = r"all: another run writes this file: wait for its end, or name another file"
    (tmp_path / "all").write_bytes(b"of an earlier run, and longer")
    with another_run("growing", tmp_path / "all"):
        for begin in (growing, lambda path: Unfinished(path, "all.part")):
            with pytest.raises(InvalidOptions, match=says):
                begin(tmp_path / "all")
        assert (tmp_path / "all").read_bytes() == b"theirs"
    with another_run("unfinished", tmp_path / "all", "all.part"), pytest.raises(InvalidOptions, match=says):
        growing(tmp_path / "all")  # which would be replaced
    with growing(tmp_path / "all") as file:  # they ended
        file.write(b"ours")
    assert (tmp_path / "all").read_bytes() == b"ours"


def test_a_file_that_may_only_be_read_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "all").write_bytes(b"before")
    (tmp_path / "all").chmod(0o444)
    own = Unfinished(tmp_path / "all", "all.part")
    own.finish()
    assert (tmp_path / "all").read_bytes() == b""


def test_a_coco_file_that_cannot_be_finished_leaves_another_s_alone(tmp_path: Path) -> None:
    with another_run("unfinished", tmp_path / "all.json", "all.json.part"):
        file = CocoFile(tmp_path / "all.json", {"videos": np.random.default_rng()})  # what is no JSON
        with pytest.raises(TypeError):
            file.close()
        file.abort()
        assert [path.name for path in tmp_path.iterdir()] == ["all.json.part"]
        assert (tmp_path / "all.json.part").read_bytes() == b"theirs"
