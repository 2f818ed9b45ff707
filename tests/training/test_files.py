"""What a command writes is whole or is not there, and a folder is one run's."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from parsing_rcnn.analyzer import Options
from parsing_rcnn.cli import build
from parsing_rcnn.people import People
from tests.full_disk import room_for
from tests.training.helpers import TruthTeller, recipe
from tests.training.tiny import tiny_network, tiny_recipe
from training.checkpoint import load_state, save_weights
from training.errors import OutputError
from training.evaluation.run import run_datasets, run_evaluate
from training.files import held, make_folder, replacing, write_png, write_text
from training.train import Trainer

ROOT = Path(__file__).parents[2]


def noise(side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 19, (side, side)).astype(np.uint8)


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    write_png(path, np.zeros((9, 9), np.uint8))
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"map\.png: cannot be written"), room_for(5000):
        write_png(path, noise(200))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    write_png(path, noise(200))
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), noise(200))


WRITES = """
import sys
from pathlib import Path
from training.files import replacing
with replacing(Path(sys.argv[1])) as partial:
    partial.write_text("the first of two")
    print("written", flush=True)
    sys.stdin.read()
"""


def test_two_processes_may_write_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    first = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "written\n"
    write_text(path, "the second")
    assert path.read_text() == "the second"
    first.communicate("")
    assert first.returncode == 0
    assert path.read_text() == "the first of two"
    assert list(tmp_path.iterdir()) == [path]


def test_the_names_of_two_containers_differ(tmp_path: Path) -> None:
    """In which process ids are the same."""
    with replacing(tmp_path / "file") as first, replacing(tmp_path / "file") as second:
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "file").read_text() == "first"  # the outer one ends last
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def left_by_a_killed_process(path: Path) -> Path:
    """The partial file of `path`."""
    writes = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writes.stdout is not None
    assert writes.stdout.readline() == "written\n"
    writes.kill()
    writes.communicate()
    (partial,) = path.parent.glob(f"{path.name}.*.partial")
    return partial


def test_what_a_killed_process_left_is_removed_after_a_day(tmp_path: Path) -> None:
    mine = [tmp_path / name for name in ("film.mp4.partial", "film.20260101.partial")]
    partial = left_by_a_killed_process(tmp_path / "file")
    for path in mine:
        path.touch()
        os.utime(path, (0, 0))
    make_folder(tmp_path)
    assert partial.exists()  # somebody may be writing it
    day = 24 * 60 * 60
    os.utime(partial, (partial.stat().st_mtime - day, partial.stat().st_mtime - day))
    make_folder(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(mine)


@pytest.mark.skipif(os.name == "nt", reason="POSIX locks")
def test_what_a_killed_run_left_is_removed_by_the_next_one(data_folder: Path, tmp_path: Path) -> None:
    left_by_a_killed_process(tmp_path / "run" / "state.pt")
    path = tmp_path / "recipe.json"
    path.write_text(recipe("train.iterations=1").model_dump_json())  # JSON is YAML
    given = ["train", str(path), "--data", str(data_folder), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(build(), given)
    assert result.exit_code == 0, result.output
    assert not list((tmp_path / "run").glob("*.partial"))


def test_a_folder_that_cannot_be_written_is_known_at_once(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match=r"cannot be written .*another --out"):
            make_folder(out)
    with pytest.raises(OutputError, match="cannot be written"), room_for(100):
        make_folder(tmp_path / "new")
    make_folder(tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


class Unasked(TruthTeller):
    """An analyzer that nobody should have asked."""

    def analyze(self, image: object, options: Options = Options()) -> People:  # noqa: B008
        raise AssertionError("measured, and nowhere to write to")


def test_an_evaluation_finds_out_before_it_measures(data_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file: cannot be written"):
        run_evaluate(Unasked(), data_folder, out=tmp_path / "file")
    with pytest.raises(OutputError, match="file: cannot be written"):
        run_datasets(Unasked(), data_folder / "groups/annotations.json", None, None, tmp_path / "file")


@pytest.mark.parametrize("command", ["train", "pseudo-label"])
def test_commands_say_so_in_a_sentence(command: str, data_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    given = ["--data", str(data_folder)] if command == "train" else ["--photos", str(data_folder / "ccp/images")]
    result = CliRunner().invoke(build(), [command, *given, "--out", str(tmp_path / "file")])
    assert result.exit_code == 1
    assert "file: cannot be written" in result.output.replace("\n", "")
    assert isinstance(result.exception, SystemExit)


def test_a_checkpoint_on_a_full_disk_leaves_the_last_one(data_folder: Path, tmp_path: Path) -> None:
    trainer = Trainer(recipe("train.iterations=1"), data_folder, tmp_path)
    trainer.run()
    names = ("weights.safetensors", "state.pt")
    sizes = {name: (tmp_path / name).stat().st_size for name in names}
    assert sizes["state.pt"] > sizes["weights.safetensors"] + 10_000
    there = sorted(path.name for path in tmp_path.iterdir())
    for name in names:
        with pytest.raises(OutputError, match=f"{name}: cannot be written"), room_for(sizes[name] - 5000):
            trainer.save()
    assert sorted(path.name for path in tmp_path.iterdir()) == there
    assert load_state(tmp_path / "state.pt")["step"] == 1
    assert load_file(tmp_path / "weights.safetensors")


@pytest.mark.skipif(os.name == "nt", reason="POSIX rights")
def test_weights_are_for_whom_the_umask_says(tmp_path: Path) -> None:
    config = tiny_recipe({})
    before = os.umask(0o027)
    try:
        save_weights(tmp_path / "weights.safetensors", tiny_network(config), config, {})
    finally:
        os.umask(before)
    modes = {stat.S_IMODE((tmp_path / f"weights.{kind}").stat().st_mode) for kind in ("safetensors", "json")}
    assert modes == {0o640}


HOLDS = """
import sys, time
from pathlib import Path
from training.files import held
with held(Path(sys.argv[1])):
    import os
    if os.fork() == 0:  # as those that read pictures; it outlives its parent
        os.close(1)
        os.read(0, 1)
        os._exit(0)
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX locks")
def test_a_second_run_in_a_folder_is_refused_until_the_first_has_ended(data_folder: Path, tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    assert first.stdin is not None
    try:
        assert first.stdout.readline() == "held\n"
        result = CliRunner().invoke(build(), ["train", "--data", str(data_folder), "--out", str(tmp_path)])
        assert result.exit_code == 1
        assert f"error: {tmp_path}: another run is writing here" in result.output.replace("\n", "")
        first.send_signal(signal.SIGKILL)
        first.wait()
        with held(tmp_path):
            pass
    finally:
        first.kill()
        first.stdin.close()  # which ends its child
        first.stdout.close()
        first.wait()
