"""Several processes train as one does, and a killed run goes on to the same weights."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.distributed import TCPStore
from typer.testing import CliRunner

from parsing_rcnn.cli import build
from tests.training.tiny import NARROW
from training.checkpoint import load_state, save_state
from training.data.splits import groups_split
from training.distributed import join
from training.errors import ConfigError

ROOT = Path(__file__).parents[2]
SMALL = (
    "data.canvases=[[96,96]]",
    "data.final_canvases=[[96,96]]",
    "train.workers=0",
    "train.batch_size=2",
    "train.images_per_process=1",
    "train.warmup=2",
    "train.autocast=none",
    "train.densepose=false",
    "data.rendered=null",
    "data.sources={photos: 0.6, groups: 0.4}",
    "model.branch.rois_per_image=2",
    # a normalisation over a batch would see one picture here and two there
    "model.branch.norm=group",
    "model.branch.non_local_norm=group",
    "model.fpn.norm=none",
    "train.device=cpu",
    *NARROW,
)


def words(data: Path, out: Path, *overrides: str) -> list[str]:
    listed = [part for item in (*SMALL, *overrides) for part in ("--set", item)]
    config = str(ROOT / "training" / "configs" / "light.yaml")
    return ["train", config, "--data", str(data), "--out", str(out), *listed]


def command(data: Path, out: Path, *overrides: str) -> list[str]:
    return ["-m", "parsing_rcnn", *words(data, out, *overrides)]


def environment(threads: str = "1") -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": threads, "CUDA_VISIBLE_DEVICES": ""}


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


@contextmanager
def started(
    arguments: list[str],
    end: Callable[[subprocess.Popen[str]], None] = subprocess.Popen.kill,
    env: dict[str, str] | None = None,
    **options: Any,
) -> Iterator[subprocess.Popen[str]]:
    """A program that does not outlive the test: of torchrun `end` has to be `Popen.terminate`, which ends all."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        env=env or environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    ) as process:
        try:
            yield process
        finally:
            end(process)  # nothing, where it has ended


def ended(arguments: list[str]) -> tuple[int, str]:
    """(exit status, what it said on stderr) of a program."""
    over = subprocess.Popen.terminate if arguments[: len(TORCHRUN)] == TORCHRUN else subprocess.Popen.kill
    with started(arguments, over) as process:
        said = process.communicate(timeout=280)[1]
    return process.returncode, said


def run(arguments: list[str]) -> None:
    status, said = ended(arguments)
    assert status == 0, said[-3000:]


def side_by_side(*each: list[str]) -> list[tuple[int, str]]:
    """`ended` of the processes of one run, as torchrun starts them, without its own: they meet at a store of ours."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    world = {**environment(), **meeting, "WORLD_SIZE": str(len(each))}
    with ExitStack() as stack:
        processes = [
            stack.enter_context(started(arguments, env={**world, "RANK": str(rank), "LOCAL_RANK": str(rank)}))
            for rank, arguments in enumerate(each)
        ]
        said = [process.communicate(timeout=280)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def run_here(data: Path, out: Path, *overrides: str) -> None:
    """The same command in this process, which has torch already, and one thread as the others."""
    assert torch.get_num_threads() == 1
    done = CliRunner().invoke(build(), words(data, out, *overrides))
    assert done.exit_code == 0, done.output


def test_two_processes_take_the_steps_of_one_that_accumulates(tmp_path: Path, data_folder: Path) -> None:
    short = ("train.iterations=3", "train.ema_decay=0")
    run_here(data_folder, tmp_path / "one", *short, "train.accumulate=2")
    run([*TORCHRUN, *command(data_folder, tmp_path / "two", *short)])
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


CLOCKS = """
import sys
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from safetensors.torch import save_file
from training.config import load_config
from training import train
from training.distributed import join, leave
from training.train import Trainer

