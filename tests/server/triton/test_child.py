"""What a tritonserver says goes through our log line by line, and nothing of it is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from parsing_rcnn.errors import InvalidOptions
from server.supervisor.child import spawn
from server.supervisor.installation import Installation
from server.supervisor.launch import Launch, Supervisor
from tests.server.helpers import spare_ports

ENTRIES = """\
I1128 13:17:36.910237 21827 server.cc:674] "ready: \\"light\\""
W1128 13:17:36.910237 21827 a_b.cc:1] words without quotes
E1128 13:17:36.910237 21827 pb_stub.cc:7] "Failed:"
Traceback (most recent call last):

  File "model.py", line 1
2026-11-28T13:17:36Z I 21827 server.cc:604] ""
+-------+--------+
| Model | Status |
"""


NO_MEMORY = Path("/dev/shm/nothing_of_this_name")


def said(program: str, *arguments: str) -> list[tuple[str, str, str | None]]:
    """(level, words, place in Triton's code) of what a python program says."""
    with capture_logs() as lines:
        child = spawn([sys.executable, "-c", program, *arguments], {"MARK": "ours"}, NO_MEMORY, wrapped=True)
        child.lines.join(60)
        assert child.process.wait(60) == 0
        child.clear_up()
    assert {line["source"] for line in lines} <= {"tritonserver"}
    return [(line["log_level"], line["event"], line.get("at")) for line in lines]


def test_each_line_has_its_level_and_what_goes_on_that_of_its_entry() -> None:
    program = f"import sys, os; sys.stderr.write({ENTRIES!r}); sys.stderr.flush(); print(os.environ['MARK'])"
    assert said(program) == [
        ("info", 'ready: "light"', "server.cc:674"),
        ("warning", "words without quotes", "a_b.cc:1"),
        ("error", "Failed:", "pb_stub.cc:7"),
        ("error", "Traceback (most recent call last):", None),
        ("error", '  File "model.py", line 1', None),
        ("info", "", "server.cc:604"),
        ("info", "+-------+--------+", None),
        ("info", "| Model | Status |", None),
        ("info", "ours", None),
    ]


def test_more_than_a_pipe_holds_stops_nobody_and_is_all_there() -> None:
    """Also of a process that dies in the midst of a line, and of one that it leaves behind."""
    program = (
        "import os, subprocess, sys\n"
        "for k in range(20000): print(f'I1128 13:17:36.910237 1 a.cc:1] {k} ' + 'x' * 40, file=sys.stderr)\n"
        "print('y' * 70000, file=sys.stderr)\n"
        "subprocess.Popen([sys.executable, '-c', sys.argv[1], str(os.getpid())])\n"
        "sys.stderr.write('half a'); os._exit(0)\n"
    )
    left = "import os, sys, time\nwhile os.getppid() == int(sys.argv[1]): time.sleep(0.01)\nprint('the last')"
    words = [line for _, line, _ in said(program, left)]
    assert words[:20000] == [f"{k} " + "x" * 40 for k in range(20000)]
    assert "".join(words[20000:]) == "y" * 70000 + "half athe last"


def test_otherwise_its_words_come_to_our_standard_error_as_they_are(capfd: pytest.CaptureFixture[str]) -> None:
    program = "import sys; print('as it is', repr(sys.stdin.read()), file=sys.stderr)"
    child = spawn([sys.executable, "-c", program], {}, NO_MEMORY, wrapped=False)
    assert child.process.wait(60) == 0
    child.clear_up()
    assert capfd.readouterr().err == "as it is ''\n"


def test_what_it_writes_to_its_standard_output_comes_to_ours(capfd: pytest.CaptureFixture[str]) -> None:
    child = spawn([sys.executable, "-c", "print('out')"], {}, NO_MEMORY, wrapped=False)
    assert child.process.wait(60) == 0
    child.clear_up()
    assert capfd.readouterr() == ("out\n", "")


_SUPERVISOR = """
import sys
from pathlib import Path
from server.supervisor.child import spawn
child = spawn([sys.executable, "-c", sys.argv[1]], {}, Path(sys.argv[2]), wrapped=False)
print(child.process.pid, flush=True)
sys.stdin.read()
"""
# as Triton under load: it does not mind being told to end, and nor does the process of a model
_STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
os.write(1, b"begun\\n")
time.sleep(300)
"""


def left_of(group: int) -> str:
    """Numbers and commands of those of a group that are there; who is dead and was not asked for its end is not."""
    found = subprocess.run(["pgrep", "-a", "-g", str(group), "-r", "RSD"], capture_output=True, text=True, check=False)
    return found.stdout


def test_whoever_kills_the_supervisor_ends_the_server_and_its_models_and_their_memory(tmp_path: Path) -> None:
    for name in ("ours_1", "ours_2", "others_1"):
        (tmp_path / name).touch()
    with subprocess.Popen(
        [sys.executable, "-c", _SUPERVISOR, _STUBBORN, str(tmp_path / "ours_*")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as supervisor:
        assert supervisor.stdout is not None
        lines = [supervisor.stdout.readline().strip() for _ in range(3)]
        lines.remove("begun")
        lines.remove("begun")
        server = int(lines[0])
        # of a machine that goes down: they stay
        os.killpg(server, signal.SIGTERM)
        guard = subprocess.run(["pgrep", "-f", "--", f"guard.py {server} "], capture_output=True, text=True, check=True)
        os.kill(int(guard.stdout), signal.SIGTERM)
        assert len(left_of(server).splitlines()) >= 2
        supervisor.kill()
    end = time.monotonic() + 60
    while left_of(server) or len(os.listdir(tmp_path)) > 1:
        assert time.monotonic() < end, left_of(server)
        time.sleep(0.05)
    assert os.listdir(tmp_path) == ["others_1"]


def test_a_guard_that_is_dismissed_ends_without_a_deed(tmp_path: Path) -> None:
    memory = tmp_path / "ours_1"
    memory.touch()
    child = spawn(["sleep", "300"], {}, tmp_path / "ours_*", wrapped=False)
    process, guard = child.process, ["pgrep", "-f", "--", f"guard.py {child.process.pid} "]
    found = subprocess.run(guard, capture_output=True, text=True, check=True).stdout
    assert found.split() == [str(child.guard)]
    child.dismiss_guard()
    end = time.monotonic() + 60
    while subprocess.run([*guard, "-r", "RSD"], stdout=subprocess.DEVNULL, check=False).returncode == 0:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert process.poll() is None
    assert memory.exists()
    process.kill()
    process.wait()


# whom orphans come to, as process 1 of a container; it also has a child of its own
_FIRST_PROCESS = """
import ctypes, subprocess, sys
from parsing_rcnn.cli import build
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
own = subprocess.Popen(["sh", "-c", "exit 3"])
build()(sys.argv[1:], standalone_mode=False)
print(own.wait())
"""


def zombies_of(pid: int) -> int:
    asked = ["ps", "-o", "stat=", "--ppid", str(pid)]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.count("Z")


def test_whom_an_ended_server_leaves_to_the_supervisor_is_no_zombie(failing: list[str]) -> None:
    """Its guard, and a process that it had started; who waits for another child learns how that ended."""
    program = Path(failing[1].removeprefix("PATH=").split(os.pathsep)[0]) / "tritonserver"
    program.write_text("#!/bin/sh\nsleep 300 &\nexit 7\n")
    command = [*failing[:3], "-c", _FIRST_PROCESS, *failing[5:]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stderr is not None
        assert supervisor.stdout is not None
        guard = threading.Timer(300, supervisor.kill)
        guard.start()
        try:
            said: list[dict[str, str | int]] = []
            while [line["event"] for line in said].count("the server ended") < 3:
                said.append(json.loads(supervisor.stderr.readline()))
            end = time.monotonic() + 60
            while (found := zombies_of(supervisor.pid)) > 1 + 2:  # its own child, and what the last server left
                assert time.monotonic() < end, found
                time.sleep(0.1)
        finally:
            supervisor.terminate()
        assert supervisor.stdout.read() == "3\n"
        guard.cancel()
    assert [line["status"] for line in said if line["event"] == "the server ended"] == [7, 7, 7]


def test_every_line_of_a_log_of_json_is_json(installation: Installation, repository: Path) -> None:
    """From the start to the end; and what follows `--` is tritonserver's."""
    ports = spare_ports(3)
    named = [f"--{name}-port={port}" for name, port in zip(("http", "grpc", "metrics"), ports, strict=True)]
    command = [sys.executable, "-m", "parsing_rcnn", "triton", "--profile", "cpu", "--repository", str(repository)]
    supervisor = subprocess.Popen(
        [*command, *named, "--log-format", "json", "--", "--id=named-here"], stderr=subprocess.PIPE, text=True
    )
    assert supervisor.stderr is not None
    lines: list[dict[str, str]] = []
    guard = threading.Timer(300, supervisor.kill)
    guard.start()
    for line in supervisor.stderr:
        lines.append(json.loads(line))
        if lines[-1]["event"].startswith("Triton is ready"):
            supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(120) == 0
    guard.cancel()
    theirs = [line for line in lines if line.get("source") == "tritonserver"]
    assert any("named-here" in line["event"] for line in theirs)
    assert any("human_analysis" in line["event"] and "READY" in line["event"] for line in theirs)
    assert {"info"} < {line["level"] for line in theirs} <= {"info", "warning", "error"}
    assert any(line.get("at", "").startswith("http_server.cc:") for line in theirs)
    ready = next(k for k, line in enumerate(lines) if line["event"].startswith("Triton is ready"))
    assert any(line.get("source") == "tritonserver" for line in lines[ready + 1 :])  # its last words


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--http-port=1",), "--http-port is what this command gives to tritonserver"),
        (("--log-verbose=1", "--model-repository=/x"), "--model-repository is what this command gives to tritonserver"),
        (("verbose",), "'verbose' is no option of tritonserver"),
    ],
)
def test_options_that_would_contradict_ours_are_refused(
    more: tuple[str, ...], words: str, repository: Path, installation: Installation
) -> None:
    http, grpc, metrics = spare_ports(3)
    launch = Launch(repository, http_port=http, grpc_port=grpc, metrics_port=metrics, profile="cpu", more=more)
    with pytest.raises(InvalidOptions, match=words):
        Supervisor(launch, installation)


