"""Runs that write one file at the same time: each has its own until it is whole, and nobody writes into another's."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
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
        begins = growing, lambda path: Unfinished(path, "all.part"), lambda path: CocoFile(path, {})
        for begin in begins:  # the last one, though it writes at its end alone
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


def _folder(path: Path) -> None:
    path.mkdir()


def _link(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def _link_to_a_file(path: Path) -> None:
    path.with_name("precious").write_bytes(b"precious")
    path.symlink_to("precious")


@pytest.mark.parametrize("make", [_folder, _link, _link_to_a_file, os.mkfifo])
def test_what_is_no_file_of_a_run_is_left_alone(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "all.part")
    before = {path.name for path in tmp_path.iterdir()}
    own = Unfinished(tmp_path / "all", "all.part")
    assert own.path.name == "all.2.part"
    own.file.write(b"ours")
    own.finish()
    assert {path.name for path in tmp_path.iterdir()} == before | {"all"}
    assert [path.read_bytes() for path in tmp_path.glob("precious")] in ([], [b"precious"])


def test_a_pipe_is_written_into_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    Unfinished(tmp_path / "pipe", "pipe.part").drop()
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with growing(tmp_path / "pipe") as file:
        file.write(b"line")
    assert os.read(reader, 9) == b"line"
    os.close(reader)


@contextmanager
def somebody_else() -> Iterator[None]:
    """No more rights than anybody has."""
    who = os.geteuid()
    if who == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(who)


@pytest.mark.parametrize("mode", [0o444, 0o666])
def test_what_somebody_else_left_in_a_folder_of_all_is_left_alone(mode: int) -> None:
    if mode == 0o666 and os.geteuid() != 0:
        pytest.skip("only root leaves files as somebody else")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o1777)  # where each may take away their own files only
        (folder / "all.part").write_bytes(b"theirs")
        (folder / "all.part").chmod(mode)
        with somebody_else():
            own = Unfinished(folder / "all", "all.part")
            own.file.write(b"ours")
            own.finish()
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"all.part": b"theirs", "all": b"ours"}
        folder.chmod(0o555)
        with somebody_else(), pytest.raises(PermissionError):
            Unfinished(folder / "all", "all.part")
        folder.chmod(0o755)


def test_where_there_are_no_locks_each_run_has_a_new_file_and_takes_none_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)  # as a network drive does
    runs = [Unfinished(tmp_path / "all", "all.part") for _ in range(3)]
    assert [run.path.name for run in runs] == ["all.part", "all.2.part", "all.3.part"]
    for number, run in enumerate(runs):
        run.file.write(b"%d" % number)
    runs[1].drop()
    for number in (2, 0):
        runs[number].finish()
        runs[number].finish()
        runs[number].drop()
        assert (tmp_path / "all").read_bytes() == b"%d" % number
    assert [path.name for path in tmp_path.iterdir()] == ["all"]
    (tmp_path / "all.part").write_bytes(b"")  # another run's, at its beginning
    with growing(tmp_path / "all") as file:
        file.write(b"lines")
    with CocoFile(tmp_path / "all", {}):
        pass
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {"all": 31, "all.part": 0}


def test_a_coco_file_that_will_replace_a_stream_s_is_known_from_its_start(tmp_path: Path) -> None:
    with CocoFile(tmp_path / "all", {}), pytest.raises(InvalidOptions, match="another run writes this file"):
        growing(tmp_path / "all")


def test_a_coco_file_that_cannot_be_finished_leaves_another_s_alone(tmp_path: Path) -> None:
    with another_run("unfinished", tmp_path / "all.json", "all.json.part"):
        file = CocoFile(tmp_path / "all.json", {"videos": np.random.default_rng()})  # what is no JSON
        with pytest.raises(TypeError):
            file.close()
        file.abort()
        assert [path.name for path in tmp_path.iterdir()] == ["all.json.part"]
        assert (tmp_path / "all.json.part").read_bytes() == b"theirs"
