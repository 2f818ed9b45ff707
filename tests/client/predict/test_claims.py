"""Runs of `predict`, and of arrays, that write into one folder at the same time."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from parsing_rcnn.errors import InvalidOptions
from parsing_rcnn_client.cli.video_options import RecordChoice
from parsing_rcnn_client.predict.claims import claimed
from parsing_rcnn_client.predict.sources import Source
from parsing_rcnn_client.unfinished import growing
from parsing_rcnn_client.video.records import NpzFolder

_HOLDS = """
import sys
from pathlib import Path
from parsing_rcnn_client.predict.claims import claimed
from parsing_rcnn_client.predict.sources import Source
out = Path(sys.argv[1])
with claimed(out, [Source(Path("in", f"{name}.jpg"), out / name) for name in sys.argv[2:]]):
    print("ready", flush=True)
    sys.stdin.read()
"""


def sources(out: Path, *names: str) -> list[Source]:
    return [Source(Path("in", f"{name}.jpg"), out / name) for name in names]


@contextmanager
def another_run(out: Path, *names: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has claimed the results of these pictures."""
    command = [sys.executable, "-c", _HOLDS, str(out), *names]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_results_that_another_run_writes_are_refused_and_others_are_not(tmp_path: Path) -> None:
    says = r"^-o .*: another run writes the results of in/b\.jpg and 1 more there: wait for its end, or name another"
    with another_run(tmp_path, "a", "sub/c", "b") as process:
        with pytest.raises(InvalidOptions, match=says), claimed(tmp_path, sources(tmp_path, "sub/c", "b", "d")):
            pass
        with claimed(tmp_path, sources(tmp_path, "c", "e")):  # another c, not in sub
            assert sorted(path.name for path in tmp_path.iterdir()) == [".predict.2.part", ".predict.part"]
            with (
                pytest.raises(InvalidOptions, match=r"the results of in/e\.jpg there"),
                claimed(tmp_path, sources(tmp_path, "e")),
            ):
                pass
        assert [path.name for path in tmp_path.iterdir()] == [".predict.part"]
        process.kill()
        process.wait()
    with claimed(tmp_path, sources(tmp_path, "a", "b")):  # what a killed run left claims nothing
        assert [path.name for path in tmp_path.iterdir()] == [".predict.part"]
    assert list(tmp_path.iterdir()) == []


def _pictures(folder: Path) -> AbstractContextManager[object]:
    folder.mkdir(exist_ok=True)
    return claimed(folder, sources(folder, "a"))


def _arrays(folder: Path) -> AbstractContextManager[object]:
    return closing(NpzFolder(folder))


@pytest.mark.parametrize("begin", [_pictures, _arrays])
def test_of_runs_that_begin_at_once_one_has_the_folder(
    tmp_path: Path, begin: Callable[[Path], AbstractContextManager[object]]
) -> None:
    """Locks are of an open file, so that threads stand for processes."""
    together = threading.Barrier(8)

    def run(_: int) -> str:
        together.wait(30)
        try:
            with begin(tmp_path / "out"):
                together.wait(30)
        except InvalidOptions as error:
            together.wait(30)
            return error.detail
        return "written"

    with ThreadPoolExecutor(8) as pool:
        said = sorted(pool.map(run, range(8)))
    assert said[-1] == "written"
    assert [("another run writes" in one, "wait for its end, or name another folder" in one) for one in said[:-1]] == [
        (True, True)
    ] * 7


def test_arrays_are_refused_while_another_run_writes_them_and_the_folder_is_let_go(tmp_path: Path) -> None:
    first = NpzFolder(tmp_path / "arrays")
    says = r"arrays: another run writes into this folder: wait for its end, or name another folder"
    with pytest.raises(InvalidOptions, match=says):
        NpzFolder(tmp_path / "arrays")
    first.abort()
    second = NpzFolder(tmp_path / "arrays")
    second.close()
    NpzFolder(tmp_path / "arrays").abort()  # nothing was written


def test_a_stream_whose_records_are_another_run_s_loses_and_leaves_nothing(tmp_path: Path) -> None:
    lines, arrays = tmp_path / "all.jsonl", tmp_path / "arrays"
    lines.write_text("of an earlier run")
    chosen = RecordChoice(jsonl=lines, npz=arrays)
    with closing(NpzFolder(arrays / "1")), pytest.raises(InvalidOptions, match="another run writes into this folder"):
        chosen.open_live(2, [])
    assert (lines.read_text(), [path.name for path in arrays.iterdir()]) == ("of an earlier run", ["1"])
    (arrays / "1").rmdir()
    with growing(lines), pytest.raises(InvalidOptions, match="another run writes this file"):
        chosen.open_live(2, [])
    assert list(arrays.iterdir()) == []


def test_where_there_are_no_locks_nobody_is_refused_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)  # as a network drive does
    with claimed(tmp_path, sources(tmp_path, "a")), claimed(tmp_path, sources(tmp_path, "a")):
        assert list(tmp_path.iterdir()) == []
    first, second = NpzFolder(tmp_path), NpzFolder(tmp_path)
    first.close()
    second.close()


def test_a_folder_that_takes_no_file_is_said(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # as a disk that is full
    try:
        with (
            pytest.raises(InvalidOptions, match=r"-o .*: nothing can be written there \(File too large\)"),
            claimed(tmp_path, sources(tmp_path, "a")),
        ):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_predict_waits_for_no_killed_run_and_refuses_to_begin_beside_one(
    tmp_path: Path, photo: Path, gateway_url: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    given = ["predict", str(photo), "-o", str(out), "--server", gateway_url, "--write", "json"]
    with another_run(out, "photo") as process:
        done = CliRunner().invoke(build(), given)
        assert (done.exit_code, os.listdir(out)) == (2, [".predict.part"])
        assert done.stderr == (
            f"error: -o {out}: another run writes the results of {photo} there: wait for its end, or name another "
            "folder\n"
        )
        process.kill()
        process.wait()
        done = CliRunner().invoke(build(), [*given, "--resume"])
    assert (done.exit_code, os.listdir(out)) == (0, ["photo.json"])
    again = CliRunner().invoke(build(), [*given, "--resume"])
    assert "1 skipped" in again.stderr