@pytest.fixture
def failing(tmp_path: Path, repository: Path) -> list[str]:
    """The command that starts a tritonserver which takes none of its options."""
    program = tmp_path / "bin" / "tritonserver"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    named = [f"--{name}-port={port}" for name, port in zip(("http", "grpc", "metrics"), spare_ports(3), strict=True)]
    path = f"PATH={program.parent}{os.pathsep}{os.environ['PATH']}"
    command = ["env", path, sys.executable, "-m", "parsing_rcnn", "triton", "--profile", "cpu", "--log-format", "json"]
    return [*command, "--repository", str(repository), *named]


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_what_is_no_option_is_refused_at_every_level_of_the_log(level: str, failing: list[str]) -> None:
    command = [*failing, "--log-level", level, "--", "verbose"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1
    assert "'verbose' is no option of tritonserver" in json.loads(ended.stderr.splitlines()[-1])["event"]


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_a_server_that_others_can_reach_is_said_to_be(failing: list[str], host: str, warned: bool) -> None:
    with subprocess.Popen([*failing, "--host", host], stderr=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stderr is not None
        said = []
        while "starting" not in said:
            said.append(json.loads(supervisor.stderr.readline())["event"])
        supervisor.terminate()
    assert ("Triton is reachable from other machines, without keys or encryption" in said) is warned


@pytest.mark.parametrize("more", [[], ["--log-info=true", "--id=here"]])
def test_a_server_that_ends_names_the_options_of_the_caller_alone(more: list[str], failing: list[str]) -> None:
    command = [*failing, "--log-level", "error", "--", *more]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stderr is not None
        said = json.loads(supervisor.stderr.readline())
        supervisor.terminate()
    assert said["event"] == "the server ended"
    assert said.get("further_options", "") == " ".join(more)


def test_further_options_stand_behind_ours(repository: Path, tmp_path: Path) -> None:
    more = ("--backend-config=python,stub-timeout-seconds=60", "--log-verbose=1")
    command = Launch(repository, muted=("info",), more=more).command(Installation(tmp_path / "t", tmp_path), "cpu")
    assert command[-3:] == ["--log-info=false", *more]