config, data, out, *overrides = sys.argv[1:]
world = join("cpu")
trainer = Trainer(load_config(Path(config), tuple(overrides)), Path(data), Path(out) / str(world.rank), world=world)
ticks = count()  # a step takes 0.4 s by the clock of the first process and 0.3 s by that of the other
train.time = SimpleNamespace(monotonic=lambda: next(ticks) * (0.4, 0.3)[world.rank])
trainer.run()
weights = {name: value.contiguous() for name, value in trainer.model.state_dict().items()}
save_file(weights, Path(out) / f"{world.rank}.safetensors", {"step": str(trainer.step)})
leave()
"""


def test_a_time_budget_ends_all_processes_at_the_same_step(tmp_path: Path, data_folder: Path) -> None:
    script = tmp_path / "clocks.py"
    script.write_text(CLOCKS)
    config = str(ROOT / "training" / "configs" / "light.yaml")
    overrides = (*SMALL, "train.iterations=100000", "train.time_budget_minutes=0.05")
    arguments = [str(script), config, str(data_folder), str(tmp_path), *overrides]
    for status, said in side_by_side(arguments, arguments):
        assert status == 0, said[-3000:]
    one, other = (safe_open(tmp_path / f"{rank}.safetensors", "pt") for rank in (0, 1))
    assert int(one.metadata()["step"]) == int(other.metadata()["step"]) == 8  # 3.2 s by the first clock
    trained = [name for name in one.keys() if name.startswith(("rpn.", "parsing_"))]  # noqa: SIM118 (no mapping)
    assert trained
    for name in trained:
        assert torch.equal(one.get_tensor(name), other.get_tensor(name)), name


def test_hosts_that_do_not_share_the_run_are_told_so(tmp_path: Path, data_folder: Path) -> None:
    (tmp_path / "host0").mkdir()
    save_state(tmp_path / "host0" / "state.pt", {"step": 3})  # the first host alone has the run
    ended = side_by_side(*(command(data_folder, tmp_path / f"host{rank}", "train.iterations=4") for rank in (0, 1)))
    assert all(status for status, _ in ended)
    assert "--out has to be one folder for all hosts" in "".join(said for _, said in ended)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data_folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a run of 24 steps, of one picture each, that nobody disturbs."""
    out = tmp_path_factory.mktemp("whole")
    run_here(data_folder, out, "train.iterations=12")
    return load_file(out / "weights.safetensors")


HELD = """
import sys, time
from pathlib import Path
from parsing_rcnn.cli import main
from training.run_log import RunLog

let_go, write = Path(sys.argv.pop(1)), RunLog._write

def held(log, row):
    write(log, row)
    while not let_go.exists():
        time.sleep(0.01)

RunLog._write = held
main()
"""


def held_at_step_ten(folder: Path, *arguments: str) -> list[str]:
    """The command, which goes no further than the first row of its log before there is a file `let_go`."""
    script = folder / "held.py"
    script.write_text(HELD)
    return [str(script), str(folder / "let_go"), *arguments]


def until_step_ten(process: subprocess.Popen[str], log: Path) -> None:
    begin = time.monotonic()
    while not (log.is_file() and log.read_text().strip()):
        assert process.poll() is None, "it ended before it could be signalled"
        assert time.monotonic() - begin < 240
        time.sleep(0.05)


def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path, data_folder: Path, whole: dict[str, torch.Tensor]) -> None:
    steps = ("train.iterations=12", "train.checkpoint_every=3")
    log = tmp_path / "killed" / "log.jsonl"
    with started(held_at_step_ten(tmp_path, *words(data_folder, tmp_path / "killed", *steps))) as process:
        until_step_ten(process, log)
        process.kill()
        process.wait()
    assert json.loads(log.read_text().splitlines()[0])["step"] == 10
    assert load_state(tmp_path / "killed" / "state.pt")["step"] == 9
    run_here(data_folder, tmp_path / "killed", *steps)
    resumed = load_file(tmp_path / "killed" / "weights.safetensors")
    assert resumed.keys() == whole.keys()
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals and process groups")
def test_a_run_that_is_asked_to_stop_saves_and_goes_on_bit_for_bit(
    tmp_path: Path, data_folder: Path, whole: dict[str, torch.Tensor]
) -> None:
    steps = ("train.iterations=12", "train.checkpoint_every=1000", "train.workers=1")
    stopped = words(data_folder, tmp_path / "stopped", *steps)
    with started(held_at_step_ten(tmp_path, *stopped), start_new_session=True) as process:
        until_step_ten(process, tmp_path / "stopped" / "log.jsonl")
        os.killpg(process.pid, signal.SIGTERM)  # as schedulers do: the process that reads pictures gets it as well
        (tmp_path / "let_go").touch()
        _, said = process.communicate(timeout=240)
    assert process.returncode == 75, said[-3000:]
    assert "SIGTERM asked to stop" in said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    assert 10 <= load_state(tmp_path / "stopped" / "state.pt")["step"] < 24
    run(["-m", "parsing_rcnn", *stopped])
    resumed = load_file(tmp_path / "stopped" / "weights.safetensors")
    assert resumed.keys() == whole.keys()
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals and process groups")
def test_an_interrupted_run_saves_and_says_how_to_go_on(tmp_path: Path, data_folder: Path) -> None:
    """With --fresh, which would begin anew once more; the terminal interrupts those that read pictures as well."""
    overrides = ("train.iterations=100000", "train.checkpoint_every=100000", "train.workers=2")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # one that is ignored is so in what is started
    with ExitStack() as stack:
        try:
            arguments = [*command(data_folder, tmp_path, *overrides), "--fresh"]
            process = stack.enter_context(started(arguments, start_new_session=True))
        finally:
            signal.signal(signal.SIGINT, before)
        until_step_ten(process, tmp_path / "log.jsonl")
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=240)
    assert process.returncode == 130, said[-3000:]
    assert "Ctrl-C again ends at once" in said
    assert "SIGINT asked to stop" in said
    assert "the same command without --fresh goes on" in said
    assert "Traceback" not in said
    assert load_state(tmp_path / "state.pt")["step"] >= 10


# torchrun ends all when one leaves, the first perhaps before it has said anything: each waits for the other to be done
TOGETHER = """
(echo $BASHPID > pid$RANK; exec {train}) &
wait $!
status=$?; touch over$RANK
until [ -e over$((1 - RANK)) ]; do sleep 0.1; done
exit $status
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_processes_agree_where_to_stop(tmp_path: Path, data_folder: Path) -> None:
    """The second one alone is signalled: the first, which saves, stops at the same step."""
    overrides = ("train.iterations=100000", "train.checkpoint_every=100000")
    train = shlex.join([sys.executable, *command(data_folder, tmp_path / "run", *overrides)])
    torchrun = [*TORCHRUN, "--no-python", "bash", "-c", TOGETHER.format(train=train)]
    with started(torchrun, subprocess.Popen.terminate, cwd=tmp_path) as process:
        until_step_ten(process, tmp_path / "run" / "log.jsonl")
        os.kill(int((tmp_path / "pid1").read_text()), signal.SIGUSR1)
        _, said = process.communicate(timeout=240)
    assert "the same command goes on" in said, said[-3000:]
    assert "exitcode  : 75" in said
    step = load_state(tmp_path / "run" / "state.pt")["step"]
    assert step >= 10
    assert step % 10 == 0


def test_a_broken_picture_ends_a_run_and_the_processes_that_read(tmp_path: Path, data_folder: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(data_folder, data)
    for path in (data / "groups/images").glob("*.jpg"):
        path.write_bytes(b"no")
    only = ("data.sources={groups: 1}", "train.workers=2")
    status, said = ended(command(data, tmp_path / "run", *only))
    assert status == 1
    assert f"error: {data / 'groups/images'}/g" in said
    assert "Traceback" not in said
    assert "worker process" not in said


def test_who_is_left_by_another_process_says_so(tmp_path: Path, data_folder: Path) -> None:
    """One picture is broken: the process that does not read it loses the other one in the middle of a step."""
    data = tmp_path / "data"
    shutil.copytree(data_folder, data)
    names = sorted(path.name for path in (data / "groups/images").glob("*.jpg"))
    broken = groups_split(names)[0][0]
    (data / "groups/images" / broken).write_bytes(b"no")
    only = ("data.sources={groups: 1}", "train.iterations=1000")
    status, said = ended([*TORCHRUN, *command(data, tmp_path / "run", *only)])
    assert status == 1
    assert f"{broken}: not a JPEG" in said
    assert "error: another process of this run has ended" in said
    assert "[rank" not in said  # tracebacks


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_asking_for_a_gpu_where_there_is_none_says_so(tmp_path: Path, data_folder: Path) -> None:
    status, said = ended(command(data_folder, tmp_path, "train.device=cuda"))
    assert status == 1
    assert "train.device=cpu" in said
    assert "Traceback" not in said


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="process 3 of this host has no GPU of its own: torch sees 2"):
        join()
